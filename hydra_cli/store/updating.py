"""Corrected records in place of stored ones: found, and written in one commit.

Old vectors go first and the files that held the old text last, so that a kill
in between leaves the old record or the new one, never a new one with old vectors.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import lance
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hydra_cli.core.record_building import unix_lines
from hydra_cli.store import tables, upkeep
from hydra_cli.store.answers import forget_answers
from hydra_cli.store.dedup import where_any
from hydra_cli.store.errors import store_errors
from hydra_cli.store.journal import Unfinished, noted_work
from hydra_cli.store.keys import key_of
from hydra_cli.store.open_tables import OpenTables

OPERATION = "update"
Match = Literal["id", "content"]
_MADE_ID = re.compile(r"[0-9a-f]{32}")
_BY_CONTENT = ["user_key", "record_key", "seq", "id", "user", "task", "input", "time"]


def corrected(
    dataset: lance.LanceDataset,
    rows: pa.Table,
    fresh: Sequence[int],
    conflicting: Sequence[int],
    match: Match,
) -> dict[int, tuple[int, int]]:
    """(seq, record_key) of the stored record that each of these rows replaces.

    By id: a conflicting row replaces what has its key. By content, for sources
    without ids: a fresh row replaces the one record of the same user, task,
    input and time that isn't in the batch itself.
    """
    found: dict[int, tuple[int, int]] = {}
    if conflicting:
        wanted = rows.take(list(conflicting))
        columns = ["user_key", "record_key", "seq"]
        stored = dataset.to_table(columns=columns, filter=where_any(wanted))
        old = {(u, k): seq for u, k, seq in _lists(stored, columns)}
        for i, (user, key) in zip(conflicting, _lists(wanted, columns[:2]), strict=True):
            if (seq := old.pop((user, key), None)) is not None:
                found[i] = seq, key
    if match == "content" and fresh:
        found |= _same_but_output(dataset, rows, fresh)
    return found


def _same_but_output(
    dataset: lance.LanceDataset, rows: pa.Table, fresh: Sequence[int]
) -> dict[int, tuple[int, int]]:
    wanted = rows.take(list(fresh))
    users = tables.int_list(pc.unique(wanted["user_key"]).to_pylist())
    stored = dataset.to_table(columns=_BY_CONTENT, filter=f"user_key IN ({users})")
    own = set(_lists(rows, ["user_key", "record_key"]))
    old: dict[tuple[object, ...], list[tuple[int, int]]] = defaultdict(list)
    for user_key, key, seq, id_, user, task, text, time in _lists(stored, _BY_CONTENT):
        if (user_key, key) not in own and _MADE_ID.fullmatch(id_):
            old[user, task, unix_lines(text), time].append((seq, key))
    new: dict[tuple[object, ...], list[int]] = defaultdict(list)
    listed = _lists(wanted, ["user", "task", "input", "time"])
    for i, (user, task, text, time) in zip(fresh, listed, strict=True):
        new[user, task, unix_lines(text), time].append(i)
    return {
        rows_of[0]: old[same][0]
        for same, rows_of in new.items()
        if len(rows_of) == 1 and len(old.get(same, ())) == 1
    }


def replace(store: OpenTables, rows: pa.Table, gone: Mapping[int, tuple[int, int]]) -> None:
    """Write the rows; row i takes the place of the record ``gone[i]``, the others are added."""
    seq = np.array(rows["seq"].to_numpy())
    for i, (number, _) in gone.items():
        seq[i] = number
    at = rows.schema.get_field_index("seq")
    rows = rows.set_column(at, rows.schema.field("seq"), pa.array(seq))
    users = rows["user_key"].to_pylist()
    keys: dict[int, list[int]] = defaultdict(list)
    for i, (_, key) in gone.items():
        keys[users[i]].append(key)
    where = " OR ".join(
        f"(user_key = {user} AND record_key IN ({tables.int_list(own)}))"
        for user, own in keys.items()
    )
    with noted_work(store.folder.work, OPERATION):
        for name in store.table_names():
            if tables.is_vector_table(name):
                store.table(name).delete(where)
        forget_answers(store.folder.answers, set(rows.take(list(gone))["user"].to_pylist()))
        merge = store.table(tables.RECORDS).merge_insert(["user_key", "seq"])
        merge.when_matched_update_all().when_not_matched_insert_all().execute(rows)
        _purge(store)


def withdraw(store: OpenTables, user: str, task: str, id: str) -> bool:
    """Remove one record with its vectors, down to the last byte; whether it was there."""
    where = f"user_key = {key_of(user)} AND record_key = {key_of(task, id)}"
    with store_errors(store.folder.root, "write to"), store.lock.held():
        if not store.dataset(tables.RECORDS).count_rows(filter=where):
            return False
        with noted_work(store.folder.work, OPERATION):
            for name in store.table_names():
                if tables.is_vector_table(name):
                    store.table(name).delete(where)
            forget_answers(store.folder.answers, [user])
            store.table(tables.RECORDS).delete(where)
            _purge(store)
    return True


def finish(store: OpenTables, entry: Unfinished) -> str:
    """What a killed update left on the disk; its records are the old or the new ones."""
    with store.lock.held():
        _purge(store)
    return "a correction was interrupted; what it replaced is off the disk now"


def _purge(store: OpenTables) -> None:
    for name in store.table_names():
        if name == tables.RECORDS or tables.is_vector_table(name):
            upkeep.purge_deleted(store.table(name))


def _lists(table: pa.Table, columns: Sequence[str]) -> list[tuple[Any, ...]]:
    return list(zip(*(table[name].to_pylist() for name in columns), strict=True))
