"""Forget a user, one of their tasks or single records, down to the last byte.

Rows are deleted and the files that held them written anew (``store_upkeep``).
Answers, unfinished work and migration backups can't be cut finer than a user
or a store, so they go whole. Salted hashes remember what was forgotten, so that
an ingest of the same source doesn't bring it back.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

import pyarrow.compute as pc

from hydra_cli.core.files import name_of
from hydra_cli.store import tables, upkeep
from hydra_cli.store.answers import forget_answers
from hydra_cli.store.api_keys import ApiKey, ApiKeys
from hydra_cli.store.dedup import mark_forgotten
from hydra_cli.store.errors import store_errors
from hydra_cli.store.journal import Unfinished, noted_work
from hydra_cli.store.keys import key_of
from hydra_cli.store.open_tables import OpenTables
from hydra_cli.store.scope import Erased, Scope, nothing_of
from hydra_cli.store.task_file import drop_task, keep_labels, load_tasks

OPERATION = "forget"


def preview(store: OpenTables, scope: Scope) -> Erased:
    """What ``erase`` would remove; NotFound where there is nothing of it."""
    with store_errors(store.folder.root, "read"):
        keys = _record_keys(store, scope)
        kept, said = store.answer_log.count(scope)
        erased = Erased(
            records=len(keys),
            vectors=sum(
                store.dataset(name).count_rows(filter=_where(scope, keys))
                for name in _vector_tables(store)
                if keys or scope.record is None
            ),
            heads=len(_heads(store, scope, keys)),
            work_files=len(store.folder.work_of(scope.user)),
            cached_answers=store.folder.answers.is_file(),
            backups=_count(store.folder.backups),
            kept_answers=kept,
            feedback=said,
            api_keys=len(_api_keys(store, scope)),
        )
    beside = erased.work_files or kept or said or erased.api_keys
    whole = scope.whole and beside
    if not (erased.records or erased.vectors or erased.heads or whole):
        raise nothing_of(scope)
    return erased


def tasks_of_record(store: OpenTables, scope: Scope) -> list[str]:
    """The tasks in which the user has a record of this id."""
    with store_errors(store.folder.root, "read"):
        return sorted({task for *_, task in _record_keys(store, scope)})


def erase(store: OpenTables, scope: Scope) -> Erased:
    """Erase the scope. A kill in between is finished by the next command."""
    with store_errors(store.folder.root, "forget in"), store.lock.held():
        erased = preview(store, scope)
        details = {key: value for key, value in asdict(scope).items() if value is not None}
        with noted_work(store.folder.work, OPERATION, **details):
            _erase(store, scope)
        return erased


def finish(store: OpenTables, entry: Unfinished) -> str:
    """Finish a forget whose process died."""
    details = entry.details
    scope = Scope(details["user"], details.get("task"), details.get("record"))
    with store.lock.held():
        _erase(store, scope)
    return "a forget was interrupted; it is finished now"


def _erase(store: OpenTables, scope: Scope) -> None:
    """Every step may run twice. Records go last: they say which heads saw them."""
    keys = _record_keys(store, scope)
    mark_forgotten(store, _marks(store, scope))
    for path in _heads(store, scope, keys) + store.folder.work_of(scope.user):
        _remove(path)
    if scope.whole:
        _remove(store.folder.heads_of(scope.user))
        ApiKeys(store.folder).forget(scope.user)
    forget_answers(store.folder.answers, [scope.user])
    _forget_labels(store, scope, {task for *_, task in keys})
    _remove(store.folder.backups)
    for name in [*_vector_tables(store), tables.RECORDS]:
        table = store.table(name)
        if keys or scope.record is None:
            table.delete(_where(scope, keys))
        upkeep.purge_deleted(table)
    # After the records: an answer that was begun while they were there isn't kept any more.
    store.answer_log.erase(scope)


def _record_keys(store: OpenTables, scope: Scope) -> list[tuple[int, int, str]]:
    """(task_key, record_key, task) of the records in the scope."""
    rows = store.dataset(tables.RECORDS).to_table(
        columns=["task_key", "record_key", "user", "task", "id"], filter=_where(scope, None)
    )
    rows = rows.filter(pc.equal(rows["user"], scope.user))
    if scope.record is not None:
        rows = rows.filter(pc.equal(rows["id"], scope.record))
    columns = (rows[name].to_pylist() for name in ("task_key", "record_key", "task"))
    return list(zip(*columns, strict=True))


def _where(scope: Scope, keys: Iterable[tuple[int, int, str]] | None) -> str:
    """The rows of the scope; ``keys`` narrows a single record down."""
    parts = [f"user_key = {key_of(scope.user)}"]
    if scope.task is not None:
        parts.append(f"task_key = {key_of(scope.task)}")
    if scope.record is not None and keys is not None:
        parts.append(f"record_key IN ({tables.int_list(key for _, key, _ in keys)})")
    return " AND ".join(parts)


def _marks(store: OpenTables, scope: Scope) -> list[tuple[str, ...]]:
    if scope.record is None:
        return [(scope.user,) if scope.task is None else (scope.user, scope.task)]
    tasks = {scope.task} if scope.task is not None else {t for *_, t in _record_keys(store, scope)}
    return [(scope.user, task, scope.record) for task in sorted(tasks)]


def _heads(store: OpenTables, scope: Scope, keys: list[tuple[int, int, str]]) -> list[Path]:
    """Heads that saw what is forgotten: the next fit makes new ones."""
    files = sorted(path for path in store.folder.heads_of(scope.user).glob("*") if path.is_file())
    if scope.whole:
        return files
    tasks = {scope.task} if scope.task is not None else {task for *_, task in keys}
    names = tuple(name_of(task) for task in tasks)
    # Temporary files of a killed fit begin with a dot.
    return [path for path in files if path.name.lstrip(".").startswith(names)]


def _api_keys(store: OpenTables, scope: Scope) -> list[ApiKey]:
    """Keys of a user whose data are all going: they hold the user's name."""
    return ApiKeys(store.folder).of_user(scope.user) if scope.whole else []


def _vector_tables(store: OpenTables) -> list[str]:
    return [name for name in store.table_names() if tables.is_vector_table(name)]


def _forget_labels(store: OpenTables, scope: Scope, names: set[str]) -> None:
    """Labels learned from the forgotten records alone, and tasks without any other record."""
    known = load_tasks(store.folder.root)
    for name in sorted(names & known.keys()):
        rows = store.dataset(tables.RECORDS).to_table(
            columns=["user", "id", "output"], filter=f"task_key = {key_of(name)}"
        )
        going = pc.equal(rows["user"], scope.user)
        if scope.record is not None:
            going = pc.and_(going, pc.equal(rows["id"], scope.record))
        left = rows.filter(pc.invert(going))
        if left.num_rows == 0:
            drop_task(store.folder.root, name)
            continue
        lost = set(rows.filter(going)["output"].to_pylist())
        lost -= set(pc.unique(left["output"]).to_pylist())
        keep_labels(store.folder.root, name, set(known[name].labels) - lost)


def _count(folder: Path) -> int:
    return sum(1 for _ in folder.iterdir()) if folder.is_dir() else 0


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
