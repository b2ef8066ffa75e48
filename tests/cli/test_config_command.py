"""``config set`` as typed: what a setting can't be is said with its bounds."""

from __future__ import annotations

from pathlib import Path

import pytest

from hydra_cli.cli.app import run


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("k", "-3"), "k can't be -3: it must be at least 0"),
        (("n", "-1"), "n can't be -1: it must be at least "),
        (("temperature", "-0.5"), "temperature can't be -0.5: it must be at least 0"),
        (("k", "two"), "k can't be 'two': it wants a whole number"),
        (("timeout", "-1"), "timeout can't be -1.0: it must be positive"),
        (("concurrency", "0"), "concurrency can't be 0: it must be at least 1"),
        (("cache", "perhaps"), "cache can't be 'perhaps': it wants true or false"),
        (("tasks.LaMP_4.answer_tokens", "-3"), "answer_tokens can't be -3"),
        (("model", "--stor"), "No such option: --stor"),
        (("--stor", "x"), "No such option: --stor"),
    ],
)
def test_a_wrong_value_is_one_line_and_writes_nothing(
    arguments: tuple[str, ...], told: str, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["config", "set", *arguments]) == 2
    first = capsys.readouterr().err.splitlines()[0]
    assert told in first
    assert not (home / "config.toml").exists()


def test_a_value_that_begins_with_a_dash_is_a_value(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["config", "set", "seed", "-7"]) == 0
    assert run(["config", "get", "seed"]) == 0
    assert capsys.readouterr().out == "-7\n"
    assert run(["config", "set", "tasks.LaMP_4.instruction", "- Be short."]) == 0
