"""The grade behind every label, on cases worked by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer

from hydra_cli.core.metrics import quality
from hydra_cli.core.similarity import common_length, grade, rouge
from hydra_cli.core.tasks import PRESETS


@pytest.mark.parametrize(
    ("task", "prediction", "reference", "expected"),
    [
        ("LaMP_3", "4", "5", 0.75),
        ("LaMP_3", "no idea", "1", 0.0),
        ("LaMP_3", "no idea", "4", 0.25),  # the farther end of the scale is three away
        ("LaMP_3", "rating: 1", "1", 1.0),
        ("LaMP_3", "307863", "4", 0.25),  # off the scale
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


@given(
    st.integers(-10, 10**9).map(str) | st.floats(0, 7).map(str) | st.text(max_size=9),
    st.sampled_from("12345"),
)
def test_ratings_are_graded_as_the_metric_scores_them(answer: str, reference: str) -> None:
    task = PRESETS["LaMP_3"]
    scored = task.parse(answer, task.labels) or answer.strip()  # as `eval` keeps an answer
    expected = quality(prediction=scored, reference=reference, task=task)
    assert grade(prediction=answer, reference=reference, task=task) == expected


WORDS = st.sampled_from(["the", "parcels", "parcel", "left", "leaving", "Monday", "9", "\n", "-"])
TEXTS = st.lists(WORDS, max_size=80).map(" ".join)
SCORER = RougeScorer(["rouge1", "rougeL"], use_stemmer=True)


@given(TEXTS | st.text(max_size=60), TEXTS | st.text(max_size=60))
def test_rouge_is_that_of_the_rouge_score_package(prediction: str, reference: str) -> None:
    theirs = SCORER.score(reference, prediction)
    ours = rouge(prediction=prediction, reference=reference)
    assert ours == (theirs["rouge1"].fmeasure, theirs["rougeL"].fmeasure)


@given(st.lists(st.integers(0, 4), max_size=60), st.lists(st.integers(0, 4), max_size=60))
def test_common_length_is_that_of_the_textbook_table(left: list[int], right: list[int]) -> None:
    table = [[0] * (len(right) + 1) for _ in range(len(left) + 1)]
    for i, a in enumerate(left):
        for j, b in enumerate(right):
            table[i + 1][j + 1] = (
                table[i][j] + 1 if a == b else max(table[i][j + 1], table[i + 1][j])
            )
    found = common_length([str(x) for x in left], [str(x) for x in right])
    assert found == table[-1][-1]
