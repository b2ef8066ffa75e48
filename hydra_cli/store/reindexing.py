"""Vectors of another encoder, made beside the old ones until all are there.

The new encoder has its own table. Searches use the old one until ``finish``
names the new encoder in ``store.json``, so a kill leaves a store that works.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from hydra_cli.core.records import Record
from hydra_cli.store import tables, upkeep
from hydra_cli.store.errors import store_errors
from hydra_cli.store.folder import EncoderInfo
from hydra_cli.store.keys import record_key
from hydra_cli.store.lancedb_store import LanceHistoryStore
from hydra_cli.store.rows import mixed_keys, to_records, vector_rows

if TYPE_CHECKING:
    from hydra_cli.core.records import Vectors

_ROWS = 1024

Embed = Callable[[Sequence[str]], "Vectors"]
"""Texts to unit vectors, (n, d)."""


class Reindex:
    """One run over every record that has vectors."""

    def __init__(self, store: LanceHistoryStore, encoder: EncoderInfo) -> None:
        self._store = store
        self._encoder = encoder
        self._old = store.vector_table()
        held = store.encoder
        self.changed = held is None or held.fingerprint != encoder.fingerprint
        # With the same encoder again, the old table is the new one: vectors are replaced in place.
        self._new = tables.vector_table_name(encoder.fingerprint)
        with store_errors(store.folder.root, "reindex"), store.lock.held():
            store.create_vector_table(encoder)

    def pending(self) -> int:
        """Records that have old vectors and no new ones."""
        return int(self._todo().num_rows)

    def run(self, embed: Embed, progress: Callable[[int], None]) -> int:
        """Embed what is pending, a batch at a time; the lock is held for writing only."""
        done = 0
        for batch, with_output in self._batches():
            inputs = embed([record.input for record in batch])
            texts = [r.output for r, o in zip(batch, with_output, strict=True) if o]
            self._write(batch, with_output, inputs, embed(texts) if texts else inputs[:0])
            done += len(batch)
            progress(len(batch))
        return done

    def finish(self) -> bool:
        """Name the new encoder, drop the old vectors; False where records came meanwhile."""
        store = self._store
        with store_errors(store.folder.root, "reindex"), store.lock.held():
            if self.changed and self.pending():
                return False
            upkeep.maintain(store.table(self._new))
            store.folder.save_card(store.folder.load_card().with_encoder(self._encoder))
            for name in store.table_names():
                if tables.is_vector_table(name) and name != self._new:
                    store.drop_table(name)
        return True

    def _todo(self) -> pa.Table:
        """(user_key, record_key, has_output) of what is to be embedded."""
        columns = {
            "user_key": "user_key",
            "record_key": "record_key",
            "has_output": "output_vector IS NOT NULL",
        }
        held = self._store.dataset(self._old or self._new).to_table(columns=columns)
        if not self.changed:
            return held
        done = self._store.dataset(self._new).to_table(columns=["user_key", "record_key"])
        return held.filter(pa.array(~np.isin(mixed_keys(held), mixed_keys(done))))

    def _batches(self) -> Iterator[tuple[list[Record], list[bool]]]:
        todo = self._store.read(self._todo)
        if todo.num_rows == 0:
            return
        keys = mixed_keys(todo)
        order = np.argsort(keys)
        keys, outputs = keys[order], todo["has_output"].to_numpy()[order]
        columns = ["user_key", "record_key", *tables.SHOWN]
        rows = self._store.dataset(tables.RECORDS).to_batches(columns=columns, batch_size=_ROWS)
        for batch in rows:
            table = pa.Table.from_batches([batch])
            at = np.searchsorted(keys, mixed_keys(table)).clip(max=len(keys) - 1)
            wanted = keys[at] == mixed_keys(table)
            if wanted.any():
                chosen = table.filter(pa.array(wanted)).select(tables.SHOWN)
                yield to_records(chosen, ordered=False), outputs[at[wanted]].tolist()

    def _write(
        self, batch: list[Record], with_output: list[bool], inputs: Vectors, outputs: Vectors
    ) -> None:
        store, given = self._store, iter(outputs)
        groups: dict[tuple[str, str], list[tuple[str, Vectors, Vectors | None]]] = {}
        for record, vector, has_output in zip(batch, inputs, with_output, strict=True):
            group = groups.setdefault((record.user, record.task), [])
            group.append((record.id, vector, next(given) if has_output else None))
        rows = pa.concat_tables(
            vector_rows(user, task, vectors, self._encoder)
            for (user, task), vectors in groups.items()
        )
        with store_errors(store.folder.root, "reindex"), store.lock.held():
            # Who was forgotten meanwhile stays forgotten.
            where = f"record_key IN ({tables.int_list(record_key(r) for r in batch)})"
            there = store.dataset(tables.RECORDS).to_table(
                columns=["user_key", "record_key"], filter=where
            )
            rows = rows.filter(pa.array(np.isin(mixed_keys(rows), mixed_keys(there))))
            merge = store.table(self._new).merge_insert(["user_key", "record_key"])
            merge.when_matched_update_all().when_not_matched_insert_all().execute(rows)
            upkeep.upkeep(store.table(self._new))
