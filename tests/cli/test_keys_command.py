"""``hydra-pers keys``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hydra_cli.cli.app import run
from hydra_cli.store.api_keys import ApiKeys
from hydra_cli.store.folder import StoreFolder


def shown(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = run(["keys", *arguments])
    out, err = capsys.readouterr()
    return code, out, err


def test_a_key_is_shown_once_listed_and_revoked(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = shown(capsys, "add", "--user", " mia ", "--name", "editor")
    text = out.strip()
    (key,) = ApiKeys(StoreFolder(home)).all()
    assert code == 0
    assert (key.user, key.name) == ("mia", "editor")
    assert ApiKeys(StoreFolder(home)).holder(text) == key
    assert text not in err
    code, out, _ = shown(capsys, "list")
    assert code == 0
    assert key.id in out
    assert text not in out
    code, out, err = shown(capsys, "revoke", key.id)
    assert code == 0
    assert "no key is left" in err
    assert shown(capsys, "revoke", key.id)[0] == 5
    assert json.loads(shown(capsys, "list", "--json")[1]) == []


def test_a_key_for_machines(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = shown(capsys, "add", "--trusted", "--json")
    made = json.loads(out)
    assert code == 0
    assert made["user"] is None
    assert ApiKeys(StoreFolder(home)).holder(made["key"]) is not None
    assert "key" not in json.loads(shown(capsys, "list", "--json")[1])[0]


@pytest.mark.parametrize(
    "wrong",
    [
        ("add",),
        ("add", "--trusted", "--user", "mia"),
        ("add", "--user", ""),
        ("add", "--user", "a\x00b"),
        ("add", "--user", "x" * 10_000),
        ("add", "--trusted", "--name", "\x1b[2J"),
    ],
)
def test_a_key_for_nobody_is_refused(
    home: Path, capsys: pytest.CaptureFixture[str], wrong: tuple[str, ...]
) -> None:
    code, out, err = shown(capsys, *wrong)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert not ApiKeys(StoreFolder(home)).any_made
