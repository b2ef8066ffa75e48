"""The comparison's arithmetic, and one small run on recorded answers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hydra_cli.core.tasks import PRESETS
from hydra_cli.models.hash_encoder import HashEncoder
from tests.benchmarks.compare_scorers import controls, interval, quality, recipes_table, show
from tests.benchmarks.recorded import KeptVectors, read_recorded


def test_intervals_are_over_users_not_queries() -> None:
    gains = [1.0] * 50 + [0.0] * 50
    low, high = interval(["a"] * 50 + ["b"] * 50, gains)
    assert (low, high) == (0.0, 1.0)
    low, high = interval([str(i) for i in range(100)], gains)
    assert 0.3 < low < 0.5 < high < 0.7


def test_tables_show_errors_as_errors() -> None:
    found = {"a": [-1.0, -2.0], "b": [-1.0, 0.0]}
    shown = show("title", ["u", "v"], found, PRESETS["LaMP_3"])
    assert "| a | 1.5000 |  |" in shown
    assert "| b | 0.5000 | +1.0000" in shown


def test_vectors_are_kept(tmp_path: Path) -> None:
    first = KeptVectors(HashEncoder(8), tmp_path / "kept.npz")
    made = first.encode(["one", "two", "one"])
    first.save()
    again = KeptVectors(HashEncoder(8), tmp_path / "kept.npz")
    again._encoder = None  # type: ignore[assignment]  # whatever is missing would fail
    np.testing.assert_array_equal(again.encode(["two", "one"]), made[[1, 0]])
    assert again.encode([]).shape == (0, 8)


@pytest.mark.shared
def test_recorded_answers_read_without_leaks(shared: Path) -> None:
    data = read_recorded(shared / "data", "LaMP_2M", HashEncoder(16))
    assert (len(data.train), len(data.dev)) == (140, 25)
    for example in data.train:
        assert all(r.id != example.context.query.id for r in example.context.history.records)
    found = recipes_table(data, HashEncoder(16), ["hydra-pers"])
    assert {len(values) for values in found.values()} == {25}
    example = data.dev[0]
    assert quality(example.reference, example, data.task) == 1.0
    assert set(controls(example, data.task)) == {"majority", "knn"}
