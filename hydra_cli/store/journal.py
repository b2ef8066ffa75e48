"""Work that a kill may leave unfinished, and what the next command does about it.

Long work notes itself in ``work/op-<id>.json`` and holds ``op-<id>.lock``
meanwhile. The operating system frees the lock of a dead process, so a note
whose lock is free is unfinished work. Such notes are read when a store is
opened: what can be finished is, and one line says so. Work that is to be run
again keeps its note, which is told of once, until it was run again or
``doctor --fix`` drops it.
"""

from __future__ import annotations

import json
import logging
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from hydra_cli.core.files import private_folder, write_atomic

log = logging.getLogger("hydra_cli.store")


@dataclass(frozen=True, slots=True)
class Unfinished:
    """A note whose process died."""

    operation: str
    details: Mapping[str, str]
    note: Path
    told: bool = False
    """Whether a command has said so already."""

    @property
    def described(self) -> str:
        return f"{self.operation} {self.details.get('what', '')}".strip()


Finish = Callable[[Unfinished], str]
"""Finishes or undoes the work and says what became of it, in one line."""


@contextmanager
def noted_work(work: Path, operation: str, **details: str) -> Iterator[None]:
    """Note the work while the block runs. An error leaves the note for the next command."""
    private_folder(work)
    stem = f"op-{secrets.token_hex(8)}"
    note, lock = work / f"{stem}.json", FileLock(work / f"{stem}.lock", mode=0o600)
    with lock:
        content = {"operation": operation, "details": details}
        write_atomic(note, json.dumps(content).encode())
        yield
        note.unlink(missing_ok=True)
    Path(lock.lock_file).unlink(missing_ok=True)
    for entry in unfinished(work):
        if (entry.operation, dict(entry.details)) == (operation, details):
            drop(entry)


def drop(entry: Unfinished) -> None:
    """Remove the note of work that was run again, or needn't be."""
    with _owned(entry.note) as dead:
        if dead:
            entry.note.unlink(missing_ok=True)
    if not entry.note.exists():
        entry.note.with_suffix(".lock").unlink(missing_ok=True)


def unfinished(work: Path) -> list[Unfinished]:
    """Notes of processes that are gone; nothing is changed."""
    found = []
    for note in sorted(work.glob("op-*.json")):
        with _owned(note) as dead:
            if dead and (entry := _read(note)) is not None:
                found.append(entry)
    return found


def recover(work: Path, finishers: Mapping[str, Finish]) -> None:
    """Finish what dead processes left, each at most once; tell of what is to be run again."""
    for note in sorted(work.glob("op-*.json")):
        with _owned(note) as dead:
            entry = _read(note) if dead else None
            if entry is None or entry.told:
                continue
            finish = finishers.get(entry.operation)
            log.warning("unfinished work found: %s", finish(entry) if finish else _run_again(entry))
            if finish is None and entry.operation:
                _tell(entry)
                continue
            note.unlink(missing_ok=True)
        note.with_suffix(".lock").unlink(missing_ok=True)


def _run_again(entry: Unfinished) -> str:
    what = f"`{entry.described}`" if entry.operation else "something"
    return f"{what} was interrupted; run it again, nothing is done twice"


def _tell(entry: Unfinished) -> None:
    """Keep the note, and say no more of it."""
    content = {"operation": entry.operation, "details": dict(entry.details), "told": True}
    write_atomic(entry.note, json.dumps(content).encode())


@contextmanager
def _owned(note: Path) -> Iterator[bool]:
    """Whether the note's process is gone; then its lock is ours while the block runs."""
    lock = FileLock(note.with_suffix(".lock"), mode=0o600)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        yield False
        return
    try:
        yield note.is_file()
    finally:
        lock.release()


def _read(note: Path) -> Unfinished | None:
    try:
        content = json.loads(note.read_text("utf-8"))
        details = {str(key): str(value) for key, value in content["details"].items()}
        return Unfinished(str(content["operation"]), details, note, bool(content.get("told")))
    except (ValueError, KeyError, TypeError, AttributeError):
        # Notes are written whole; one that isn't readable was damaged later.
        return Unfinished("", {}, note)
    except FileNotFoundError:
        return None
