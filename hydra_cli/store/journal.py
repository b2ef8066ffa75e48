"""Work that a kill may leave unfinished, and what the next command does about it.

Long work notes itself in ``work/op-<id>.json`` and holds ``op-<id>.lock``
meanwhile. The operating system frees the lock of a dead process, so a note
whose lock is free is unfinished work. Such notes are read when a store is
opened: what can be finished or undone is, and one line says so.
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


def unfinished(work: Path) -> list[Unfinished]:
    """Notes of processes that are gone; nothing is changed."""
    found = []
    for note in sorted(work.glob("op-*.json")):
        with _owned(note) as dead:
            if dead and (entry := _read(note)) is not None:
                found.append(entry)
    return found


def recover(work: Path, finishers: Mapping[str, Finish]) -> None:
    """Finish or undo what dead processes left, each at most once."""
    for note in sorted(work.glob("op-*.json")):
        with _owned(note) as dead:
            entry = _read(note) if dead else None
            if entry is None:
                continue
            finish = finishers.get(entry.operation, _run_again)
            log.warning("unfinished work found: %s", finish(entry))
            note.unlink(missing_ok=True)
        note.with_suffix(".lock").unlink(missing_ok=True)


def _run_again(entry: Unfinished) -> str:
    what = entry.details.get("what", "")
    described = f"{entry.operation} {what}".strip()
    return f"`{described}` was interrupted; run it again, nothing is done twice"


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
        return Unfinished(str(content["operation"]), details, note)
    except (ValueError, KeyError, TypeError, AttributeError):
        # Notes are written whole; one that isn't readable was damaged later.
        return Unfinished("something", {}, note)
    except FileNotFoundError:
        return None
