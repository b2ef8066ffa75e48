"""Tasks recognised at ingest: ``tasks.json`` in the store's folder.

Settings lay them over the presets, and config.toml over both.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from hydra_cli.core.errors import StoreBusy, StoreError, UsageError
from hydra_cli.core.files import os_errors, private_folder, write_atomic
from hydra_cli.core.task_keys import checked_keys
from hydra_cli.core.tasks import TaskSpec
from hydra_cli.store.folder import StoreFolder

_VERSION = 1


def load_tasks(folder: Path) -> dict[str, TaskSpec]:
    """The recognised tasks by name; StoreError where the file is damaged."""
    path = StoreFolder(folder).tasks
    try:
        values = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise StoreError(f"can't read {path}: {error.strerror or error}") from error
    except (UnicodeDecodeError, ValueError, RecursionError) as error:
        raise _damaged(path, str(error)) from error
    if not isinstance(values, dict) or not isinstance(values.get("tasks"), dict):
        raise _damaged(path, "no tasks in it")
    return {name: _spec(path, name, value) for name, value in values["tasks"].items()}


def save_task(folder: Path, spec: TaskSpec) -> TaskSpec:
    """Keep a task; labels of a classification join those already kept. What was kept."""

    def join(known: dict[str, TaskSpec]) -> dict[str, TaskSpec]:
        return {**known, spec.name: joined(known.get(spec.name), spec)}

    return _change(folder, join)[spec.name]


def keep_labels(folder: Path, name: str, labels: Collection[str]) -> None:
    """Drop every other label of a recognised task: none outlives its last record."""

    def prune(known: dict[str, TaskSpec]) -> dict[str, TaskSpec]:
        if name not in known:
            return known
        spec = known[name]
        return {**known, name: spec.with_labels([x for x in spec.labels if x in labels])}

    _change(folder, prune)


def drop_task(folder: Path, name: str) -> None:
    """Forget a recognised task: its last record is gone."""
    _change(folder, lambda known: {key: spec for key, spec in known.items() if key != name})


def joined(known: TaskSpec | None, spec: TaskSpec) -> TaskSpec:
    """What is kept of a task met again: labels join those that are known."""
    if known is None or known.kind != spec.kind or spec.kind != "classification":
        return spec
    return replace(spec, labels=tuple(sorted({*known.labels, *spec.labels})))


def _change(
    folder: Path, change: Callable[[dict[str, TaskSpec]], dict[str, TaskSpec]]
) -> dict[str, TaskSpec]:
    private_folder(folder)
    with os_errors(folder):
        lock = FileLock(StoreFolder(folder).tasks_lock, timeout=10, mode=0o600)
        try:
            with lock:
                known = load_tasks(folder)
                changed = change(dict(known))
                if changed != known:
                    write_atomic(StoreFolder(folder).tasks, _encoded(changed))
                return changed
        except Timeout as error:
            raise StoreBusy(f"another process holds {lock.lock_file}", hint="try again") from error


def _encoded(tasks: Mapping[str, TaskSpec]) -> bytes:
    values = {name: asdict(spec) for name, spec in sorted(tasks.items())}
    document = {"version": _VERSION, "tasks": values}
    return json.dumps(document, ensure_ascii=False, indent=1).encode() + b"\n"


def _spec(path: Path, name: str, value: Any) -> TaskSpec:
    known = {f.name for f in fields(TaskSpec)}
    if not isinstance(value, dict) or not {"kind", "instruction"} <= value.keys() <= known:
        raise _damaged(path, f"task {name!r} has missing or unknown keys")
    given = {key: v for key, v in value.items() if key != "name" and v is not None}
    try:
        return TaskSpec(name=name, **checked_keys(name, given))
    except UsageError as error:
        raise _damaged(path, error.message) from error


def _damaged(path: Path, reason: str) -> StoreError:
    return StoreError(
        f"{path} is damaged: {reason}",
        hint="move it away; the next ingest of the same files writes it anew",
    )
