"""Checks of the tables: every row and every vector is read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import numpy as np
import pyarrow as pa

from hydra_cli.core.encoders import EncoderInfo
from hydra_cli.core.errors import StoreError, StoreVersion
from hydra_cli.store import rows as rows_of
from hydra_cli.store import tables, upkeep
from hydra_cli.store.errors import store_errors
from hydra_cli.store.findings import Finding, ok, problem
from hydra_cli.store.folder import StoreCard, StoreFolder
from hydra_cli.store.open_tables import OpenTables

_RESTORE = "import your last export into a new store; the records can't be made up"
_UNIT = 1e-3
_ROWS = 16_384


def check_card(folder: StoreFolder) -> tuple[StoreCard | None, list[Finding]]:
    """``store.json``, and what to do about a damaged one."""
    try:
        card = folder.load_card()
    except StoreVersion as error:
        return None, [problem("version", error.message, hint=error.hint)]
    except (StoreError, OSError):
        text = "store.json is missing or damaged"
        return None, [problem("store.json", text, repair=partial(rebuild_card, folder))]
    return card, [ok("store.json", f"schema {card.schema}, made by {card.created_by}")]


def rebuild_card(folder: StoreFolder) -> None:
    """A new ``store.json`` from what the tables say about themselves."""
    db = tables.connect(folder)
    found: list[tuple[int, EncoderInfo]] = []
    for name in tables.table_names(db):
        if tables.is_vector_table(name):
            table = db.open_table(name)
            found.append((table.count_rows(), tables.encoder_of(table.schema)))
    columns = db.open_table(tables.RECORDS).schema.names
    card = StoreCard.new()
    if columns != tables.RECORD_SCHEMA.names:
        raise StoreError("the records table is of an unknown layout", hint=_RESTORE)
    encoder = max(found, key=lambda pair: pair[0])[1] if found else None
    folder.save_card(card.with_encoder(encoder))


def check_tables(store: OpenTables) -> list[Finding]:
    """Records, marks of what was forgotten, vectors, files and indices."""
    found: list[Finding] = []
    for check in (_check_records, _check_forgotten, _check_vectors, _check_upkeep):
        try:
            with store_errors(store.folder.root, "read"):
                found += check(store)
        except StoreError as error:
            found.append(problem("tables", error.message, hint=_RESTORE))
    return found


def _check_records(store: OpenTables) -> list[Finding]:
    dataset = store.dataset(tables.RECORDS)
    wrong = total = 0
    keys: list[pa.Table] = []
    for batch in dataset.to_batches(batch_size=_ROWS):
        rows = pa.Table.from_batches([batch])
        total += rows.num_rows
        keys.append(rows.select(["user_key", "record_key"]))
        wrong += rows_of.count_wrong_keys(rows)
    found = []
    if wrong:
        text = f"{wrong} of {total} records differ from their own hashes"
        found.append(problem("records", text, hint=_RESTORE))
    doubled = total - _distinct(pa.concat_tables(keys)) if keys else 0
    if doubled:
        text = f"{doubled} records stand in the table twice"
        found.append(problem("records", text, hint="export, and import into a new store"))
    return found or [ok("records", f"{total} records, every one as its hash says, none twice")]


def _distinct(keys: pa.Table) -> int:
    return int(keys.group_by(["user_key", "record_key"]).aggregate([]).num_rows)


def _check_forgotten(store: OpenTables) -> list[Finding]:
    dataset = store.dataset(tables.FORGOTTEN)
    tables.salt_of(dataset.schema)
    return [ok("forgotten", f"{dataset.count_rows()} marks of what was forgotten")]


def _check_vectors(store: OpenTables) -> list[Finding]:
    encoder = store.folder.load_card().encoder
    own = None if encoder is None else tables.vector_table_name(encoder.fingerprint)
    found: list[Finding] = []
    for name in store.table_names():
        if not tables.is_vector_table(name):
            continue
        said = tables.encoder_of(store.dataset(name).schema)
        if name != own:
            text = f"vectors of another encoder ({said.name or said.fingerprint[:12]}) lie about"
            hint = "`hydra-pers doctor --fix` drops them"
            if said.name is not None:
                hint = f"`hydra-pers reindex --encoder {said.name}` goes on with them, {hint}"
            repair = locked(store, store.drop_table, name)
            found.append(problem("vectors", text, hint=hint, repair=repair))
            continue
        if encoder is None or said.dimension != encoder.dimension:
            text = "store.json and the vectors name different dimensions"
            repair = locked(store, rebuild_card, store.folder)
            found.append(problem("vectors", text, repair=repair))
        found += _check_values(store, name)
    if encoder is not None and not found:
        text = f"encoder {encoder.name or encoder.fingerprint[:12]}, {encoder.dimension} dimensions"
        found.append(ok("vectors", f"{text}, all of unit length"))
    return found


def _check_values(store: OpenTables, name: str) -> list[Finding]:
    records = store.dataset(tables.RECORDS).to_table(columns=["user_key", "record_key"])
    known = rows_of.mixed_keys(records)
    bad: list[int] = []
    orphans: list[int] = []
    for batch in store.dataset(name).to_batches(batch_size=_ROWS):
        rows = pa.Table.from_batches([batch])
        keys = rows["record_key"].to_numpy()
        broken = np.zeros(rows.num_rows, dtype=bool)
        for column in ("input_vector", "output_vector"):
            valid = rows[column].is_valid().to_numpy()
            lengths = np.linalg.norm(rows_of.matrix(rows[column]), axis=1)
            # NaN compares false, so ask for what is right.
            broken |= valid & ~(np.abs(lengths - 1) < _UNIT)
        bad += keys[broken].tolist()
        orphans += keys[~np.isin(rows_of.mixed_keys(rows), known)].tolist()
    found = []
    for what, wrong in (("aren't of unit length", bad), ("belong to no record", orphans)):
        if wrong:
            repair = locked(store, _delete_vectors, store, name, wrong)
            found.append(problem("vectors", f"{len(wrong)} vectors {what}", repair=repair))
    return found


def _delete_vectors(store: OpenTables, name: str, keys: list[int]) -> None:
    table = store.table(name)
    for start in range(0, len(keys), _ROWS):
        table.delete(f"record_key IN ({tables.int_list(keys[start : start + _ROWS])})")
    upkeep.purge_deleted(table)


def _check_upkeep(store: OpenTables) -> list[Finding]:
    found = []
    for name in store.table_names():
        if name == tables.FORGOTTEN:
            continue
        outside = upkeep.unindexed_rows(store.dataset(name))
        if outside > 2 * max(upkeep.UNINDEXED_ROWS, store.dataset(name).count_rows() // 5):
            repair = locked(store, upkeep.maintain, store.table(name))
            text = f"{outside} rows of {name} aren't in its index"
            found.append(problem("index", text, repair=repair))
    return found or [ok("index", "the indices cover what they should")]


def locked(
    store: OpenTables, repair: Callable[..., None], *arguments: object
) -> Callable[[], None]:
    """A repair that holds the writer lock."""

    def run() -> None:
        with _holding(store):
            repair(*arguments)

    return run


@contextmanager
def _holding(store: OpenTables) -> Iterator[None]:
    with store_errors(store.folder.root, "repair"), store.lock.held():
        yield
