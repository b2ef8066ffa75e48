"""An open store's folder, lock and tables: what every other module of the store stands on."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TypeVar

import lance
from lancedb.table import Table

from hydra_cli.core.encoders import EncoderInfo, check_same_encoder
from hydra_cli.store import tables
from hydra_cli.store.answer_log import AnswerLog
from hydra_cli.store.errors import FOREIGN, store_errors
from hydra_cli.store.folder import StoreFolder
from hydra_cli.store.lock import WriterLock

T = TypeVar("T")
_Stamp = tuple[int, int]
_ATTEMPTS = 5
_SETTLED_NS = 1_000_000_000
"""A folder's time may stay the same for two changes that follow within its clock's tick."""


class OpenTables:
    """The tables of one folder, opened when they are first needed."""

    def __init__(self, folder: StoreFolder) -> None:
        self.folder = folder
        self.lock = WriterLock(folder.lock)
        self.answer_log = AnswerLog(folder.feedback)
        self._db = tables.connect(folder)
        self._tables: dict[str, Table] = {}
        self._datasets: dict[str, tuple[lance.LanceDataset, _Stamp | None]] = {}

    @property
    def encoder(self) -> EncoderInfo | None:
        """The encoder whose vectors the store holds, or None before the first vector."""
        with store_errors(self.folder.root, "read"):
            return self.folder.load_card().encoder

    def table(self, name: str) -> Table:
        """A table to write to."""
        if name not in self._tables:
            self._tables[name] = self._db.open_table(name)
        return self._tables[name]

    def dataset(self, name: str) -> lance.LanceDataset:
        """The newest version of a table to read; caches stay warm between versions.

        Where the folder of versions hasn't changed, no version is new: nothing is listed.
        """
        # Before the versions: one that comes in between is looked for the next time.
        stamp = self._stamp(name)
        dataset, known = self._datasets.get(name, (None, None))
        if dataset is None:
            dataset = lance.dataset(str(self.folder.db / f"{name}.lance"))
        elif stamp is not None and stamp == known:
            return dataset
        else:
            dataset = dataset.checkout_version(dataset.latest_version)
        settled = stamp is not None and time.time_ns() - stamp[0] > _SETTLED_NS
        self._datasets[name] = dataset, stamp if settled else None
        return dataset

    def _stamp(self, name: str) -> _Stamp | None:
        """When a version of the table came or went last, in ns, and in which folder."""
        try:
            found = os.stat(self.folder.db / f"{name}.lance" / "_versions")
        except OSError:
            return None
        return found.st_mtime_ns, found.st_ino

    def version(self, name: str) -> tuple[str, int, int]:
        """Another one after every change of the table, by whatever process."""
        folder = self.folder.db / f"{name}.lance"
        return name, folder.stat().st_ino, self.dataset(name).version

    def table_names(self) -> list[str]:
        return tables.table_names(self._db)

    def drop_table(self, name: str) -> None:
        self._tables.pop(name, None)
        self._datasets.pop(name, None)
        self._db.drop_table(name)

    def create_vector_table(self, encoder: EncoderInfo) -> None:
        name = tables.vector_table_name(encoder.fingerprint)
        if not (self.folder.db / f"{name}.lance").is_dir():
            self._db.create_table(name, schema=tables.vector_schema(encoder), exist_ok=True)

    def vector_table(self) -> str | None:
        """The table of the store's own encoder, or None before the first vector."""
        encoder = self.folder.load_card().encoder
        if encoder is None:
            return None
        name = tables.vector_table_name(encoder.fingerprint)
        return name if (self.folder.db / f"{name}.lance").is_dir() else None

    def read(self, query: Callable[[], T]) -> T:
        """Run a query; again where upkeep removed the version that it was reading."""
        with store_errors(self.folder.root, "read"):
            for _ in range(_ATTEMPTS - 1):
                try:
                    return query()
                except FOREIGN as error:
                    if "not found" not in str(error).lower():
                        raise
                    self._datasets.clear()
            return query()

    def vectors_for_writing(self, encoder: EncoderInfo) -> str:
        """The name of the encoder's table; StoreError where another encoder's is in use."""
        card = self.folder.load_card()
        name = tables.vector_table_name(encoder.fingerprint)
        if card.encoder is not None and card.encoder.fingerprint != encoder.fingerprint:
            held = self.vector_table()
            if held is not None and self.dataset(held).count_rows():
                check_same_encoder(card.encoder, encoder)
        if card.encoder is None or card.encoder.fingerprint != encoder.fingerprint:
            self.folder.save_card(card.with_encoder(encoder))
        else:
            check_same_encoder(card.encoder, encoder)
        self.create_vector_table(encoder)
        return name
