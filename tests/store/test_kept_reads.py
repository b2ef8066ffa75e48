"""What a held process keeps of a table, and when it reads anew."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import lance
import numpy as np
import pytest

from hydra_cli.core.records import History, Record
from hydra_cli.store.kept_reads import KeptReads
from hydra_cli.store.lance_store import LanceStore
from hydra_cli.store.scope import Scope


def test_a_read_is_kept_until_the_version_changes_and_rows_are_bounded() -> None:
    kept: KeptReads[list[int]] = KeptReads(most_rows=3)
    read: list[str] = []

    def get(version: int, key: str, rows: int) -> list[int]:
        def load() -> list[int]:
            read.append(f"{key}{version}")
            return [version] * rows

        return kept.get(version, key, load)

    assert get(1, "a", 2) == get(1, "a", 2) == [1, 1]
    assert get(2, "a", 2) == [2, 2]
    assert read == ["a1", "a2"]
    get(2, "b", 2)  # both together are too many: a goes
    get(2, "a", 2)
    assert read == ["a1", "a2", "b2", "a2"]
    get(2, "long", 4)
    get(2, "long", 4)
    assert read[4:] == ["long2", "long2"], "what is too long alone isn't kept"
    get(2, "a", 2)
    assert len(read) == 6, "and drives out nothing"


def test_a_history_is_read_once_and_another_writer_s_change_is_seen(
    tmp_path: Path, records: list[Record], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = LanceStore.open(tmp_path / "s", create=True)
    other = LanceStore.open(tmp_path / "s", create=False)
    own = [record for record in records if record.user == "ann"]
    store.add(records)
    vector = np.ones(4, np.float32) / 2
    store.put_vectors("ann", "LaMP_4", "f", [(r.id, vector, vector) for r in own])
    reads: list[str] = []
    filtered = LanceStore._filtered

    def counted(self: LanceStore, name: str, where: str, columns: list[str]) -> object:
        reads.append(name)
        return filtered(self, name, where, columns)

    monkeypatch.setattr(LanceStore, "_filtered", counted)
    ids = [record.id for record in own]
    for _ in range(3):
        assert store.records("ann", task="LaMP_4") == own
        assert set(store.vectors("ann", "LaMP_4", ids)) == set(ids)
    assert len(reads) == 2
    store.records("ann", task="LaMP_4").clear()
    assert store.records("ann", task="LaMP_4") == own, "each caller has a list of its own"

    new = replace(own[0], id="new")
    other.add([new])
    assert new in store.records("ann", task="LaMP_4")
    other.put_vectors("ann", "LaMP_4", "f", [("new", 2 * vector, None)])
    assert np.array_equal(store.vectors("ann", "LaMP_4", ["new"])["new"][0], 2 * vector)
    other.forget(Scope("ann"))
    assert store.records("ann", task="LaMP_4") == []
    assert store.vectors("ann", "LaMP_4", ids) == {}


def test_a_stacked_history_is_kept_until_another_writer_changes_records_or_vectors(
    tmp_path: Path, records: list[Record]
) -> None:
    store = LanceStore.open(tmp_path / "s", create=True)
    other = LanceStore.open(tmp_path / "s", create=False)
    own = [record for record in records if record.user == "ann"]
    store.add(records)
    vector = np.ones(4, np.float32) / 2
    store.put_vectors("ann", "LaMP_4", "f", [(r.id, vector, vector) for r in own])

    def read() -> History:
        listed = store.records("ann", task="LaMP_4")
        stored = store.vectors("ann", "LaMP_4", [record.id for record in listed])
        rows = [stored[record.id][0] for record in listed if record.id in stored]
        return History("ann", tuple(listed), np.array(rows))

    def kept() -> History:
        return store.kept_history("ann", read)

    first = kept()
    assert kept() is first
    assert len(first.inputs) == len(own)
    other.add([replace(own[0], id="new")])
    added = kept()
    assert len(added) == len(own) + 1
    assert kept() is added
    other.put_vectors("ann", "LaMP_4", "f", [("new", vector, vector)])
    assert len(kept().inputs) == len(own) + 1
    other.forget(Scope("ann"))
    assert len(kept()) == 0


def test_a_version_is_looked_for_again_once_the_folder_of_versions_has_changed(
    tmp_path: Path, records: list[Record], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And as long as that changed so lately that its time wouldn't show another change."""
    store = LanceStore.open(tmp_path / "s", create=True)
    other = LanceStore.open(tmp_path / "s", create=False)
    store.add(records)
    looked: list[int] = []
    latest = lance.LanceDataset.latest_version

    def counted(dataset: lance.LanceDataset) -> int:
        looked.append(1)
        return latest.fget(dataset)

    monkeypatch.setattr(lance.LanceDataset, "latest_version", property(counted))
    versions = tmp_path / "s" / "db" / "records.lance" / "_versions"
    store.records("ann", task="LaMP_4")
    store.records("ann", task="LaMP_4")
    assert len(looked) >= 2, "it was written to a moment ago"
    os.utime(versions, (1e9, 1e9))
    store.records("ann", task="LaMP_4")
    looked.clear()
    store.records("ann", task="LaMP_4")
    assert not looked
    other.forget(Scope("ann"))
    assert store.records("ann", task="LaMP_4") == []
    assert looked
