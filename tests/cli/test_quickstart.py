"""docs/quickstart.md, typed as it stands there."""

from __future__ import annotations

import io
import re
import shlex
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from hydra_cli.cli.app import run
from hydra_cli.config import DEFAULT_ENCODER, DEFAULT_MODEL
from hydra_cli.models.files import cached_folder

PAGE = Path(__file__).resolve().parents[2] / "docs" / "quickstart.md"
BLOCK = re.compile(r"(?:<!-- ([\w ]+) -->\n)?```console\n(.*?)```", re.DOTALL)
FILE = re.compile(r"Save this as\s+`([\w.]+)`:\s+```\w+\n(.*?)```", re.DOTALL)


def steps() -> Iterator[tuple[str, str, str]]:
    """(remark above the block, command, expected output) in the page's order."""
    for remark, block in BLOCK.findall(PAGE.read_text("utf-8")):
        for step in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, output = step.partition("\n")
            yield remark, command, output


def type_in(command: str) -> tuple[int, str]:
    """Exit code and what a terminal would show."""
    words = shlex.split(command)
    assert words[0] == "hydra-pers"
    screen = io.StringIO()
    with redirect_stdout(screen), redirect_stderr(screen):
        code = run(words[1:])
    return code, "\n".join(line.rstrip() for line in screen.getvalue().splitlines()) + "\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    files = FILE.findall(PAGE.read_text("utf-8"))
    assert files
    for name, text in files:
        (tmp_path / name).write_text(text, "utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    return tmp_path


def test_everything_that_needs_no_model(folder: Path) -> None:
    compared = 0
    for remark, command, expected in steps():
        if remark == "needs models":
            continue
        code, shown = type_in(command)
        if remark == "output varies":
            assert code == 0, shown
        else:
            assert shown == expected
            compared += 1
    assert compared >= 6


@pytest.mark.slow
def test_all_of_it_with_the_embedded_models(folder: Path) -> None:
    for name in (DEFAULT_ENCODER, DEFAULT_MODEL.removeprefix("local/")):
        if not cached_folder(name).is_dir():
            pytest.skip(f"`hydra-pers models pull {name}` first")
    for _, command, expected in steps():
        code, shown = type_in(command)
        assert (code == 0) == (not expected.startswith("error:")), shown
        assert shown.strip(), command
