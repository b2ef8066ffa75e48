"""The grade behind every label, on cases worked by hand."""

from __future__ import annotations

import pytest

from hydra_cli.core.similarity import grade
from hydra_cli.core.tasks import PRESETS


@pytest.mark.parametrize(
    ("task", "prediction", "reference", "expected"),
    [
        ("LaMP_3", "4", "5", 0.75),
        ("LaMP_3", "no idea", "1", 0.0),
        ("LaMP_3", "rating: 1", "1", 1.0),
        ("LaMP_2N", "Sports!", "sports", 1.0),
        ("LaMP_2N", "media", "sports", 0.0),
        # unigrams: cat, sat match 2 of 3 and 2 of 2; longest common subsequence 2
        ("LaMP_4", "the cat sat", "cats sat", 0.8),
        # both words match but in the other order: ROUGE-1 1, ROUGE-L 1/2
        ("LaMP_4", "sat cat", "cat sat", 0.75),
        ("LaMP_4", "", "cat", 0.0),
    ],
)
def test_grade(task: str, prediction: str, reference: str, expected: float) -> None:
    found = grade(prediction=prediction, reference=reference, task=PRESETS[task])
    assert found == pytest.approx(expected)
