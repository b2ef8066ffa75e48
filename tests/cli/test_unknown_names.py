"""A name that the store doesn't know: every command says it alike."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hydra_cli.cli.app import run


@pytest.fixture
def store(tmp_path: Path) -> Path:
    rows = [
        {"user": user, "task": "notes", "input": f"text {i}", "output": f"note {i}"}
        for user in ("anna", "berta")
        for i in range(3)
    ]
    source = tmp_path / "records.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert run(["ingest", str(source), "--store", str(tmp_path / "store")]) == 0
    return tmp_path / "store"


COMMANDS = (
    ("ask", "hello", "--user", "{user}"),
    ("history", "{user}"),
    ("fit", "--user", "{user}"),
    ("forget", "{user}", "--dry-run"),
    ("export", "{user}", "--to", "out"),
)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
@pytest.mark.parametrize(
    ("user", "hint"), [("ana", "did you mean 'anna'?"), ("zz", "`hydra-pers users` lists them")]
)
def test_an_unknown_user(
    command: tuple[str, ...],
    user: str,
    hint: str,
    store: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    capsys.readouterr()
    code = run([*(word.format(user=user) for word in command), "--store", str(store)])
    err = capsys.readouterr().err
    assert (code, err) == (5, f"error: no records of user '{user}'\nhint: {hint}\n")
