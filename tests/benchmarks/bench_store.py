"""One million records of 100,000 users: the store beside plain LanceDB calls.

Run ``python -m tests.benchmarks.bench_store [--records N] [--users N] [--markdown FILE]``.
Both sides hold the same rows. The plain side inserts with ``merge_insert`` on
a key column, which finds doubles, and has the same index over its users.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import lancedb
import numpy as np
import pyarrow as pa
from lancedb.index import BTree

from hydra_cli.core.encoders import EncoderInfo
from hydra_cli.core.records import Record
from hydra_cli.store import forgetting as store_forget
from hydra_cli.store import rows as store_rows
from hydra_cli.store import tables
from hydra_cli.store import upkeep as store_upkeep
from hydra_cli.store.forgetting import Scope
from hydra_cli.store.lance_store import LanceStore

DIMENSION = 384
BATCH = 20_000
START = datetime(2020, 1, 1, tzinfo=UTC)
WORDS = np.array([f"word{i}" for i in range(5000)])


def made_records(first: int, count: int, users: int) -> list[Record]:
    """Some 200 characters of input, 40 of output; users come in no order."""
    rng = np.random.default_rng(first)
    owners = rng.integers(0, users, count).tolist()
    words = WORDS[rng.integers(0, len(WORDS), (count, 28))].tolist()
    return [
        Record(
            user=f"user{owner}",
            id=f"{first + i}",
            task="LaMP_4",
            input=" ".join(line[:23]),
            output=" ".join(line[23:]),
            time=START + timedelta(minutes=first + i),
        )
        for i, (owner, line) in enumerate(zip(owners, words, strict=True))
    ]


def text_bytes(records: list[Record]) -> int:
    return sum(
        len(r.user) + len(r.id) + len(r.task) + len(r.input) + len(r.output) for r in records
    )


def milliseconds(call: Callable[[int], Any], repeats: int = 300) -> str:
    """p50 and p99 of a call that is told its number; 20 calls warm it up."""
    taken = []
    for i in range(repeats + 20):
        begin = time.perf_counter()
        call(i)
        taken.append((time.perf_counter() - begin) * 1000)
    return "{:.1f} / {:.1f} ms".format(*np.percentile(taken[20:], (50, 99)))


def megabytes(*folders: Path) -> float:
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    return sum(path.stat().st_size for path in files) / 1e6


class Plain:
    """The same work in bare LanceDB calls."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        db = lancedb.connect(str(folder))
        fields = [tables.RECORD_SCHEMA.field(name) for name in tables.SHOWN if name != "seq"]
        self.schema = pa.schema([pa.field("key", pa.string()), *fields])
        self.records = db.create_table("records", schema=self.schema)
        vector = pa.list_(pa.float32(), DIMENSION)
        self.vectors = db.create_table(
            "vectors",
            schema=pa.schema([("user", pa.string()), ("id", pa.string()), ("vector", vector)]),
        )

    def rows(self, records: list[Record]) -> pa.Table:
        columns: dict[str, Any] = {
            "key": [f"{r.user}\0{r.task}\0{r.id}" for r in records],
            "time": pa.array([r.time for r in records], pa.timestamp("us", tz="UTC")),
            "metadata": [""] * len(records),
        }
        for name in ("user", "task", "id", "input", "output"):
            columns[name] = [getattr(r, name) for r in records]
        return pa.table(columns, schema=self.schema)

    def add(self, records: list[Record]) -> None:
        merge = self.records.merge_insert("key").when_not_matched_insert_all()
        merge.execute(self.rows(records))

    def index(self) -> None:
        for table in (self.records, self.vectors):
            table.optimize(cleanup_older_than=timedelta(0), delete_unverified=True)
            table.create_index("user", config=BTree(), replace=True)
            table.optimize(cleanup_older_than=timedelta(0), delete_unverified=True)

    def history(self, user: str) -> list[Any]:
        rows = self.records.search().where(f"user = '{user}'").limit(None).to_arrow()
        return list(rows.to_pylist())

    def search(self, user: str, vector: Any) -> pa.Table:
        query: Any = self.vectors.search(vector, vector_column_name="vector")
        found = query.distance_type("cosine").where(f"user = '{user}'", prefilter=True).limit(20)
        rows = found.select(["id", "_distance"]).to_arrow()
        ids = ", ".join(f"'{id_}'" for id_ in rows["id"].to_pylist())
        where = f"user = '{user}' AND id IN ({ids})"
        return self.records.search().where(where).limit(None).to_arrow() if ids else rows


def made_vectors(total: int) -> Iterator[np.ndarray[Any, Any]]:
    for first in range(0, total, BATCH):
        rows = np.random.default_rng(first).normal(size=(min(BATCH, total - first), DIMENSION))
        rows = rows.astype(np.float32)
        yield rows / np.linalg.norm(rows, axis=1, keepdims=True)


def run(folder: Path, total: int, users: int) -> Iterator[tuple[str, str, str]]:
    """(what, the store's figure, plain LanceDB's figure)"""
    store = LanceStore.open(folder / "store", create=True)
    plain = Plain(folder / "plain")
    seconds = {"store": 0.0, "again": 0.0, "plain": 0.0, "plain again": 0.0}
    raw = 0

    def timed(name: str, call: Callable[[], object]) -> None:
        begin = time.perf_counter()
        call()
        seconds[name] += time.perf_counter() - begin

    for first in range(0, total, BATCH):
        batch = made_records(first, min(BATCH, total - first), users)
        raw += text_bytes(batch)
        timed("store", lambda batch=batch: store.add(batch))
        timed("plain", lambda batch=batch: plain.add(batch))
    yield rate("ingest, doubles checked", total, seconds["store"], seconds["plain"])
    part = min(total, 200_000)
    for first in range(0, part, BATCH):
        batch = made_records(first, min(BATCH, part - first), users)
        timed("again", lambda batch=batch: store.add(batch))
        timed("plain again", lambda batch=batch: plain.add(batch))
    assert store.dataset(tables.RECORDS).count_rows() == total
    yield rate(
        "the first 200,000 again, none added", part, seconds["again"], seconds["plain again"]
    )

    seconds.update(store=0.0, plain=0.0)
    encoder = EncoderInfo("benchmark", DIMENSION)
    name = store.vectors_for_writing(encoder)
    for number, vectors in enumerate(made_vectors(total)):
        batch = made_records(number * BATCH, len(vectors), users)
        timed("store", lambda b=batch, v=vectors: add_vectors(store, name, encoder, b, v))
        timed("plain", lambda b=batch, v=vectors: plain.vectors.add(plain_vectors(b, v)))
    yield rate(f"vectors of {DIMENSION} numbers", total, seconds["store"], seconds["plain"])
    compact(store, plain, seconds)
    yield "merge files, build indices", f"{seconds['store']:.1f} s", f"{seconds['plain']:.1f} s"

    yield from reads("", store, plain, users)
    size = raw / 1e6 + total * DIMENSION * 4 / 1e6
    yield folder_size("folder", store, plain, size)

    begin = time.perf_counter()
    for i in range(100):
        store.add(made_records(total + i * 100, 100, users))
    ours = time.perf_counter() - begin
    begin = time.perf_counter()
    for i in range(100):
        plain.add(made_records(total + i * 100, 100, users))
    theirs = time.perf_counter() - begin
    yield "100 ingests of 100 records", f"{ours:.1f} s", f"{theirs:.1f} s"
    yield from reads(", after them", store, plain, users)
    yield folder_size("folder, after them", store, plain, size)

    begin = time.perf_counter()
    store_forget.erase(store, Scope("user7"))
    yield "forget one user, every file rewritten", f"{time.perf_counter() - begin:.1f} s", ""
    yield "list all users", milliseconds(lambda _: store.users(), repeats=3), ""
    begin = time.perf_counter()
    store.search_text("user1", "LaMP_4", "word17", 5)
    yield "first full-text search, builds its index", f"{time.perf_counter() - begin:.1f} s", ""
    chosen = np.random.default_rng(3).integers(0, users, 400).tolist()
    search = milliseconds(
        lambda i: store.search_text(f"user{chosen[i]}", "LaMP_4", f"word{i} word{i + 1}", 20)
    )
    yield "full-text search in a history, p50 / p99", search, ""


def add_vectors(
    store: LanceStore,
    name: str,
    encoder: EncoderInfo,
    records: list[Record],
    vectors: np.ndarray[Any, Any],
) -> None:
    """As an import adds them, in batches over all users."""
    rows = store_rows.vector_rows(
        "", "LaMP_4", [(r.id, v, None) for r, v in zip(records, vectors, strict=True)], encoder
    )
    keys = store_rows.record_rows(records)["user_key"]
    rows = rows.set_column(0, rows.schema.field("user_key"), keys)
    with store.lock.held():
        store.table(name).add(rows)
        store_upkeep.upkeep(store.table(name))


def plain_vectors(records: list[Record], vectors: np.ndarray[Any, Any]) -> pa.Table:
    flat = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), DIMENSION)
    owners, ids = [r.user for r in records], [r.id for r in records]
    return pa.table({"user": owners, "id": ids, "vector": flat})


def compact(store: LanceStore, plain: Plain, seconds: dict[str, float]) -> None:
    begin = time.perf_counter()
    with store.lock.held():
        for name in store.table_names():
            store_upkeep.maintain(store.table(name))
    seconds["store"] = time.perf_counter() - begin
    begin = time.perf_counter()
    plain.index()
    seconds["plain"] = time.perf_counter() - begin


def reads(when: str, store: LanceStore, plain: Plain, users: int) -> Iterator[tuple[str, str, str]]:
    chosen = np.random.default_rng(1).integers(0, users, 400).tolist()
    query = next(made_vectors(1))[0]
    yield (
        f"read a user's history{when}, p50 / p99",
        milliseconds(lambda i: store.records(f"user{chosen[i]}")),
        milliseconds(lambda i: plain.history(f"user{chosen[i]}")),
    )
    yield (
        f"dense search in it{when}, p50 / p99",
        milliseconds(lambda i: store.search_vector(f"user{chosen[i]}", "LaMP_4", query, 20)),
        milliseconds(lambda i: plain.search(f"user{chosen[i]}", query)),
    )


def folder_size(what: str, store: LanceStore, plain: Plain, size: float) -> tuple[str, str, str]:
    ours, theirs = megabytes(store.folder.root), megabytes(plain.folder)
    return (
        f"{what}; raw text and vectors are {size:,.0f} MB",
        f"{ours:,.0f} MB ({ours / size:.2f}x)",
        f"{theirs:,.0f} MB ({theirs / size:.2f}x)",
    )


def rate(what: str, rows: int, ours: float, theirs: float) -> tuple[str, str, str]:
    return what, f"{rows / ours:,.0f} a second", f"{rows / theirs:,.0f} a second"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--users", type=int, default=100_000)
    parser.add_argument("--markdown", type=Path)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="bench-store-"))
    lines = ["| | store | plain LanceDB |", "|---|---|---|"]
    try:
        for line in run(folder, options.records, options.users):
            print(" | ".join(line), flush=True)
            lines.append(f"| {' | '.join(line)} |")
    finally:
        shutil.rmtree(folder)
    if options.markdown is not None:
        machine = f"{os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}"
        options.markdown.write_text(
            f"{machine}, lancedb {lancedb.__version__}\n\n" + "\n".join(lines)
        )


if __name__ == "__main__":
    main()
