"""``HistoryStore`` on LanceDB: batches whole or absent, readers beside one writer.

Rows are found by ``user_key``, a hash with a scalar index, and then compared
by the user itself. A writer holds the store's lock; readers need none and try
again on the newest version where upkeep removed the one they were reading.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import pyarrow as pa
import pyarrow.compute as pc
from lancedb.table import Table

from hydra_cli.core.encoders import EncoderInfo
from hydra_cli.core.errors import NotFound
from hydra_cli.core.protocols import AddResult, UserSummary, WorkNote
from hydra_cli.core.records import Record, Scored
from hydra_cli.store import rows as rows_of
from hydra_cli.store import tables, upkeep
from hydra_cli.store.dedup import (
    known_contents,
    sort_out,
    split_forgotten,
    truly_other,
    unmark_forgotten,
    with_known_ids,
)
from hydra_cli.store.errors import FOREIGN, store_errors, translated
from hydra_cli.store.folder import SCHEMA, StoreCard, StoreFolder
from hydra_cli.store.journal import noted_work
from hydra_cli.store.kept_reads import KeptReads
from hydra_cli.store.keys import key_of, record_key
from hydra_cli.store.lock import WriterLock
from hydra_cli.store.migrations import migrate
from hydra_cli.store.open_tables import OpenTables
from hydra_cli.store.recovery import recover_store
from hydra_cli.store.updating import Match, corrected, replace

if TYPE_CHECKING:
    from hydra_cli.core.records import History, Vectors

log = logging.getLogger("hydra_cli.store")
Opened = TypeVar("Opened", bound="LanceHistoryStore")

_SPARE_ROWS = 64
"""More rows than asked for are taken by their keys, as keys are hashes and texts decide."""


class LanceHistoryStore(OpenTables):
    """Users' records and vectors in one folder. ``open`` it."""

    def __init__(self, folder: StoreFolder) -> None:
        super().__init__(folder)
        self._histories: KeptReads[list[Record]] = KeptReads()
        self._tasks_of: KeptReads[list[tuple[str, int]]] = KeptReads()
        self._vectors: KeptReads[Mapping[int, tuple[Vectors, Vectors | None]]] = KeptReads()
        self._whole: KeptReads[History] = KeptReads()

    @classmethod
    def open(cls: type[Opened], path: Path, *, create: bool) -> Opened:
        """The store at ``path``; NotFound where there is none and ``create`` is off."""
        folder = StoreFolder(path)
        with store_errors(path, "open"):
            if not folder.card_file.is_file():
                if not create:
                    raise NotFound(
                        f"there is no store at {path}",
                        hint="`hydra-pers ingest FILE` makes one, --store names another folder",
                    )
                folder.make()
            lock = WriterLock(folder.lock)
            if create and not folder.card_file.is_file():
                with lock.held():
                    if not folder.card_file.is_file():
                        tables.create_tables(tables.connect(folder))
                        folder.save_card(StoreCard.new())
            card = folder.load_card()
            if card.schema < SCHEMA:
                with lock.held():
                    migrate(folder)
            store = cls(folder)
            recover_store(store)
            return store

    def noted(
        self, operation: str, *, counted: bool = False, **details: str
    ) -> AbstractContextManager[WorkNote]:
        """Note the work while the block runs, for ``doctor`` and the next command."""
        return noted_work(self.folder.work, operation, counted=counted, **details)

    # -- writing

    def add(
        self, records: Sequence[Record], *, restore: bool = False, update: Match | None = None
    ) -> AddResult:
        """Add one batch, all of it or nothing. Batches of 10,000 and more are fastest."""
        if not records:
            return AddResult(added=0, present=0)
        with store_errors(self.folder.root, "write to"), self.lock.held():
            allowed, refused, marks = split_forgotten(self, records, restore=restore)
            allowed = with_known_ids(self, allowed)
            rows = rows_of.record_rows(allowed)
            known, next_seq = known_contents(self.dataset(tables.RECORDS), rows)
            keep, conflicting = sort_out(rows, known)
            if conflicting:
                conflicting = truly_other(self.dataset(tables.RECORDS), rows, conflicting)
            gone = {}
            if update is not None:
                gone = corrected(self.dataset(tables.RECORDS), rows, keep, conflicting, update)
                conflicting = [i for i in conflicting if i not in gone]
            new = [i for i in keep if i not in gone] if gone else keep
            if gone:
                taken = [*gone, *new]
                fresh = rows_of.numbered(rows.take(taken), next_seq)
                replace(self, fresh, dict(enumerate(gone.values())))
            elif keep:
                fresh = rows if len(keep) == len(allowed) else rows.take(keep)
                self._append(rows_of.numbered(fresh, next_seq))
            if marks:
                # Last: a kill in between leaves the mark, and the same call removes it.
                unmark_forgotten(self, marks)
            return AddResult(
                added=len(new),
                present=len(allowed) - len(new) - len(gone) - len(conflicting),
                conflicting=tuple(allowed[i] for i in conflicting),
                forgotten=tuple(refused),
                replaced=len(gone),
            )

    def _append(self, rows: pa.Table) -> None:
        table = self.table(tables.RECORDS)
        table.add(rows)
        self._tidy(table)

    def _tidy(self, table: Table) -> None:
        """Upkeep after a write that is committed: its failure must not look like the write's."""
        try:
            upkeep.upkeep(table)
        except FOREIGN as error:
            reason = translated(error, self.folder.root, "tidy").message
            log.warning("the rows are stored, but merging files failed: %s", reason)

    def put_vectors(
        self,
        user: str,
        task: str,
        fingerprint: str,
        vectors: Iterable[tuple[str, Vectors, Vectors | None]],
        *,
        of: Sequence[Record] | None = None,
        encoder_name: str | None = None,
    ) -> None:
        given = list(vectors)
        if not given:
            return
        encoder = EncoderInfo(fingerprint, int(given[0][1].shape[0]), encoder_name)
        with store_errors(self.folder.root, "write to"), self.lock.held():
            name = self.vectors_for_writing(encoder)
            rows = rows_of.vector_rows(user, task, given, encoder)
            where = _where(user, task)
            stored = self._filtered(tables.RECORDS, where, ["record_key", "content_key"])
            if of is not None:
                stored = rows_of.still_the_same(stored, of)
            present = stored["record_key"].combine_chunks()
            rows = rows.filter(pc.is_in(rows["record_key"], value_set=present))
            held = self._filtered(name, where, ["record_key", "output_vector"])
            rows = rows_of.not_yet_held(rows, held)
            if rows.num_rows:
                table = self.table(name)
                merge = table.merge_insert(["user_key", "record_key"])
                # Closed tasks have no output vectors; LanceDB would call a null "bad".
                merge.when_matched_update_all().when_not_matched_insert_all().execute(
                    rows, on_bad_vectors="null"
                )
                upkeep.upkeep(table)

    # -- reading

    def users(self) -> list[UserSummary]:
        columns = ["user", "task", "time"]
        rows = self.read(lambda: self.dataset(tables.RECORDS).to_table(columns=columns))
        return rows_of.summaries(rows)

    def tasks_of(self, user: str) -> list[tuple[str, int]]:
        """The user's tasks with their number of records, most first."""
        version = self.read(lambda: self.version(tables.RECORDS))
        return list(self._tasks_of.get(version, user, lambda: self._counted(user)))

    def _counted(self, user: str) -> list[tuple[str, int]]:
        where = f"user_key = {key_of(user)}"
        rows = self.read(lambda: self._filtered(tables.RECORDS, where, ["user", "task"]))
        counts = rows.filter(pc.equal(rows["user"], user))["task"].value_counts().to_pylist()
        listed = [(entry["values"], entry["counts"]) for entry in counts]
        return sorted(listed, key=lambda pair: (-pair[1], pair[0]))

    def users_of(self, task: str) -> list[tuple[str, int]]:
        """The users with records of a task, with their number, sorted by user."""
        where = f"task_key = {key_of(task)}"
        rows = self.read(lambda: self._filtered(tables.RECORDS, where, ["user", "task"]))
        counts = rows.filter(pc.equal(rows["task"], task))["user"].value_counts().to_pylist()
        return sorted((entry["values"], entry["counts"]) for entry in counts)

    def records(
        self, user: str, *, task: str | None = None, limit: int | None = None
    ) -> list[Record]:
        """The newest ``limit`` records (default: all), oldest first.

        A whole history of a task is read again only when the table has changed.
        """
        if limit is None and task is not None:
            version = self.read(lambda: self.version(tables.RECORDS))
            kept = self._histories.get(
                version, (user, task), lambda: self._listed(user, task, limit)
            )
            return list(kept)
        return self._listed(user, task, limit)

    def _listed(self, user: str, task: str | None, limit: int | None) -> list[Record]:
        if limit is not None and limit < 1:
            return []
        where = f"user_key = {key_of(user)}" if task is None else _where(user, task)
        if limit is not None:
            # Of a long history, only the texts that are wanted are read.
            order = self.read(lambda: self._filtered(tables.RECORDS, where, ["time", "seq"]))
            if order.num_rows > limit + _SPARE_ROWS:
                newest = rows_of.newest(order, limit + _SPARE_ROWS)
                where = f"{where} AND seq IN ({tables.int_list(newest)})"
        listed = rows_of.to_records(self._rows(user, task, where))
        return listed if limit is None else listed[-limit:]

    def vectors(
        self, user: str, task: str, ids: Sequence[str]
    ) -> dict[str, tuple[Vectors, Vectors | None]]:
        """Stored (input, output) vectors by record id; records never encoded are absent."""
        name = self.read(self.vector_table)
        if name is None or not ids:
            return {}
        columns = ["record_key", "input_vector", "output_vector"]
        version = self.read(lambda: self.version(name))
        by_key = self._vectors.get(
            version,
            (user, task),
            lambda: rows_of.vectors_by_key(
                self.read(lambda: self._filtered(name, _where(user, task), columns))
            ),
        )
        wanted = ((id_, by_key.get(key_of(task, id_))) for id_ in ids)
        return {id_: pair for id_, pair in wanted if pair is not None}

    def kept_history(self, key: Hashable, make: Callable[[], History]) -> History:
        """What ``make`` reads, or read for the key at the same versions of both tables."""
        return self._whole.get(self.read(self._versions), key, make)

    def _versions(self) -> Hashable:
        vectors = self.vector_table()
        return self.version(tables.RECORDS), vectors and self.version(vectors)

    def search_text(self, user: str, task: str, text: str, k: int) -> list[Scored[Record]]:
        """The k best records of one user by full-text search, best first.

        The first search of a store builds the index.
        """
        if k < 1 or not text.strip():
            return []
        if not self.read(lambda: upkeep.has_text_index(self.dataset(tables.RECORDS))):
            with store_errors(self.folder.root, "index"), self.lock.held():
                if not upkeep.has_text_index(self.dataset(tables.RECORDS)):
                    upkeep.build_text_index(self.table(tables.RECORDS))
        found = self.read(
            lambda: self.dataset(tables.RECORDS).to_table(
                columns=["record_key", "_score"],
                full_text_query={"query": text, "columns": ["input"]},
                filter=_where(user, task),
                prefilter=True,
                limit=k,
            )
        )
        scores = zip(found["record_key"].to_pylist(), found["_score"].to_pylist(), strict=True)
        return self._scored(user, task, dict(scores))

    def search_vector(self, user: str, task: str, vector: Vectors, k: int) -> list[Scored[Record]]:
        """The k nearest records of one user by cosine of the inputs, best first."""
        if k < 1:
            return []

        def nearest() -> pa.Table | None:
            name = self.vector_table()
            if name is None:
                return None
            return self.dataset(name).to_table(
                columns=["record_key", "_distance"],
                nearest={
                    "column": "input_vector",
                    "q": vector,
                    "k": k,
                    "metric": "cosine",
                    "use_index": False,
                },
                filter=_where(user, task),
                prefilter=True,
            )

        found = self.read(nearest)
        if found is None:
            return []
        distances = found["_distance"].to_pylist()
        pairs = zip(found["record_key"].to_pylist(), distances, strict=True)
        return self._scored(user, task, {key: 1.0 - distance for key, distance in pairs})

    def _scored(self, user: str, task: str, scores: dict[int, float]) -> list[Scored[Record]]:
        if not scores:
            return []
        where = f"{_where(user, task)} AND record_key IN ({tables.int_list(scores)})"
        rows = self.read(lambda: self._filtered(tables.RECORDS, where, tables.SHOWN))
        records = [r for r in rows_of.to_records(rows) if (r.user, r.task) == (user, task)]
        scored = [Scored(record, scores[record_key(record)]) for record in records]
        return sorted(scored, key=lambda item: -item.score)

    def _rows(self, user: str, task: str | None, where: str) -> pa.Table:
        rows = self.read(lambda: self._filtered(tables.RECORDS, where, tables.SHOWN))
        # The key is a hash: the text itself decides.
        rows = rows.filter(pc.equal(rows["user"], user))
        return rows if task is None else rows.filter(pc.equal(rows["task"], task))

    def _filtered(self, name: str, where: str, columns: list[str]) -> pa.Table:
        return self.dataset(name).to_table(columns=columns, filter=where)


def _where(user: str, task: str) -> str:
    return f"user_key = {key_of(user)} AND task_key = {key_of(task)}"
