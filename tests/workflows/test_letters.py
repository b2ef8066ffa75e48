"""Replies of many lines, whole from the file to the answer."""

from __future__ import annotations

import json
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hydra_cli.cli.app import run
from hydra_cli.core.prompts import build_messages
from hydra_cli.core.records import Query, Record, Scored
from hydra_cli.core.tasks import TaskSpec
from hydra_cli.pipeline.supervision import sampling_for
from hydra_cli.wiring import load_settings
from tests.llm.fault_server import FaultServer, completion

LETTER = "Dear {},\n\nthank you for asking about the {}.\n\n  - it is safe\n  - it is cheap\n\nMia"
THINGS = ("mug", "lamp", "tray", "bowl", "vase", "clock")
CODE = "Use this:\n\n```sh\n  make clean\n```\n\nIt takes a minute."


def replies(path: Path) -> Path:
    lines = [
        {
            "user": "mia",
            "input": f"Is the {thing}\nsafe?",
            "output": LETTER.format("you", thing),
            "time": f"2026-01-{day:02}",
        }
        for day, thing in enumerate(THINGS, 1)
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    return path


@pytest.fixture
def store(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    path = replies(tmp_path / "replies.jsonl")
    assert run(["ingest", str(path), "--task", "replies"]) == 0
    said = capsys.readouterr().err
    assert "replies: texts of 8 lines, answers may take" in said
    return home


def test_ingest_learns_that_answers_are_letters(store: Path) -> None:
    task = load_settings(store).spec("replies")
    assert task.multiline
    assert sampling_for(task, n=2, temperature=0.5, seed=0).stop == ()
    assert task.answer_tokens >= 40


def test_history_shows_every_line(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["history", "mia", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown[-1]["output"] == LETTER.format("you", "clock")
    assert shown[-1]["input"] == "Is the clock\nsafe?"


def test_a_letter_over_http_is_answered_whole(
    store: Path,
    tiny_encoder_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    letter = LETTER.format("Ms Hale", "plate")
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    with FaultServer(lambda call: completion([letter] * call.n)) as server:
        monkeypatch.setenv("OPENAI_API_BASE", server.url)
        command = ["ask", "Is the plate\nsafe in\n- an oven?", "--model", "openai/x", "-n", "2"]
        code = run([*command, "--encoder", str(tiny_encoder_path), "--json"])
    answer = json.loads(capsys.readouterr().out)
    assert code == 0
    assert answer["answer"] == letter
    body = server.calls[0].body
    assert "stop" not in body
    assert body["messages"][-1]["content"] == "Is the plate\nsafe in\n- an oven?"
    assert body["messages"][-2]["content"].count("\n") == 7


@pytest.mark.parametrize("text", [LETTER, CODE, "one line", "- a\n- b"])
def test_an_answer_of_several_lines_stays_as_it_is(text: str) -> None:
    task = TaskSpec("replies", "generation", "Reply.", multiline=True)
    assert task.parse(text) == text
    assert task.parse(f'"{text}"') == text
    if "```" not in text:
        assert task.parse(f"```\n{text}\n```") == text


def test_a_task_of_one_line_still_keeps_the_first() -> None:
    task = TaskSpec("headlines", "generation", "Write it.")
    assert task.parse("First line\nsecond") == "First line"
    assert sampling_for(task, n=1, temperature=0.0, seed=0).stop == ("\n",)


TEXTS = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"], include_characters="\n\t"),
    min_size=1,
    max_size=200,
).filter(lambda text: text.strip())


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(TEXTS)
def test_any_output_stands_whole_in_the_prompt(text: str) -> None:
    record = Record("u", "1", "replies", text, text)
    task = TaskSpec("replies", "generation", "Reply.", multiline=True, input_words=1000)
    query = Query("u", "q", "replies", text)
    messages = build_messages(query, [Scored(record, 1.0)], task)
    assert messages[-2]["content"] == text
    assert messages[-1]["content"] == text.strip()


def test_keys_of_a_task_can_be_set(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["config", "set", "tasks.replies.answer_tokens", "400"]) == 0
    assert load_settings(store).spec("replies").answer_tokens == 400
    assert run(["config", "set", "tasks.replies.answer_tokens", "lots"]) == 2
    assert run(["config", "set", "tasks.nobody.answer_tokens", "40"]) != 0
    assert run(["config", "unset", "tasks.replies.answer_tokens"]) == 0
    assert load_settings(store).spec("replies").answer_tokens != 400
    capsys.readouterr()


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=12, deadline=None
)
@given(st.lists(TEXTS, min_size=2, max_size=12, unique_by=lambda text: " ".join(text.split())))
def test_any_output_comes_back_whole_from_the_store(
    home: Path, capsys: pytest.CaptureFixture[str], texts: list[str]
) -> None:
    """From the file over the store and ``history`` to the prompt; outer blank space may go."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "replies.jsonl")
        rows = [
            {"user": "u", "id": str(i), "input": f"{i} {text}", "output": text, "task": "free"}
            for i, text in enumerate(texts)
        ]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
        store = Path(folder, "store")
        assert run(["ingest", str(path), "--kind", "generation", "--store", str(store)]) == 0
        capsys.readouterr()
        assert run(["history", "u", "--json", "--limit", "99", "--store", str(store)]) == 0
        shown = {row["id"]: row for row in json.loads(capsys.readouterr().out)}
        task = replace(load_settings(store).spec("free"), input_words=1000)
    for i, text in enumerate(texts):
        row = shown[str(i)]
        assert row["output"].strip() == text.strip()
        record = Record("u", row["id"], "free", row["input"], row["output"])
        messages = build_messages(Query("u", "q", "free", text), [Scored(record, 1.0)], task)
        assert messages[-2]["content"].strip() == text.strip()
        assert messages[-3]["content"] == f"{i} {text}".strip()
