"""Stores of older releases, brought to the present layout.

The old tables are saved to ``backups/`` first. A kill at any moment leaves the
old layout or the new one; the next command starts over or goes on.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import lance
import pyarrow as pa

from hydra_cli.core.errors import StoreError
from hydra_cli.core.files import private_folder, sync_folder
from hydra_cli.store import rows as rows_of
from hydra_cli.store import tables
from hydra_cli.store.folder import SCHEMA, StoreCard, StoreFolder

log = logging.getLogger("hydra_cli.store")
_ROWS = 8192
_PLAIN = [name for name in tables.SHOWN if name != "seq"]


def migrate(folder: StoreFolder) -> StoreCard:
    """The store in the present layout. Only under the writer lock."""
    card = folder.load_card()
    if card.schema == SCHEMA:
        return card
    saved = _back_up(folder, card.schema)
    while card.schema < SCHEMA:
        step = STEPS.get(card.schema)
        if step is None:
            raise StoreError(
                f"the store at {folder.root} has the unknown schema {card.schema}",
                hint="it was not touched; is store.json damaged?",
            )
        step(folder)
        card = replace(card, schema=card.schema + 1)
        folder.save_card(card)
    log.warning("the store was brought to schema %d; the old tables are in %s", SCHEMA, saved)
    return card


def _back_up(folder: StoreFolder, schema: int) -> Path:
    """A copy of the tables and of store.json, whole or absent."""
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%f")
    target = folder.backups / f"schema-{schema}-{stamp}"
    private_folder(folder.backups)
    for leftover in folder.backups.glob(".*.partial"):
        shutil.rmtree(leftover)
    partial = folder.backups / f".{target.name}.partial"
    shutil.copytree(folder.db, partial / "db")
    shutil.copyfile(folder.card_file, partial / folder.card_file.name)
    os.replace(partial, target)
    sync_folder(folder.backups)
    return target


def _from_0(folder: StoreFolder) -> None:
    """Schema 0 had no keys, no hashes and no sequence: rows are numbered as they lie."""
    dataset = lance.dataset(str(folder.db / f"{tables.RECORDS}.lance"))
    if dataset.schema.names != tables.RECORD_SCHEMA.names:
        lance.write_dataset(
            pa.RecordBatchReader.from_batches(tables.RECORD_SCHEMA, _numbered(dataset)),
            dataset.uri,
            schema=tables.RECORD_SCHEMA,
            mode="overwrite",
        )
    tables.create_tables(tables.connect(folder))


def _numbered(dataset: lance.LanceDataset) -> Iterator[pa.RecordBatch]:
    """Rows with keys and numbers, the first of doubled records alone."""
    number = 0
    seen: set[tuple[int, int]] = set()
    for batch in dataset.to_batches(columns=_PLAIN, batch_size=_ROWS):
        plain = pa.Table.from_batches([batch])
        plain = plain.append_column("seq", pa.array(range(plain.num_rows), pa.int64()))
        rows = rows_of.record_rows(rows_of.to_records(plain, ordered=False))
        keys = zip(rows["user_key"].to_pylist(), rows["record_key"].to_pylist(), strict=True)
        keep = []
        for i, key in enumerate(keys):
            if key not in seen:
                seen.add(key)
                keep.append(i)
        rows = rows_of.numbered(rows.take(pa.array(keep, pa.int64())), number)
        number += rows.num_rows
        yield from rows.to_batches()


STEPS: dict[int, Callable[[StoreFolder], None]] = {0: _from_0}
"""From each older schema to the next one."""
