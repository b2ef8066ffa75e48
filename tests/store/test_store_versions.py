"""Older stores are brought up to date; encoders are changed by reindex alone."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import lancedb
import numpy as np
import pyarrow as pa
import pytest

from hydra_cli.core.errors import StoreError
from hydra_cli.core.records import Record
from hydra_cli.store import forgetting as store_forget
from hydra_cli.store import journal, migrations
from hydra_cli.store.forgetting import Scope
from hydra_cli.store.lance_store import LanceStore
from hydra_cli.store.reindexing import Reindex
from hydra_cli.workflows.reindex import reindex
from tests.store.store_helpers import folder_bytes, opened, put_vectors, record

OLD = [record(f"u{i % 3}", i) for i in range(20)]


def store_of_schema_0(root: Path, records: Sequence[Record]) -> None:
    """As the first sketches wrote it: plain columns, no keys, hashes or sequence."""
    (root / "db").mkdir(parents=True)
    rows = pa.table(
        {
            "user": [r.user for r in records],
            "task": [r.task for r in records],
            "id": [r.id for r in records],
            "input": [r.input for r in records],
            "output": [r.output for r in records],
            "time": pa.array([r.time for r in records], pa.timestamp("us", tz="UTC")),
            "metadata": [json.dumps(dict(r.metadata)) if r.metadata else "" for r in records],
        }
    )
    lancedb.connect(str(root / "db")).create_table("records", rows)
    card = {"schema": 0, "created_by": "0.0.1", "created": "2024-01-01", "encoder": None}
    (root / "store.json").write_text(json.dumps(card))


def contents(store: LanceStore) -> set[tuple[str, str, str]]:
    found = [r for summary in store.users() for r in store.records(summary.user)]
    assert len(found) == len({(r.user, r.task, r.id) for r in found})
    return {(r.user, r.id, r.output) for r in found}


def test_schema_0_is_migrated_after_a_backup(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = tmp_path / "store"
    store_of_schema_0(root, [*OLD, OLD[3]])
    before = folder_bytes(root)
    store = LanceStore.open(root, create=False)
    assert contents(store) == {(r.user, r.id, r.output) for r in OLD}
    assert store.records("u1") == sorted(
        (r for r in OLD if r.user == "u1"),
        key=lambda r: (r.time is not None, r.time and r.time.timestamp()),
    )
    assert store.add(OLD).present == 20
    (saved,) = store.folder.backups.iterdir()
    assert folder_bytes(saved) == before
    assert "schema 1" in caplog.text
    assert json.loads((root / "store.json").read_text())["schema"] == 1
    LanceStore.open(root, create=False)
    assert len(list(store.folder.backups.iterdir())) == 1
    store_forget.erase(store, Scope("u1"))
    assert not store.folder.backups.exists()


def test_a_killed_migration_is_started_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "store"
    store_of_schema_0(root, OLD)

    def killed(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    for module, name in ((shutil, "copyfile"), (migrations.tables, "create_tables")):
        with monkeypatch.context() as patch:
            patch.setattr(module, name, killed)
            with pytest.raises(KeyboardInterrupt):
                LanceStore.open(root, create=False)
    store = LanceStore.open(root, create=False)
    assert contents(store) == {(r.user, r.id, r.output) for r in OLD}
    assert not [path for path in store.folder.backups.iterdir() if path.name.startswith(".")]


def test_an_unknown_schema_is_left_alone(tmp_path: Path) -> None:
    root = tmp_path / "store"
    store_of_schema_0(root, OLD)
    card = root / "store.json"
    card.write_text(card.read_text().replace('"schema": 0', '"schema": -7'))
    with pytest.raises(StoreError):
        LanceStore.open(root, create=False)


class FakeEncoder:
    """Unit vectors that depend on the text and on the encoder's name."""

    def __init__(self, name: str, dimension: int) -> None:
        self.name = name
        self.fingerprint = f"fingerprint of {name}"
        self.dimension = dimension
        self.calls = 0

    def encode(
        self, texts: Sequence[str], *, progress: Callable[[int], None] | None = None
    ) -> np.ndarray[Any, Any]:
        self.calls += 1
        rows = [
            np.random.default_rng(abs(hash((self.name, text))) % 2**32).normal(size=self.dimension)
            for text in texts
        ]
        vectors = np.array(rows, dtype=np.float32).reshape(len(texts), self.dimension)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    def encode_pairs(self, pairs: Sequence[tuple[str, str]]) -> Any:
        raise AssertionError("not needed")


class Silent:
    def start(self, label: str, total: int | None) -> None: ...
    def advance(self, steps: int = 1) -> None: ...
    def note(self, text: str) -> None: ...


@pytest.fixture
def store(tmp_path: Path) -> LanceStore:
    store = opened(tmp_path / "store")
    store.add([record(user, i) for user in ("u1", "u2", "u3") for i in range(5)])
    store.add([record("u1", i, task="second") for i in range(2)])
    put_vectors(store, "u1")
    put_vectors(store, "u2")
    return store


def no_task(task: str) -> bool:
    return False


def test_reindex_embeds_every_record_and_drops_the_old(store: LanceStore) -> None:
    encoder = FakeEncoder("new", 5)
    done = reindex(store, encoder, closed=lambda task: task == "second", progress=Silent())
    assert (done.records, done.changed, done.bases) == (17, True, False)
    assert store.encoder is not None
    assert (store.encoder.name, store.encoder.dimension) == ("new", 5)
    for user, task in (("u1", "t"), ("u2", "t"), ("u3", "t"), ("u1", "second")):
        own = store.records(user, task=task)
        found = store.vectors(user, task, [r.id for r in own])
        for item in own:
            np.testing.assert_array_equal(found[item.id][0], encoder.encode([item.input])[0])
            output = found[item.id][1]
            if task == "second":
                assert output is None
            else:
                np.testing.assert_array_equal(output, encoder.encode([item.output])[0])
    assert [name for name in store.table_names() if name.startswith("vectors")] == [
        store.vector_table()
    ]


def test_reindex_with_the_same_encoder_replaces(store: LanceStore) -> None:
    encoder = FakeEncoder("new", 5)
    reindex(store, encoder, closed=no_task, progress=Silent())
    wrong = encoder.encode(["x"])[0]
    store.add([record("u4", 1)])
    store.put_vectors("u4", "t", encoder.fingerprint, [("u4-1", wrong, None)])
    done = reindex(store, encoder, closed=no_task, progress=Silent())
    assert (done.records, done.changed) == (18, False)
    (own,) = store.records("u4")
    right = encoder.encode([own.input])[0]
    assert not np.array_equal(wrong, right)
    np.testing.assert_array_equal(store.vectors("u4", "t", ["u4-1"])["u4-1"][0], right)


def test_reindex_of_a_store_without_vectors(tmp_path: Path) -> None:
    store = opened(tmp_path / "bare")
    store.add([record("u1", i) for i in range(3)])
    done = reindex(store, FakeEncoder("new", 5), closed=no_task, progress=Silent())
    assert (done.records, done.changed) == (3, False)
    assert len(store.vectors("u1", "t", ["u1-0", "u1-1", "u1-2"])) == 3


def test_an_interrupted_reindex_leaves_a_store_that_works(store: LanceStore) -> None:
    encoder = FakeEncoder("new", 5)
    old = store.vectors("u1", "t", ["u1-1", "u1-2"])

    def interrupted(steps: int = 1) -> None:
        raise KeyboardInterrupt

    progress = Silent()
    progress.advance = interrupted  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        reindex(store, encoder, closed=no_task, progress=progress)
    again = LanceStore.open(store.folder.root, create=False)
    after = again.vectors("u1", "t", ["u1-1", "u1-2"])
    np.testing.assert_array_equal(after["u1-1"][0], old["u1-1"][0])
    (entry,) = journal.unfinished(store.folder.work)
    assert entry.described.startswith("reindex stopped after ")
    done = reindex(again, encoder, closed=no_task, progress=Silent())
    assert journal.unfinished(store.folder.work) == [], "the note stays although the work is done"
    assert done.records == 2, "what was embedded is embedded again"
    assert len(again.vectors("u1", "t", ["u1-1", "u1-2"])) == 2


def test_who_is_forgotten_during_a_reindex_stays_so(store: LanceStore) -> None:
    encoder = FakeEncoder("new", 5)
    from hydra_cli.core.encoders import EncoderInfo

    work = Reindex(store, EncoderInfo(encoder.fingerprint, 5, "new"), no_task)

    def embed(texts: Sequence[str]) -> np.ndarray[Any, Any]:
        if encoder.calls == 0:
            store_forget.erase(store, Scope("u1"))
        return encoder.encode(texts)

    work.run(embed, lambda _: None)
    assert work.finish()
    name = store.vector_table()
    assert name is not None
    assert store.dataset(name).count_rows() == 10
