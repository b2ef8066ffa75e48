"""Word edits between two texts."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from hydra_cli.core.similarity import edit_distance, word_edits, words_saved


def by_table(left: Sequence[str], right: Sequence[str]) -> int:
    """The textbook's table, a row at a time."""
    row = list(range(len(right) + 1))
    for i, one in enumerate(left, 1):
        above, row = row, [i]
        for j, other in enumerate(right, 1):
            row.append(min(above[j] + 1, row[-1] + 1, above[j - 1] + (one != other)))
    return row[-1]


def test_it_is_what_the_textbook_says() -> None:
    dice = random.Random(1)
    for _ in range(2000):
        left, right = ([dice.choice("abcd") for _ in range(dice.randrange(12))] for _ in "ab")
        assert edit_distance(left, right) == by_table(left, right)
    long = [[str(dice.randrange(40)) for _ in range(200)] for _ in "ab"]
    assert edit_distance(*long) == by_table(*long)


@pytest.mark.parametrize(
    ("left", "right", "edits", "saved"),
    [
        ("", "", 0, 0.0),
        ("", "a b", 2, 0.0),
        ("a  b\nc", "a b c", 0, 1.0),
        ("a b", "a c d", 2, 1 / 3),
        ("a b c d", "a", 3, -1.0),
    ],
)
def test_words(left: str, right: str, edits: int, saved: float) -> None:
    assert word_edits(left, right) == edits
    assert words_saved(left, right) == pytest.approx(saved)
