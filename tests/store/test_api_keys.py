"""Keys to a server: hashed, private, told apart, revoked at once, none lost."""

from __future__ import annotations

import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from hydra_cli.core.errors import NotFound, StoreError
from hydra_cli.store.api_keys import ApiKeys
from hydra_cli.store.folder import StoreFolder


@pytest.fixture
def keys(home: Path) -> ApiKeys:
    return ApiKeys(StoreFolder(home))


def test_a_key_opens_and_only_its_hash_is_kept(keys: ApiKeys, home: Path) -> None:
    key, text = keys.add(user="mia", name="editor")
    assert re.fullmatch(r"hp_[A-Za-z0-9_-]{32}", text)
    assert keys.holder(text) == key
    assert (key.user, key.name) == ("mia", "editor")
    for wrong in ("", text[:-1], text + "x", key.digest, key.id, "hp_\ud800"):
        assert keys.holder(wrong) is None
    kept = (home / "api_keys.json").read_bytes()
    assert text.encode() not in kept
    assert text.removeprefix("hp_").encode() not in kept
    if sys.platform != "win32":
        assert stat.S_IMODE((home / "api_keys.json").stat().st_mode) == 0o600


def test_another_opener_sees_what_was_made_and_revoked(keys: ApiKeys, home: Path) -> None:
    other = ApiKeys(StoreFolder(home))
    assert not other.any_made
    key, text = keys.add(user=None)
    assert other.any_made
    assert other.holder(text) == key
    keys.revoke(key.id)
    assert other.holder(text) is None
    assert other.any_made, "a store that had keys doesn't open its door without them"
    with pytest.raises(NotFound):
        other.revoke(key.id)


def test_processes_that_add_at_once_lose_none(keys: ApiKeys, home: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from hydra_cli.store.api_keys import ApiKeys;"
        "from hydra_cli.store.folder import StoreFolder;"
        "keys = ApiKeys(StoreFolder(Path(sys.argv[1])));"
        "[keys.add(user=None, name=sys.argv[2]) for _ in range(10)]"
    )
    started = [subprocess.Popen([sys.executable, "-c", code, str(home), n]) for n in "abc"]
    assert [process.wait(timeout=120) for process in started] == [0, 0, 0]
    names = [key.name for key in keys.all()]
    assert sorted(names) == sorted("abc" * 10)


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"[]",
        b'{"keys": [{}]}',
        b'{"keys": [{"id": 1, "name": "", "user": null, "created": "", "digest": ""}]}',
        b'{"keys": [{"id": "' + b"a" * 12 + b'", "name": "", "user": "", "created": "x", '
        b'"digest": "' + b"a" * 64 + b'"}]}',
        b"\xff",
    ],
)
def test_a_damaged_file_opens_no_door(keys: ApiKeys, home: Path, damage: bytes) -> None:
    _, text = keys.add(user=None)
    (home / "api_keys.json").write_bytes(damage)
    with pytest.raises(StoreError):
        keys.holder(text)


def test_forgetting_a_user_drops_the_keys_that_name_them(keys: ApiKeys, home: Path) -> None:
    _, bound = keys.add(user="mia")
    _, trusted = keys.add(user=None)
    keys.forget("mia")
    assert keys.holder(bound) is None
    assert keys.holder(trusted) is not None
    assert b"mia" not in (home / "api_keys.json").read_bytes()
