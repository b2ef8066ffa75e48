"""Vectors of another encoder, made beside the old ones until all are there.

The new encoder has its own table. Searches use the old one until ``finish``
names the new encoder in ``store.json``, so a kill leaves a store that works.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from hydra_cli.core.encoders import EncoderInfo
from hydra_cli.core.records import Record
from hydra_cli.store import tables, upkeep
from hydra_cli.store.errors import store_errors
from hydra_cli.store.keys import record_key
from hydra_cli.store.open_tables import OpenTables
from hydra_cli.store.rows import mixed_keys, to_records, vector_rows

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hydra_cli.core.records import Vectors

_ROWS = 1024

Embed = Callable[[Sequence[str]], "Vectors"]
"""Texts to unit vectors, (n, d)."""


class Reindex:
    """One run over every record. ``closed`` tells the tasks whose outputs are not embedded."""

    def __init__(
        self, store: OpenTables, encoder: EncoderInfo, closed: Callable[[str], bool]
    ) -> None:
        self._store = store
        self._encoder = encoder
        self._closed = closed
        held = store.encoder
        self.changed = held is not None and held.fingerprint != encoder.fingerprint
        # With the same encoder again, the old table is the new one: vectors are replaced in place.
        self._in_place = held is not None and not self.changed
        self._new = tables.vector_table_name(encoder.fingerprint)
        with store_errors(store.folder.root, "reindex"), store.lock.held():
            store.create_vector_table(encoder)

    def pending(self) -> int:
        """Records that ``run`` would embed."""
        return len(self._todo())

    def run(self, embed: Embed, progress: Callable[[int], None]) -> None:
        """Embed what is pending, a batch at a time; the lock is held for writing only."""
        for batch in self._batches():
            inputs = embed([record.input for record in batch])
            texts = [record.output for record in batch if not self._closed(record.task)]
            self._write(batch, inputs, embed(texts) if texts else inputs[:0])
            progress(len(batch))
        # What a writer adds meanwhile is all that is left to do.
        self._in_place = False

    def finish(self) -> bool:
        """Name the new encoder, drop the old vectors; False where records came meanwhile."""
        store = self._store
        with store_errors(store.folder.root, "reindex"), store.lock.held():
            if self.pending():
                return False
            upkeep.maintain(store.table(self._new))
            store.folder.save_card(store.folder.load_card().with_encoder(self._encoder))
            for name in store.table_names():
                if tables.is_vector_table(name) and name != self._new:
                    store.drop_table(name)
        return True

    def _todo(self) -> NDArray[np.uint64]:
        """Mixed keys of what is to be embedded, sorted, (n,)."""
        columns = ["user_key", "record_key"]
        keys = mixed_keys(self._store.dataset(tables.RECORDS).to_table(columns=columns))
        if not self._in_place:
            done = mixed_keys(self._store.dataset(self._new).to_table(columns=columns))
            keys = keys[~np.isin(keys, done)]
        keys.sort()
        return keys

    def _batches(self) -> Iterator[list[Record]]:
        keys = self._store.read(self._todo)
        if not len(keys):
            return
        columns = ["user_key", "record_key", *tables.SHOWN]
        rows = self._store.dataset(tables.RECORDS).to_batches(columns=columns, batch_size=_ROWS)
        for batch in rows:
            table = pa.Table.from_batches([batch])
            at = np.searchsorted(keys, mixed_keys(table)).clip(max=len(keys) - 1)
            wanted = keys[at] == mixed_keys(table)
            if wanted.any():
                chosen = table.filter(pa.array(wanted)).select(tables.SHOWN)
                yield to_records(chosen, ordered=False)

    def _write(self, batch: list[Record], inputs: Vectors, outputs: Vectors) -> None:
        store, given = self._store, iter(outputs)
        groups: dict[tuple[str, str], list[tuple[str, Vectors, Vectors | None]]] = {}
        for record, vector in zip(batch, inputs, strict=True):
            group = groups.setdefault((record.user, record.task), [])
            output = None if self._closed(record.task) else next(given)
            group.append((record.id, vector, output))
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
            # Closed tasks have no output vectors; LanceDB would call a null "bad".
            merge.when_matched_update_all().when_not_matched_insert_all().execute(
                rows, on_bad_vectors="null"
            )
            upkeep.upkeep(store.table(self._new))
