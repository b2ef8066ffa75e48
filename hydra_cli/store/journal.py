"""Work that a kill may leave unfinished, and what the next command does about it.

Long work notes itself in ``work/op-<id>.json`` and holds ``op-<id>.lock``
meanwhile; the note says how far it has come. The operating system frees the
lock of a dead process, so a note whose lock is free is unfinished work. Such
notes are read when a store is opened: what can be finished is, and one line
says so. Work that is to be run again keeps its note, which is told of once,
until it was run again or ``doctor --fix`` drops it.
"""

from __future__ import annotations

import json
import logging
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from hydra_cli.core.counting import counted
from hydra_cli.core.errors import DataError, StoreError, UsageError
from hydra_cli.core.files import private_folder, write_atomic

log = logging.getLogger("hydra_cli.store")


@dataclass(frozen=True, slots=True)
class Unfinished:
    """A note whose process died, or was stopped."""

    operation: str
    details: Mapping[str, str]
    note: Path
    at: datetime
    """When the note was last written."""
    records: int | None = None
    """Records that were done by then, where the work is counted in records."""
    stopped: bool = False
    """Whether the work wrote so itself; a killed process can't."""
    told: bool = False
    """Whether a command has said so already."""

    @property
    def described(self) -> str:
        """What was left, how far it had come, and when, in one line."""
        if not self.operation:
            return "a damaged note of unfinished work"
        what = self.details.get("what")
        work = f"{self.operation} of {what}" if what else self.operation
        when = f"on {self.at.astimezone():%Y-%m-%d at %H:%M}"
        if self.records is not None:
            done = (
                f"after {counted(self.records, 'record')}"
                if self.records
                else "before its first record"
            )
            return f"{work} stopped {done} {when}"
        if self.stopped:
            return f"{work} stopped {when}"
        return f"{work}, begun {when}, was cut off"


Finish = Callable[[Unfinished], str]
"""Finishes or undoes the work and says what became of it, in one line."""


@dataclass(slots=True)
class Note:
    """The note of work that is going on."""

    _entry: Unfinished = field(repr=False)

    def reached(self, records: int) -> None:
        """So many records are done and will stay, whatever happens next."""
        self._save(records=records)

    def _save(self, *, records: int | None = None, stopped: bool = False) -> None:
        known = self._entry.records if records is None else records
        now = datetime.now(UTC)
        self._entry = replace(self._entry, at=now, records=known, stopped=stopped)
        _write(self._entry)


@contextmanager
def noted_work(
    work: Path, operation: str, *, counted: bool = False, **details: str
) -> Iterator[Note]:
    """Note the work while the block runs. An error leaves the note for the next command.

    Input that must be mended first is no unfinished work: DataError and UsageError
    leave none. ``counted``: the block tells the note how many records are done.
    """
    private_folder(work)
    stem = f"op-{secrets.token_hex(8)}"
    path, lock = work / f"{stem}.json", FileLock(work / f"{stem}.lock", mode=0o600)
    now = datetime.now(UTC)
    with lock:
        note = Note(Unfinished(operation, details, path, now, 0 if counted else None))
        note._save()
        try:
            yield note
        except (DataError, UsageError):
            path.unlink(missing_ok=True)
            raise
        except BaseException:
            # A full disk must not hide the error; the note from before stays then.
            with suppress(StoreError):
                note._save(stopped=True)
            raise
        path.unlink(missing_ok=True)
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
            _remove_temporary(note)
            if finish is None and entry.operation:
                _write(replace(entry, told=True))
                continue
            note.unlink(missing_ok=True)
        note.with_suffix(".lock").unlink(missing_ok=True)


def _run_again(entry: Unfinished) -> str:
    return f"{entry.described}; run it again to go on" if entry.operation else entry.described


def _write(entry: Unfinished) -> None:
    content = {
        "operation": entry.operation,
        "details": dict(entry.details),
        "at": entry.at.isoformat(),
        "records": entry.records,
        "stopped": entry.stopped,
        "told": entry.told,
    }
    write_atomic(entry.note, json.dumps(content).encode())


def _remove_temporary(note: Path) -> None:
    """A process that was killed while it wrote its note leaves a file beside it."""
    for path in note.parent.glob(f".{note.name}.*"):
        path.unlink(missing_ok=True)


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
        records = content.get("records")
        return Unfinished(
            operation=str(content["operation"]),
            details=details,
            note=note,
            # The notes of 0.1 hold no time.
            at=datetime.fromisoformat(content["at"]) if "at" in content else _written(note),
            records=None if records is None else int(records),
            stopped=bool(content.get("stopped")),
            told=bool(content.get("told")),
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        # Notes are written whole; one that isn't readable was damaged later.
        return Unfinished("", {}, note, _written(note))
    except FileNotFoundError:
        return None


def _written(note: Path) -> datetime:
    return datetime.fromtimestamp(note.stat().st_mtime, UTC)
