"""What a held process keeps of a table, and when it reads anew."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hydra_cli.core.records import Record
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
