"""``hydra-pers feedback`` and ``stats``, as they are typed."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest

from hydra_cli import Hydra
from hydra_cli.cli.app import run
from hydra_cli.llm.scripted import ScriptedChat
from hydra_cli.models.hash_encoder import HashEncoder
from tests.workflows.test_feedback import ask, filled, script


@pytest.fixture
def answer_id(home: Path) -> str:
    """The id of an answer in the store of the command line."""
    with Hydra.open(home, encoder=HashEncoder(), chat=ScriptedChat(script)) as hydra:
        found: str = ask(filled(hydra)).id
    return found


def test_words_on_an_answer(
    answer_id: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    better = tmp_path / "better.txt"
    better.write_text("The shelf is \x1b[31msafe.\n")
    assert run(["feedback", "last", "--edit", str(better)]) == 0
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.splitlines() == [
        "mia, replies: edited, 1 word changed of 4",
        f"it is a record now: feedback_{answer_id[4:]}",
        "the order of the next answers heeds it",
    ]
    assert run(["feedback", answer_id, "--choose", "2", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["feedback"]["kind"], found["replaced"]["kind"]) == ("choose", "edit")
    assert run(["feedback", answer_id, "--undo", "--user", "mia"]) == 0
    assert "in effect again: edited" in capsys.readouterr().err
    assert run(["feedback", "--list", "--json"]) == 0
    (listed,) = json.loads(capsys.readouterr().out)
    assert (listed["answer"], listed["kind"]) == (answer_id, "edit")
    assert run(["feedback", "--list"]) == 0
    assert run(["stats"]) == 0
    assert "\x1b[31m" not in capsys.readouterr().out
    assert run(["stats", "mia", "--json"]) == 0
    (week,) = json.loads(capsys.readouterr().out)
    assert (week["answers"], week["edited"], week["changed"], week["words"]) == (1, 1, 1, 4)


def test_an_edit_from_stdin(answer_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("It is.\n"))
    assert run(["feedback", answer_id, "--edit", "-"]) == 0


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        ([], 2, "name one answer"),
        (["last"], 2, "name one answer"),
        (["last", "--accept", "--reject"], 2, "name one answer"),
        (["--accept"], 2, "name one answer"),
        (["last", "--list"], 2, "name one answer"),
        (["last", "--accept", "--undo"], 2, "name one answer"),
        (["last", "--choose", "9"], 2, "no candidate 9"),
        (["last", "--edit", "nowhere.txt"], 2, "can't read nowhere.txt"),
        (["last", "--undo"], 5, "no feedback on answer"),
        (["ans_nothing", "--accept"], 5, "no answer 'ans_nothing' is kept"),
        (["last", "--accept", "--user", "tom"], 5, "no answer is kept"),
    ],
)
def test_what_makes_no_sense(
    answer_id: str, words: list[str], code: int, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["feedback", *words]) == code
    assert told in capsys.readouterr().err
