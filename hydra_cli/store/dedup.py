"""What a batch meets in the store: records already there, records once forgotten."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import lance
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hydra_cli.core.record_building import unix_lines
from hydra_cli.core.records import Record
from hydra_cli.store import tables
from hydra_cli.store.keys import forgotten_digest, key_of
from hydra_cli.store.open_tables import OpenTables
from hydra_cli.store.rows import mixed_keys

_FEW_USERS = 64
"""Up to so many users of a batch are looked up by the index, more by a scan of the keys."""
_SCAN_ROWS = 262_144
_COMPARED = ("input", "output", "time")


def with_known_ids(store: OpenTables, records: Sequence[Record]) -> Sequence[Record]:
    """The records, those that the store holds under a former id with that id."""
    waiting = [record for record in records if record.former]
    dataset = store.dataset(tables.RECORDS)
    if not waiting or dataset.count_rows() == 0:
        return records
    users = {name: key_of(name) for name in {record.user for record in waiting}}
    keys = {key_of(record.task, name) for record in waiting for name in (record.id, *record.former)}
    wanted = pa.array(sorted(keys), pa.int64())
    few = len(users) <= _FEW_USERS
    held: set[tuple[int, int]] = set()
    for batch in dataset.to_batches(
        columns=["user_key", "record_key"],
        filter=f"user_key IN ({tables.int_list(list(users.values()))})" if few else None,
        batch_size=_SCAN_ROWS,
    ):
        hits = batch.filter(pc.is_in(batch["record_key"], value_set=wanted))
        held.update(zip(*(column.to_pylist() for column in hits.columns), strict=True))

    def known(record: Record) -> Record:
        user = users.get(record.user, 0)
        for name in (record.id, *record.former) if record.former else ():
            if (user, key_of(record.task, name)) in held:
                return replace(record, id=name)
        return record

    return [known(record) for record in records] if held else records


def known_contents(
    dataset: lance.LanceDataset, rows: pa.Table
) -> tuple[dict[tuple[int, int], int], int]:
    """Stored content keys of the rows' keys, and a sequence number above their users'."""
    known: dict[tuple[int, int], int] = {}
    if rows.num_rows == 0:
        return known, 0
    users = pc.unique(rows["user_key"])
    few = len(users) <= _FEW_USERS
    wanted = rows["record_key"].combine_chunks()
    last = -1
    for batch in dataset.to_batches(
        columns=["user_key", "record_key", "content_key", "seq"],
        filter=f"user_key IN ({tables.int_list(users.to_pylist())})" if few else None,
        batch_size=_SCAN_ROWS,
    ):
        if batch.num_rows == 0:
            continue
        last = max(last, pc.max(batch["seq"]).as_py())
        hits = batch.filter(pc.is_in(batch["record_key"], value_set=wanted))
        columns = (hits[name].to_pylist() for name in ("user_key", "record_key", "content_key"))
        for user, key, content in zip(*columns, strict=True):
            known[user, key] = content
    return known, last + 1


def sort_out(
    rows: pa.Table, known: dict[tuple[int, int], int]
) -> tuple[Sequence[int], Sequence[int]]:
    """Which rows are new, and which have a known key with other content; ``known`` grows."""
    if not known and len(np.unique(mixed_keys(rows))) == rows.num_rows:
        return range(rows.num_rows), ()
    keep: list[int] = []
    conflicting: list[int] = []
    keys = (rows[name].to_pylist() for name in ("user_key", "record_key", "content_key"))
    for i, (user, key, content) in enumerate(zip(*keys, strict=True)):
        found = known.get((user, key))
        if found is None:
            known[user, key] = content
            keep.append(i)
        elif found != content:
            conflicting.append(i)
    return keep, conflicting


def truly_other(
    dataset: lance.LanceDataset, rows: pa.Table, conflicting: Sequence[int]
) -> list[int]:
    """Of the conflicting rows those whose input, output or time differs from the stored one's.

    Content keys also cover metadata and line breaks as they stood in the source;
    a further column or another format is no conflict.
    """
    stored: dict[tuple[int, int], tuple[object, ...]] = {}
    wanted = rows.take(list(conflicting))
    columns = ["user_key", "record_key", *_COMPARED]
    found = dataset.to_table(columns=columns, filter=where_any(wanted))
    # The batch's own rows come after: of two of one key, the first is stored.
    for table in (found, rows):
        for user, key, *texts in zip(*(table[name].to_pylist() for name in columns), strict=True):
            stored.setdefault((user, key), _compared(texts))
    listed = zip(*(wanted[name].to_pylist() for name in columns), strict=True)
    return [
        i
        for i, (user, key, *texts) in zip(conflicting, listed, strict=True)
        if stored[user, key] != _compared(texts)
    ]


def where_any(rows: pa.Table) -> str:
    """A filter for the stored rows of these keys."""
    users = tables.int_list(pc.unique(rows["user_key"]).to_pylist())
    keys = tables.int_list(pc.unique(rows["record_key"]).to_pylist())
    return f"user_key IN ({users}) AND record_key IN ({keys})"


def _compared(values: Sequence[object]) -> tuple[object, ...]:
    return tuple(unix_lines(value) if isinstance(value, str) else value for value in values)


def split_forgotten(
    store: OpenTables, records: Sequence[Record], *, restore: bool
) -> tuple[Sequence[Record], list[Record], set[bytes]]:
    """Records that may be added, those that were forgotten, and the marks to take back."""
    dataset = store.dataset(tables.FORGOTTEN)
    marked = set(dataset.to_table()["digest"].to_pylist())
    if not marked:
        return records, [], set()
    salt = tables.salt_of(dataset.schema)
    allowed: list[Record] = []
    refused: list[Record] = []
    hit: set[bytes] = set()
    digests: dict[tuple[str, ...], bytes] = {}
    for record in records:
        for scope in ((record.user,), (record.user, record.task)):
            if scope not in digests:
                digests[scope] = forgotten_digest(salt, *scope)
        found = marked & {
            digests[(record.user,)],
            digests[record.user, record.task],
            *(
                forgotten_digest(salt, record.user, record.task, name)
                for name in (record.id, *record.former)
            ),
        }
        hit |= found
        (refused if found and not restore else allowed).append(record)
    return allowed, refused, hit if restore else set()


def mark_forgotten(store: OpenTables, scopes: Iterable[tuple[str, ...]]) -> None:
    """Remember that (user), (user, task) or (user, task, id) was forgotten, as salted hashes."""
    dataset = store.dataset(tables.FORGOTTEN)
    salt = tables.salt_of(dataset.schema)
    marked = set(dataset.to_table()["digest"].to_pylist())
    new = {forgotten_digest(salt, *scope) for scope in scopes} - marked
    if new:
        rows = pa.table({"digest": sorted(new)}, schema=tables.FORGOTTEN_SCHEMA)
        store.table(tables.FORGOTTEN).add(rows)


def unmark_forgotten(store: OpenTables, digests: set[bytes]) -> None:
    literals = ", ".join(f"X'{digest.hex()}'" for digest in sorted(digests))
    store.table(tables.FORGOTTEN).delete(f"digest IN ({literals})")
