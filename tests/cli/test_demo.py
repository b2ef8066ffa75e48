"""The demo: its sample, its verdict, and the whole of it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from hydra_cli import wiring
from hydra_cli.cli.app import run
from hydra_cli.config import DEFAULT_ENCODER, DEFAULT_MODEL, task_from_mapping
from hydra_cli.core.answer_shape import line_count
from hydra_cli.core.protocols import ChatRequest
from hydra_cli.core.tasks import TaskSpec
from hydra_cli.core.verdicts import Standing
from hydra_cli.llm.scripted import ScriptedChat
from hydra_cli.models.files import cached_folder
from hydra_cli.models.hash_encoder import HashEncoder
from hydra_cli.workflows import models
from hydra_cli.workflows.demo import QUESTIONS, SAMPLE, Comparison, Way, closeness, verdict

ROWS = [json.loads(line) for line in (SAMPLE / "histories.jsonl").open(encoding="utf-8")]
REPLIES = [json.loads(line) for line in (SAMPLE / "replies.jsonl").open(encoding="utf-8")]
HEADLINES = [row for row in ROWS if row["task"] == "headlines"]
HABITS: Mapping[str, Any] = {
    "ada": lambda text: text == text.lower(),
    "ben": lambda text: text.endswith("?"),
    "cleo": lambda text: text.split(": ")[0].istitle() and ": " in text,
    "dev": lambda text: text.endswith("!"),
    "eve": lambda text: len(text.split()) == 5,
    "finn": lambda text: len(text.split()) >= 14,
}


def test_the_sample_is_large_enough_and_timed() -> None:
    counts = Counter((row["user"], row["task"]) for row in ROWS)
    assert {user for user, _ in counts} == set(HABITS)
    assert min(counts.values()) >= 12
    assert len({(row["user"], row["task"], row["id"]) for row in ROWS}) == len(ROWS)
    assert all(row["time"].endswith("Z") for row in ROWS)


@pytest.mark.parametrize("user", HABITS)
def test_habits_are_visible_and_of_one_user_alone(user: str) -> None:
    def share(other: str) -> float:
        own = [row["output"] for row in HEADLINES if row["user"] == other]
        return sum(map(HABITS[user], own)) / len(own)

    assert share(user) == 1.0
    assert all(share(other) < 0.2 for other in HABITS if other != user)


HANDS: Mapping[str, Any] = {
    "greta": lambda text: text.startswith("Dear M") and "\n\n- " in text and "Lindqvist" in text,
    "hugo": lambda text: text.startswith("Hi ") and text.endswith("\nHugo") and "- " not in text,
}


def test_the_agents_write_several_lines_each_in_a_hand_of_their_own() -> None:
    assert Counter(row["user"] for row in REPLIES) == {"greta": 20, "hugo": 20}
    assert len({row["output"] for row in REPLIES}) == 40
    for row in REPLIES:
        assert 3 <= line_count(row["output"]) <= 12
        assert [user for user, hand in HANDS.items() if hand(row["output"])] == [row["user"]]


def test_no_history_holds_a_question() -> None:
    rows = ROWS + REPLIES
    held = {row["input"] for row in rows} | {row["output"] for row in HEADLINES + REPLIES}
    for question in QUESTIONS:
        assert question.text not in held
        assert question.own not in {row["output"] for row in HEADLINES + REPLIES}
        assert question.user in {**HABITS, **HANDS}


TASK = TaskSpec("headlines", "generation", "")


def comparison(plain: float, rag: float, personalized: float) -> Comparison:
    names = ("plain", "RAG", "personalized")
    ways = [Way(n, "", c, 0.1) for n, c in zip(names, (plain, rag, personalized), strict=True)]
    return Comparison(QUESTIONS[0], tuple(ways), TASK, Standing("built-in", "ada"))


@pytest.mark.parametrize(
    ("closenesses", "said"),
    [
        ((0.1, 0.5, 0.6), "the adapter helped"),
        ((0.1, 0.5, 0.5), "the records helped, the adapter added nothing"),
        ((0.1, 0.5, 0.4), "the adapter took some of it back"),
        ((0.6, 0.5, 0.5), "the plain answer was best"),
        ((0.0, 0.0, 0.0), "no difference that counts"),
    ],
)
def test_the_verdict_says_what_helped_and_what_did_not(
    closenesses: tuple[float, float, float], said: str
) -> None:
    _, line = verdict([comparison(*closenesses)])
    assert said in line


def test_nobody_wins_where_all_are_far_off() -> None:
    first, _ = verdict([comparison(0.0, 0.0, 0.0)])
    assert "plain 0 of 1, RAG 0 of 1, personalized 0 of 1" in first


def test_closeness_sees_case_where_text_is_free() -> None:
    free = task_from_mapping("t", {"kind": "generation"})
    labels = task_from_mapping("t", {"kind": "classification"})
    assert closeness("a b", "a b", free) == 1.0
    assert 0.0 < closeness("A b", "a b", free) < 1.0
    letter = "Dear Ms Hale,\n\nthe mug is safe to wash.\n" * 8
    assert closeness(letter, letter + "x", free) > 0.99
    assert closeness("P2", "P1", labels) == 0.0


def echo(request: ChatRequest, sample: int) -> str:
    """The words of the query, styled as the nearest evidence in the prompt is."""
    *earlier, query = request.messages
    style = earlier[-1]["content"] if earlier[-1]["role"] == "assistant" else ""
    words = " ".join(query["content"].split()[: 6 + sample])
    return words.lower() if style == style.lower() and style else words


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch) -> ScriptedChat:
    """An encoder without weights and a scripted LLM, by the door of the real ones."""
    chat = ScriptedChat(echo)
    monkeypatch.setattr(wiring, "open_encoder", lambda settings: HashEncoder())
    monkeypatch.setattr(wiring, "open_chat", lambda settings, **options: chat)
    row = models.ModelRow("a model", None, "nowhere", None, None)
    monkeypatch.setattr(models, "pull_model", lambda name, force=False: row)
    return chat


def test_every_step_is_shown_as_its_command(
    fakes: ScriptedChat, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert run(["demo"]) == 0
    shown, said = capfd.readouterr()
    commands = [line.split()[2] for line in shown.splitlines() if line.startswith("$ hydra-pers")]
    assert commands == ["models", "models", "ingest", "users", "history", "fit", "fit", "ask"]
    assert "--store" in shown
    for way in ("plain", "RAG", "personalized", "ada's own"):
        assert way in shown
    assert "    Order 20977, Anna Berg\n" in shown
    assert "replies: texts of 4 to 11 lines, answers may take 120 tokens" in said
    assert "4 queries prove nothing" in shown
    assert list(tmp_path.glob("hydra-pers-demo-*")) == []


def test_json_holds_steps_and_answers_and_keep_leaves_the_store(
    fakes: ScriptedChat, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert run(["demo", "--json", "--keep", "--model", "openai/some-model"]) == 0
    found = json.loads(capfd.readouterr().out)
    assert [len(answer["ways"]) for answer in found["answers"]] == [3, 3, 3, 3]
    assert sum("models pull" in step["command"] for step in found["steps"]) == 1
    assert " --model openai/some-model " in found["steps"][-1]["command"]
    (store,) = tmp_path.glob("hydra-pers-demo-*")
    assert found["store"] == str(store)
    assert run(["users", "--store", str(store), "--json"]) == 0
    assert len(json.loads(capfd.readouterr().out)) == 8


def test_a_failing_step_leaves_nothing_behind(
    fakes: ScriptedChat, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("hydra_cli.workflows.demo.SAMPLE", tmp_path / "nowhere")
    assert run(["demo"]) == 1
    assert list(tmp_path.glob("hydra-pers-demo-*")) == []


@pytest.mark.slow
def test_the_whole_of_it_with_the_embedded_models(capfd: Any) -> None:
    for name in (DEFAULT_ENCODER, DEFAULT_MODEL.removeprefix("local/")):
        if not cached_folder(name).is_dir():
            pytest.skip(f"`hydra-pers models pull {name}` first")
    assert run(["demo", "--json"]) == 0
    found = json.loads(capfd.readouterr().out)
    assert all(way["text"] for answer in found["answers"] for way in answer["ways"])
