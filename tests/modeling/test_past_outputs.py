"""Counts of past outputs, against counting them anew for every query."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hydra_cli.modeling.factorized import text_form as form
from hydra_cli.modeling.factorized.past_outputs import past_outputs
from hydra_cli.modeling.factorized.word_model import stems

TEXTS = st.lists(st.text("ab s\n'", max_size=30), max_size=8)


@given(TEXTS)
def test_counts_are_those_of_a_plain_loop(outputs: list[str]) -> None:
    past = past_outputs(tuple(outputs), stems)
    weights = np.random.default_rng(0).random(len(outputs))
    near: dict[str, float] = {}
    owned: Counter[str] = Counter()
    for output, weight in zip(outputs, weights.tolist(), strict=True):
        for word in set(stems(output)):
            near[word] = near.get(word, 0.0) + weight
            owned[word] += 1
    found = past.near(weights)
    assert {word: found[place] for word, place in past.places.items()} == near
    holding = past.near(np.ones(len(outputs)))
    assert {word: holding[place] for word, place in past.places.items()} == owned
    assert past.lengths.tolist() == [len(stems(output)) for output in outputs]
    assert past.style == form.style_of(outputs)
    words = {word for output in outputs for word in form.folded(output)}
    assert past.holding == {
        word: sum(word in form.folded(output) for output in outputs) for word in words
    }


@pytest.mark.parametrize(
    ("left", "right", "f1"), [("a b b", "b b c", 4 / 6), ("", "a", 0.0), ("a", "a", 1.0)]
)
def test_overlap_counts_each_word_as_often_as_both_hold_it(
    left: str, right: str, f1: float
) -> None:
    bags = Counter(left.split()), Counter(right.split())
    assert form.overlap_f1(*bags) == form.overlap_f1(*bags[::-1]) == pytest.approx(f1)


@given(TEXTS, st.text("ab s\n'", max_size=30))
def test_likeness_is_the_f1_of_distinct_words(outputs: list[str], said: str) -> None:
    past = past_outputs(tuple(outputs), stems)
    own = set(stems(said))
    expected = []
    for output in outputs:
        other = set(stems(output))
        expected.append(2 * len(own & other) / max(len(own) + len(other), 1))
    assert past.likeness(stems(said)).tolist() == expected
    assert past.repeats(stems(said)) == any(one >= 0.8 for one in expected)


def test_repeats_are_counted_against_older_outputs_alone() -> None:
    never = past_outputs(("one two", "three four", "five six"), stems)
    always = past_outputs(("one two", "two one", "One, two!"), stems)
    nothing = past_outputs((), stems)
    assert never.repeat_rate == pytest.approx(0.5 / 13)
    assert always.repeat_rate == pytest.approx(2.5 / 13)  # the first one was new
    assert nothing.repeat_rate == pytest.approx(0.05)
    assert not nothing.repeats(["one"])
    many = past_outputs(tuple(f"word{i} other{i}" for i in range(150)), stems)
    assert many.repeat_rate == pytest.approx(0.5 / 110)  # the newest hundred tell
