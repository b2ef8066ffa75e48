"""``fit`` as people see it: plain words, figures for machines, hints that hold."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from hydra_cli.cli.app import run
from hydra_cli.core.tasks import TaskSpec
from hydra_cli.core.verdicts import Answers, Gain, Standing, Verdict
from hydra_cli.shown import words
from tests.llm.fault_server import Call, FaultServer, Reply, completion, tokens

TEXTS = TaskSpec("replies", "generation", "")
LABELS = TaskSpec("mood", "classification", "", labels=("a", "b"))
STARS = TaskSpec("stars", "rating", "", labels=("1", "2", "3", "4", "5"))


def said(call: Call) -> Reply:
    return completion([f"Of course {i}! Mia" for i in range(call.n)], usage=tokens(20, 4))


@pytest.fixture
def store(tmp_path: Path, tiny_encoder_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three users with twelve replies each; one input drives the terminal."""
    rows = [
        {
            "user": user,
            "id": str(i),
            "input": f"where is item {i} of {user} \x1b[31m",
            "output": f"{how} item {i} {user}",
            "time": f"2025-03-{i + 1:02d}",
        }
        for user, how in (("mia", "Of course!"), ("ole", "Sent:"), ("e v", "Dear customer,"))
        for i in range(12)
    ]
    lines = tmp_path / "rows.jsonl"
    lines.write_text("".join(json.dumps(row) + "\n" for row in rows))
    folder = tmp_path / "store"
    monkeypatch.setenv("HYDRA_PERS_HOME", str(folder))
    monkeypatch.setenv("HYDRA_PERS_ENCODER", str(tiny_encoder_path))
    monkeypatch.setenv("HYDRA_PERS_MODEL", "openai/served")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    assert run(["ingest", str(lines), "--task", "replies", "--kind", "generation"]) == 0
    return folder


def invoke(line: str, capsys: pytest.CaptureFixture[str]) -> tuple[str, str]:
    capsys.readouterr()
    assert run(shlex.split(line)) == 0
    found = capsys.readouterr()
    return found.out, found.err


def test_the_hint_of_each_fit_does_what_it_says(
    store: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What was untested is judged afterwards, by the user's records and the others'."""
    with FaultServer(said) as server:
        monkeypatch.setenv("OPENAI_API_BASE", server.url)
        out, _ = invoke("fit --user 'e v'", capsys)
        assert "adapter   on, untested" in out
        assert server.calls == []
        hint = out.split("next: hydra-pers ")[1].partition("   (")[0]
        assert hint == "fit --user 'e v' --supervision llm"
        out, _ = invoke(hint, capsys)
        assert "base judged anew on 3 users" in out
        assert "every answer is kept" in invoke(f"{hint} --dry-run", capsys)[0]
        assert "untested" not in out
        assert "3 held-out records and 6 of others" in out
        assert "next: hydra-pers ask" in out

        out, _ = invoke("fit --base", capsys)
        assert "what openai/served answered earlier still judges" in out
        assert "untested" not in out
        assert "next: hydra-pers ask" in out
        (report,) = json.loads(invoke("fit --base --supervision llm --json", capsys)[0])
        assert report["base_users"] == 3
        assert [one["user"] for one in report["fitted"]] == ["e v", "mia", "ole"]
        for one in report["fitted"]:
            assert one["gate"]["evidence"] == "openai/served"
            found = one["gate"]["verdicts"]["adapt"]
            assert found["code"] != "untested"
            assert (found["gain"]["own"], found["gain"]["others"]) == (3, 6)

        _, err = invoke("ask 'where is item 3' --user mia", capsys)
        told, answer_id = err.splitlines()
        assert told.startswith("mia: ")
        assert answer_id.startswith("id: ans_")
        assert "judged on 3 of their records" in err
        found = json.loads(invoke("ask 'where is item 3' --user mia --json", capsys)[0])
        assert set(found["stages"]) == {"records", "rerank", "adapt"}
        assert found["gate"]["verdicts"]["adapt"]["gain"]["own"] == 3
        assert found["gate"]["source"] == "head"


@pytest.mark.parametrize(
    ("task", "quality", "without", "expected"),
    [
        (LABELS, 0.7, 0.5, "right 7 times out of 10 instead of 5"),
        (STARS, 0.9, 0.825, "off by 0.4 instead of 0.7"),
        (TEXTS, 0.456, 0.4, "14 % closer to what they really wrote"),
        (TEXTS, 0.6, 0.1, "6 times as close to what they really wrote"),
        (TEXTS, 0.6, 0.0, "where without it nothing matched"),
        (TEXTS, 0.3, 0.4, "25 % farther from what they really wrote"),
    ],
)
def test_a_gain_is_one_number_that_people_know(
    task: TaskSpec, quality: float, without: float, expected: str
) -> None:
    verdict = Verdict(True, "won", "adapt", "rag", Gain(0.05, 0.2, 8, 0), quality, without)
    assert expected in words.line(verdict, task)
    assert "(8 held-out records: could be luck)" in words.line(verdict, task)


def test_how_many_answers_are_asked_for_is_told_in_words() -> None:
    gain, better = Gain(0.1, 0.02, 0, 40), "right 7 times out of 10 instead of 6"
    told = {
        "one, untested": None,
        f"none: the user's most frequent label answers, {better}": Answers(
            0, "majority", "adapt0", gain, 0.7, 0.6
        ),
        f"none: the adapter does without, {better}": Answers(0, "adapt0", "adapt", gain, 0.7, 0.6),
        f"one: {better} (40 held-out": Answers(1, "adapt1", "adapt0", gain, 0.7, 0.6),
        "8: right 7 times out of 10": Answers(8, "adapt", "adapt0", gain, 0.7, 0.6),
    }
    for expected, answers in told.items():
        assert words.answers_line(answers, LABELS).startswith(expected)


def test_a_stage_that_helps_others_more_than_it_hurts_here_says_so() -> None:
    verdict = Verdict(True, "level", "rerank", "rag", Gain(0.02, 0.05, 3, 90), 0.4, 0.5)
    assert words.line(verdict, LABELS).startswith("on: it helps others, right 4 times out of 10")
    harmless = Verdict(True, "level", "rerank", "rag", Gain(-0.001, 0.05, 3, 90), 0.4, 0.5)
    assert words.line(harmless, LABELS).startswith("on: no worse than an answer without it: ")


def test_labels_are_answered_without_an_llm_where_it_is_told_to_ask_none(
    tmp_path: Path, tiny_encoder_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("HYDRA_PERS_HOME", str(tmp_path / "store"))
    monkeypatch.setenv("HYDRA_PERS_ENCODER", str(tiny_encoder_path))
    rows = [
        {"user": user, "input": f"ticket {i} of {user}", "output": label}
        for user, label in (("mia", "bug"), ("ole", "praise"))
        for i in range(12)
    ]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    assert run(["ingest", str(path), "--task", "tickets"]) == 0
    assert run(["config", "set", "tasks.tickets.kind", "classification"]) == 0
    capsys.readouterr()
    assert run(["ask", "ticket 40", "--user", "ole", "-n", "0"]) == 0
    out, err = capsys.readouterr()
    assert out == "praise\n"
    assert "no LLM was asked" in err
    assert run(["ask", "ticket 40", "--user", "ole", "-n", "0", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["answer"], found["model"], found["usage"]["calls"]) == ("praise", None, 0)
    assert run(["ask", "ticket 40", "--user", "ole", "-n", "0", "--dry-run"]) == 0
    assert "No LLM call" in capsys.readouterr().out


def test_before_any_fit_each_stage_is_told_as_it_is() -> None:
    told = words.explained(Standing("built-in", "mia"), LABELS)
    assert {stage: line.partition(";")[0] for stage, line in told.items()} == {
        "records": "on", "rerank": "off", "adapt": "on",
    }  # fmt: skip
