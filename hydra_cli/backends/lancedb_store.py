"""``HistoryStore`` on LanceDB: batches whole or absent, readers beside one writer.

Rows are found by ``user_key``, a hash with a scalar index, and then compared
by the user itself. A writer holds the store's lock; readers need none and try
again on the newest version where upkeep removed the one they were reading.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import pyarrow as pa
import pyarrow.compute as pc
from lancedb.table import Table

from hydra_cli.backends import store_tables as tables
from hydra_cli.backends.store_errors import FOREIGN, store_errors
from hydra_cli.backends.store_folder import EncoderInfo, StoreCard, StoreFolder
from hydra_cli.backends.store_keys import forgotten_digest, key_of, record_key
from hydra_cli.backends.store_lock import WriterLock
from hydra_cli.core.errors import NotFound, StoreError
from hydra_cli.core.protocols import AddResult, UserSummary
from hydra_cli.core.records import Record, Scored

if TYPE_CHECKING:
    from hydra_cli.core.records import Vectors

T = TypeVar("T")

_FEW_USERS = 64
"""Up to so many users of a batch are looked up by the index, more by a scan of the keys."""
_ATTEMPTS = 5


class LanceHistoryStore:
    """Users' records and vectors in one folder. ``open`` it."""

    def __init__(self, folder: StoreFolder, card: StoreCard, lock: WriterLock) -> None:
        self.folder = folder
        self.lock = lock
        self._card = card
        self._db = tables.connect(folder)
        self._tables: dict[str, Table] = {}

    @classmethod
    def open(cls, path: Path, *, create: bool) -> LanceHistoryStore:
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
            return cls(folder, folder.load_card(), lock)

    @property
    def encoder(self) -> EncoderInfo | None:
        """The encoder whose vectors the store holds, or None before the first vector."""
        with store_errors(self.folder.root, "read"):
            self._card = self.folder.load_card()
        return self._card.encoder

    # -- writing

    def add(self, records: Sequence[Record], *, restore: bool = False) -> AddResult:
        """Add one batch, all of it or nothing. Batches of 10,000 and more are fastest."""
        if not records:
            return AddResult(added=0, present=0)
        with store_errors(self.folder.root, "write to"), self.lock.held():
            allowed, refused, digests = self._split_forgotten(records, restore=restore)
            rows = tables.record_rows(allowed)
            known, next_seq = self._known(rows)
            keep: list[int] = []
            conflicting: list[Record] = []
            keys = (rows[name].to_pylist() for name in ("user_key", "record_key", "content_key"))
            for i, (user, key, content) in enumerate(zip(*keys, strict=True)):
                found = known.get((user, key))
                if found is None:
                    known[user, key] = content
                    keep.append(i)
                elif found != content:
                    conflicting.append(allowed[i])
            if keep:
                fresh = rows if len(keep) == len(allowed) else rows.take(keep)
                self._append(tables.numbered(fresh, next_seq))
            if digests:
                # Last: a kill in between leaves the mark, and the same call removes it.
                self._unmark_forgotten(digests)
            return AddResult(
                added=len(keep),
                present=len(allowed) - len(keep) - len(conflicting),
                conflicting=tuple(conflicting),
                forgotten=tuple(refused),
            )

    def _split_forgotten(
        self, records: Sequence[Record], *, restore: bool
    ) -> tuple[Sequence[Record], list[Record], set[bytes]]:
        """Records that may be added, those that were forgotten, and their marks' digests."""
        table = self._table(tables.FORGOTTEN)
        marked = set(table.to_arrow()["digest"].to_pylist())
        if not marked:
            return records, [], set()
        salt = tables.salt_of(table)
        allowed: list[Record] = []
        refused: list[Record] = []
        hit: set[bytes] = set()
        cached: dict[tuple[str, ...], bytes] = {}
        for record in records:
            found = False
            for scope in ((record.user,), (record.user, record.task)):
                if scope not in cached:
                    cached[scope] = forgotten_digest(salt, *scope)
            for digest in (
                cached[record.user,],
                cached[record.user, record.task],
                forgotten_digest(salt, record.user, record.task, record.id),
            ):
                if digest in marked:
                    found = True
                    hit.add(digest)
            (refused if found and not restore else allowed).append(record)
        return allowed, refused, hit if restore else set()

    def _known(self, rows: pa.Table) -> tuple[dict[tuple[int, int], int], int]:
        """Stored content keys of the rows' keys, and a sequence number above their users'."""
        if rows.num_rows == 0:
            return {}, 0
        users = pc.unique(rows["user_key"])
        few = len(users) <= _FEW_USERS
        where = f"user_key IN ({tables.int_list(users.to_pylist())})" if few else None
        known: dict[tuple[int, int], int] = {}
        last = -1
        wanted = rows["record_key"].combine_chunks()
        for batch in (
            self._table(tables.RECORDS)
            .to_lance()
            .to_batches(columns=["user_key", "record_key", "content_key", "seq"], filter=where)
        ):
            if batch.num_rows == 0:
                continue
            last = max(last, pc.max(batch["seq"]).as_py())
            hits = batch.filter(pc.is_in(batch["record_key"], value_set=wanted))
            columns = (hits[name].to_pylist() for name in ("user_key", "record_key", "content_key"))
            for user, key, content in zip(*columns, strict=True):
                known[user, key] = content
        return known, last + 1

    def _append(self, rows: pa.Table) -> None:
        table = self._table(tables.RECORDS)
        table.add(rows)
        tables.upkeep(table, index="user_key")

    def _unmark_forgotten(self, digests: set[bytes]) -> None:
        table = self._table(tables.FORGOTTEN)
        literals = ", ".join(f"X'{digest.hex()}'" for digest in digests)
        table.delete(f"digest IN ({literals})")

    def put_vectors(
        self,
        user: str,
        task: str,
        fingerprint: str,
        vectors: Iterable[tuple[str, Vectors, Vectors | None]],
        *,
        encoder_name: str | None = None,
    ) -> None:
        """Keep vectors of one encoder. StoreError where the store holds another encoder's.

        Vectors of records that are no longer in the store are dropped.
        """
        given = list(vectors)
        if not given:
            return
        encoder = EncoderInfo(fingerprint, int(given[0][1].shape[0]), encoder_name)
        with store_errors(self.folder.root, "write to"), self.lock.held():
            table = self._vectors_for_writing(encoder)
            rows = tables.vector_rows(user, task, given, encoder)
            stored = self._keys(tables.RECORDS, user, ["record_key"])["record_key"]
            rows = rows.filter(pc.is_in(rows["record_key"], value_set=stored.combine_chunks()))
            held = self._filtered(
                table, f"user_key = {key_of(user)}", ["record_key", "output_vector"]
            )
            rows = tables.not_yet_held(rows, held)
            if rows.num_rows:
                merge = table.merge_insert(["user_key", "record_key"])
                merge.when_matched_update_all().when_not_matched_insert_all().execute(rows)
                tables.upkeep(table, index="user_key")

    def _vectors_for_writing(self, encoder: EncoderInfo) -> Table:
        card = self.folder.load_card()
        name = tables.vector_table_name(encoder.fingerprint)
        if card.encoder is not None and card.encoder.fingerprint != encoder.fingerprint:
            held = self._vectors()
            if held is not None and held.count_rows():
                raise StoreError(
                    f"the store's vectors were made by {_named(card.encoder)}, "
                    f"these by {_named(encoder)}",
                    hint="`hydra-pers reindex --encoder NAME` embeds every record again",
                )
        if card.encoder is None or card.encoder.fingerprint != encoder.fingerprint:
            self.folder.save_card(card.with_encoder(encoder))
        elif card.encoder.dimension != encoder.dimension:
            raise StoreError(
                f"vectors of dimension {encoder.dimension} don't fit the store's "
                f"{card.encoder.dimension}",
                hint="`hydra-pers reindex` embeds every record again",
            )
        if name not in tables.table_names(self._db):
            self._db.create_table(name, schema=tables.vector_schema(encoder), exist_ok=True)
        return self._table(name)

    # -- reading

    def users(self) -> list[UserSummary]:
        rows = self._read(
            lambda: (
                self._table(tables.RECORDS).to_lance().to_table(columns=["user", "task", "time"])
            )
        )
        return tables.summaries(rows)

    def tasks_of(self, user: str) -> list[tuple[str, int]]:
        """The user's tasks with their number of records, most first."""
        rows = self._keys(tables.RECORDS, user, ["user", "task"])
        counts = rows.filter(pc.equal(rows["user"], user))["task"].value_counts().to_pylist()
        listed = [(entry["values"], entry["counts"]) for entry in counts]
        return sorted(listed, key=lambda pair: (-pair[1], pair[0]))

    def users_of(self, task: str) -> list[tuple[str, int]]:
        rows = self._read(
            lambda: (
                self._table(tables.RECORDS)
                .to_lance()
                .to_table(columns=["user", "task"], filter=f"task_key = {key_of(task)}")
            )
        )
        counts = rows.filter(pc.equal(rows["task"], task))["user"].value_counts().to_pylist()
        return sorted((entry["values"], entry["counts"]) for entry in counts)

    def records(
        self, user: str, *, task: str | None = None, limit: int | None = None
    ) -> list[Record]:
        """The newest ``limit`` records (default: all), oldest first."""
        listed = tables.to_records(self._rows(user, task))
        return listed if limit is None else listed[max(0, len(listed) - limit) :]

    def vectors(
        self, user: str, task: str, ids: Sequence[str]
    ) -> dict[str, tuple[Vectors, Vectors | None]]:
        """Stored (input, output) vectors by record id; records never encoded are absent."""
        table = self._read(self._vectors)
        if table is None or not ids:
            return {}
        rows = self._read(
            lambda: self._filtered(
                table,
                f"user_key = {key_of(user)} AND task_key = {key_of(task)}",
                ["record_key", "input_vector", "output_vector"],
            )
        )
        by_key = tables.vectors_by_key(rows)
        wanted = ((id_, by_key.get(key_of(task, id_))) for id_ in ids)
        return {id_: pair for id_, pair in wanted if pair is not None}

    def search_text(self, user: str, task: str, text: str, k: int) -> list[Scored[Record]]:
        """The k best records of one user by full-text search, best first."""
        if k < 1 or not text.strip():
            return []
        table = self._table(tables.RECORDS)
        if not self._read(lambda: tables.has_text_index(table)):
            with store_errors(self.folder.root, "index"), self.lock.held():
                if not tables.has_text_index(table):
                    tables.build_text_index(table)
        found = self._read(lambda: tables.text_hits(table, _where(user, task), text, k))
        return self._scored(user, task, found, "_score", lambda score: score)

    def search_vector(self, user: str, task: str, vector: Vectors, k: int) -> list[Scored[Record]]:
        """The k nearest records of one user by cosine of the inputs, best first."""
        table = self._read(self._vectors)
        if table is None or k < 1:
            return []
        found = self._read(lambda: tables.vector_hits(table, _where(user, task), vector, k))
        return self._scored(user, task, found, "_distance", lambda distance: 1.0 - distance)

    def _scored(
        self,
        user: str,
        task: str,
        found: pa.Table,
        column: str,
        score: Callable[[float], float],
    ) -> list[Scored[Record]]:
        scores = dict(zip(found["record_key"].to_pylist(), found[column].to_pylist(), strict=True))
        if not scores:
            return []
        keys = f"{_where(user, task)} AND record_key IN ({tables.int_list(scores)})"
        rows = self._read(lambda: self._filtered(self._table(tables.RECORDS), keys, tables.SHOWN))
        records = [r for r in tables.to_records(rows) if (r.user, r.task) == (user, task)]
        scored = [Scored(r, score(scores[record_key(r)])) for r in records]
        return sorted(scored, key=lambda item: -item.score)

    # -- inside

    def _table(self, name: str) -> Table:
        if name not in self._tables:
            self._tables[name] = self._db.open_table(name)
        return self._tables[name]

    def _vectors(self) -> Table | None:
        """The table of the store's own encoder, or None before the first vector."""
        encoder = self.folder.load_card().encoder
        if encoder is None:
            return None
        name = tables.vector_table_name(encoder.fingerprint)
        return self._table(name) if name in tables.table_names(self._db) else None

    def _rows(self, user: str, task: str | None) -> pa.Table:
        where = f"user_key = {key_of(user)}" if task is None else _where(user, task)
        rows = self._read(lambda: self._filtered(self._table(tables.RECORDS), where, tables.SHOWN))
        # The key is a hash: the text itself decides.
        rows = rows.filter(pc.equal(rows["user"], user))
        return rows if task is None else rows.filter(pc.equal(rows["task"], task))

    def _keys(self, name: str, user: str, columns: list[str]) -> pa.Table:
        return self._read(
            lambda: self._filtered(self._table(name), f"user_key = {key_of(user)}", columns)
        )

    def _filtered(self, table: Table, where: str, columns: list[str]) -> pa.Table:
        return table.search().where(where).select(columns).limit(None).to_arrow()

    def _read(self, query: Callable[[], T]) -> T:
        """Run a query; again where upkeep removed the version that it was reading."""
        with store_errors(self.folder.root, "read"):
            for _ in range(_ATTEMPTS - 1):
                try:
                    return query()
                except FOREIGN as error:
                    if "not found" not in str(error).lower():
                        raise
                    self._tables.clear()
            return query()


def _where(user: str, task: str) -> str:
    return f"user_key = {key_of(user)} AND task_key = {key_of(task)}"


def _named(encoder: EncoderInfo) -> str:
    return encoder.name or f"encoder {encoder.fingerprint[:12]}"
