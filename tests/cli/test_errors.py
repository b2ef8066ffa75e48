"""Exit codes and one-line errors, through the real entry point."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import pytest
import typer

from hydra_cli import __version__
from hydra_cli.cli import app as cli
from hydra_cli.core import errors


def shown(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of one command line."""
    code = cli.run(arguments)
    out, err = capsys.readouterr()
    return code, out, err


CASES = {
    "a command that isn't": (["aks"], 2),
    "an option that isn't": (["users", "--jsn"], 2),
    "a number that isn't": (["history", "u", "--limit", "many"], 2),
    "an argument too many": (["history", "u1", "u2"], 2),
    "an argument too few": (["history"], 2),
    "an empty query": (["ask", " \0 "], 2),
    "a supervision that isn't": (["fit", "--supervision", "magic"], 2),
    "no file of that name": (["ingest", "missing.jsonl"], 3),
    "no store": (["users"], 5),
    "no store to fit": (["fit"], 5),
    "no store to ask": (["ask", "anything"], 5),
}


@pytest.mark.parametrize(("arguments", "code"), CASES.values(), ids=CASES)
def test_wrong_input_is_one_line_and_a_code(
    arguments: list[str], code: int, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found, out, err = shown(capsys, *arguments)
    lines = err.splitlines()
    assert (found, out) == (code, "")
    assert lines[0].startswith("error: ")
    assert all(line.startswith("hint: ") for line in lines[1:])
    assert len(lines) <= 2


def test_hostile_users_are_named_not_followed(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "one.jsonl"
    file.write_text('{"user": "u1", "input": "a question", "output": "an answer"}\n', "utf-8")
    assert cli.run(["ingest", str(file)]) == 0
    capsys.readouterr()
    before = sorted(tmp_path.rglob("*"))
    for user in ("../../x", "u" * 1024, "🦉", "u1\x1b[31m"):
        code, out, err = shown(capsys, "history", user)
        assert (code, out) == (5, "")
        assert "\x1b" not in err
        assert len(err) < 400
    assert sorted(tmp_path.rglob("*")) == before


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> typer.Typer:
    """An app whose commands raise what a real one might."""
    broken = typer.Typer()

    @broken.command()
    def internal() -> NoReturn:
        raise RuntimeError("first line\nand more")

    @broken.command()
    def interrupted() -> NoReturn:
        raise KeyboardInterrupt

    @broken.command()
    def declined() -> NoReturn:
        raise typer.Abort

    @broken.command()
    def leaves() -> NoReturn:
        raise typer.Exit(3)

    @broken.command()
    def full() -> NoReturn:
        raise errors.StoreError("no space left", hint="make room")

    monkeypatch.setattr(cli, "app", broken)
    return broken


@pytest.mark.parametrize(
    ("command", "code", "err"),
    [
        (
            "internal",
            1,
            "error: internal error: RuntimeError: first line\n"
            "hint: HYDRA_PERS_TRACEBACK=1 shows where\n",
        ),
        ("interrupted", 130, None),
        ("declined", 1, "stopped: nothing was confirmed\n"),
        ("leaves", 3, ""),
        ("full", 4, "error: no space left\nhint: make room\n"),
    ],
)
@pytest.mark.usefixtures("failing")
def test_what_a_command_raises(
    command: str, code: int, err: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    found, out, said = shown(capsys, command)
    assert (found, out) == (code, "")
    if err is not None:
        assert said == err


@pytest.mark.usefixtures("failing")
def test_tracebacks_on_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYDRA_PERS_TRACEBACK", "1")
    with pytest.raises(RuntimeError, match="first line"):
        cli.run(["internal"])


def test_every_error_has_its_code() -> None:
    kinds = [k for k in vars(errors).values() if isinstance(k, type)]
    assert {k.exit_code for k in kinds if issubclass(k, errors.HydraError)} == set(range(1, 10))


def process(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "hydra_cli", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "COLUMNS": "100"},
    )


def test_the_module_is_the_command() -> None:
    version = process("--version")
    assert (version.returncode, version.stdout) == (0, f"hydra-pers {__version__}\n")
    nothing = process()
    assert (nothing.returncode, nothing.stderr) == (0, "")
    assert "ingest" in nothing.stdout
    wrong = process("users", "--store", os.devnull)
    assert wrong.returncode in (4, 5)
    assert "Traceback" not in wrong.stderr


def test_a_reader_that_leaves_is_no_error(home: Path, tmp_path: Path) -> None:
    rows = "".join(
        f'{{"user": "u1", "id": "{i}", "input": "question {i} {"x" * 150}", "output": "a"}}\n'
        for i in range(2000)
    )
    (tmp_path / "many.jsonl").write_text(rows, "utf-8")
    assert cli.run(["ingest", str(tmp_path / "many.jsonl")]) == 0
    command = [sys.executable, "-m", "hydra_cli", "history", "u1", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        assert writer.stderr is not None
        writer.stdout.readline()
        writer.stdout.close()
        assert writer.stderr.read() == b""
        assert writer.wait(60) == 0
