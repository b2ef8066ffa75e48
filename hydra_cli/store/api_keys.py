"""Keys to a server of the store: ``api_keys.json``, which holds hashes of them alone.

A key is 24 random bytes: its SHA-256 can't be turned back and needs no salt. The id
of a key is the beginning of that hash, fit for lists and logs.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from hydra_cli.core.errors import NotFound, StoreBusy, StoreError
from hydra_cli.core.files import os_errors, private_folder, write_atomic
from hydra_cli.store.folder import StoreFolder

PREFIX = "hp_"
_VERSION = 1
_ID_LENGTH = 12
_Keys = dict[str, "ApiKey"]


@dataclass(frozen=True, slots=True)
class ApiKey:
    """What is kept of a key. ``user``: whom it is bound to; None: it may name any user."""

    id: str
    name: str
    user: str | None
    created: str
    digest: str


class ApiKeys:
    """The keys of one store, read again when their file has changed. Several threads may ask."""

    def __init__(self, folder: StoreFolder) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._stamp: tuple[int, int, int] | None = None
        self._known: _Keys = {}

    @property
    def any_made(self) -> bool:
        """Whether the store ever had a key: one that was revoked still asks for another."""
        return self._folder.api_keys.exists()

    def all(self) -> list[ApiKey]:
        """The keys that work, oldest first; StoreError where their file is damaged."""
        return sorted(self._current().values(), key=lambda key: (key.created, key.id))

    def holder(self, text: str) -> ApiKey | None:
        """The key of that text, or None where it is none, or was revoked."""
        digest = _digest(text)
        key = self._current().get(digest[:_ID_LENGTH])
        return key if key and hmac.compare_digest(key.digest, digest) else None

    def add(self, *, user: str | None, name: str = "") -> tuple[ApiKey, str]:
        """A new key, and its text, which nobody can show again."""
        text = PREFIX + secrets.token_urlsafe(24)
        digest = _digest(text)
        now = datetime.now(UTC).isoformat(timespec="microseconds")
        key = ApiKey(digest[:_ID_LENGTH], name, user, now, digest)
        self._change(lambda known: {**known, key.id: key})
        return key, text

    def revoke(self, id_: str) -> ApiKey:
        """The key that works no more; NotFound where there is none of this id."""
        gone: list[ApiKey] = []

        def without(known: _Keys) -> _Keys:
            if id_ not in known:
                raise NotFound(f"there is no key {id_!r}", hint="`hydra-pers keys list` shows ids")
            gone.append(known[id_])
            return {key: value for key, value in known.items() if key != id_}

        self._change(without)
        return gone[0]

    def of_user(self, user: str) -> list[ApiKey]:
        """The keys that are bound to the user."""
        return [key for key in self.all() if key.user == user]

    def forget(self, user: str) -> None:
        """Drop the keys that are bound to the user, whose name they hold."""
        if self.any_made:
            self._change(lambda known: {i: key for i, key in known.items() if key.user != user})

    def _current(self) -> _Keys:
        path = self._folder.api_keys
        with self._lock, _read_errors(path):
            try:
                found = os.stat(path)
            except FileNotFoundError:
                self._stamp, self._known = None, {}
                return self._known
            # A change is a rename, hence another inode; size and time serve other editors.
            stamp = (found.st_ino, found.st_mtime_ns, found.st_size)
            if stamp != self._stamp:
                self._known = _parsed(path.read_bytes(), str(path))
                self._stamp = stamp
            return self._known

    def _change(self, change: Callable[[_Keys], _Keys]) -> None:
        private_folder(self._folder.root)
        path = self._folder.api_keys
        with os_errors(path):
            lock = FileLock(self._folder.api_keys_lock, timeout=10, mode=0o600)
            try:
                with lock:
                    keys = change(dict(self._current()))
                    write_atomic(path, _encoded(keys))
            except Timeout as error:
                raise StoreBusy(f"another process changes {path}", hint="try again") from error


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _encoded(keys: _Keys) -> bytes:
    document = {"version": _VERSION, "keys": [asdict(key) for key in keys.values()]}
    return json.dumps(document, ensure_ascii=False, indent=1).encode() + b"\n"


def _parsed(data: bytes, where: str) -> _Keys:
    """The keys by id. A damaged file opens no door: StoreError."""
    try:
        entries: list[dict[str, Any]] = json.loads(data)["keys"]
        keys = [ApiKey(**{f.name: entry[f.name] for f in fields(ApiKey)}) for entry in entries]
        if not all(_whole(key) for key in keys):
            raise ValueError
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise StoreError(
            f"{where} is damaged, so no key works",
            hint="restore it, or move it away and make new keys",
        ) from error
    return {key.id: key for key in keys}


def _whole(key: ApiKey) -> bool:
    texts = (key.id, key.name, key.created, key.digest)
    if not all(isinstance(text, str) for text in texts):
        return False
    # An empty user would be nobody's, and no limit at all.
    bound = key.user is None or (isinstance(key.user, str) and bool(key.user))
    return bound and len(key.digest) == 64 and key.id == key.digest[:_ID_LENGTH]


@contextmanager
def _read_errors(path: Path) -> Iterator[None]:
    """A file that can't be read opens no door either."""
    try:
        yield
    except OSError as error:
        raise StoreError(f"can't read {path}: {error.strerror or error}") from error
