"""What ``--help`` says an option takes: words, no types."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
import typer

from hydra_cli.cli.app import app, run
from hydra_cli.cli.value_names import ARGUMENTS, WORDS

TYPES = re.compile(r"<\w|\b(INTEGER|FLOAT|BOOLEAN|TEXT|DIRECTORY)\b|int range|list\[")


def commands(command: Any = None, *path: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command and group, as typed."""
    command = command or typer.main.get_command(app)
    yield path, command
    for name, child in getattr(command, "commands", {}).items():
        yield from commands(child, *path, name)


@pytest.mark.parametrize("path", [path for path, _ in commands()], ids=" ".join)
def test_no_help_shows_a_type(path: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*path, "--help"]) == 0
    shown = capsys.readouterr().out
    assert "--help" in shown
    assert TYPES.findall(shown) == []


def test_a_value_is_named_by_what_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    shown = {}
    for command in ("ask", "ingest"):
        assert run([command, "--help"]) == 0
        shown[command] = " ".join(capsys.readouterr().out.split())
    for named in ("-k N", "--max-cost DOLLARS", "--file FILE", "--user -u NAME", "[QUERY]"):
        assert named in shown["ask"]
    for named in ("--keep COLUMN", "--map FIELD=COLUMN,...", "[PATH]..."):
        assert named in shown["ingest"]


def test_every_word_is_some_parameters() -> None:
    names = {parameter.name for _, command in commands() for parameter in command.params}
    assert {*WORDS, *ARGUMENTS} <= names


def test_a_wrong_number_is_told_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["ask", "x", "-k", "two"]) == 2
    assert "Invalid value for '-k': it should be a valid integer\n" in capsys.readouterr().err
