"""Metrics against cases worked by hand, and against the libraries behind them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sacrebleu.metrics.bleu import BLEU
from sklearn.metrics import accuracy_score, f1_score, mean_absolute_error, root_mean_squared_error

from hydra_cli.core import metrics as m
from hydra_cli.core.tasks import PRESETS, TaskSpec

NEWS = PRESETS["LaMP_2N"].with_labels(("a", "b", "c", "d"))
STARS = PRESETS["LaMP_3"]
TITLE = PRESETS["LaMP_4"]


def value(task: TaskSpec, name: str, pairs: list[tuple[str, str]]) -> float:
    """The metric over (prediction, reference) pairs."""
    metric = next(x for x in m.metrics_for(task, [r for _, r in pairs]) if x.name == name)
    rows = [metric.score(prediction=p, reference=r) for p, r in pairs]
    return float(metric.value(np.sum(rows, axis=0)))


def test_accuracy_and_macro_f1_by_hand() -> None:
    # a: 1 right of 2 said and 1 true -> F1 2/3; b: 0; c: 1 of 1 and 2 -> 2/3; d: nowhere -> 0.
    pairs = [("a", "a"), ("a", "c"), ("c", "c"), ("nonsense", "b")]
    assert value(NEWS, "accuracy", pairs) == 0.5
    assert value(NEWS, "macro-F1", pairs) == pytest.approx((2 / 3 + 0 + 2 / 3 + 0) / 4)


def test_macro_f1_keeps_labels_that_nobody_declared() -> None:
    learned = NEWS.with_labels(())
    # Labels are those of the references: a and b.
    assert value(learned, "macro-F1", [("a", "a"), ("a", "b")]) == pytest.approx((2 / 3 + 0) / 2)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abcdx"), st.sampled_from("abcd")), min_size=1))
def test_classification_as_scikit_learn_counts(pairs: list[tuple[str, str]]) -> None:
    said, true = [p for p, _ in pairs], [r for _, r in pairs]
    assert value(NEWS, "accuracy", pairs) == pytest.approx(accuracy_score(true, said))
    expected = f1_score(true, said, labels=list("abcd"), average="macro", zero_division=0)
    assert value(NEWS, "macro-F1", pairs) == pytest.approx(expected)


def test_ratings_by_hand() -> None:
    pairs = [("5", "4"), ("1", "1"), ("2", "5")]
    assert value(STARS, "MAE", pairs) == pytest.approx(4 / 3)
    assert value(STARS, "RMSE", pairs) == pytest.approx(math.sqrt(10 / 3))


@pytest.mark.parametrize("said", ["", "great", "nan", "inf", "1 star", "--", "6", "0", "307863"])
@pytest.mark.parametrize(("true", "error"), [("1", 4.0), ("2", 3.0), ("3", 2.0), ("5", 4.0)])
def test_rating_unparsable_or_off_the_scale_is_the_worst_possible(
    said: str, true: str, error: float
) -> None:
    assert value(STARS, "MAE", [(said, true)]) == error
    assert value(STARS, "RMSE", [(said, true)]) == error


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("12345"), st.sampled_from("12345")), min_size=1))
def test_ratings_as_scikit_learn_counts(pairs: list[tuple[str, str]]) -> None:
    said, true = [float(p) for p, _ in pairs], [float(r) for _, r in pairs]
    assert value(STARS, "MAE", pairs) == pytest.approx(mean_absolute_error(true, said))
    assert value(STARS, "RMSE", pairs) == pytest.approx(root_mean_squared_error(true, said))


def test_rouge_by_hand() -> None:
    # "the cat sat" against "the cats sat down": 2 of 3 and 2 of 4 words; no stems, as in LaMP.
    assert value(TITLE, "ROUGE-1", [("the cat sat", "the cats sat down")]) == pytest.approx(4 / 7)
    # Same words, order turned: the longest common subsequence is one word of two.
    assert value(TITLE, "ROUGE-1", [("dog bites", "bites dog")]) == 1.0
    assert value(TITLE, "ROUGE-L", [("dog bites", "bites dog")]) == 0.5
    assert value(TITLE, "ROUGE-1", [("", "anything")]) == 0.0


def test_bleu_by_hand() -> None:
    # 5 of 6 words, 3 of 5, 1 of 4, 0 of 3 n-grams; the zero is smoothed to 1/2 of one.
    said, true = "the cat is on a mat", "the cat is on the mat"
    by_hand = math.exp(sum(map(math.log, (5 / 6, 3 / 5, 2 / 4, 1 / 3))) / 4)
    assert value(TITLE, "BLEU", [(said, true)]) == pytest.approx(by_hand)


sentences = st.lists(st.sampled_from(["a", "b", "cat", "sat", "on", ",", "."]), max_size=9).map(
    " ".join
)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(sentences, sentences.filter(bool)), min_size=1, max_size=6))
def test_bleu_of_a_corpus_as_sacrebleu_counts(pairs: list[tuple[str, str]]) -> None:
    expected = BLEU().corpus_score([p for p, _ in pairs], [[r for _, r in pairs]]).score / 100
    assert value(TITLE, "BLEU", pairs) == pytest.approx(expected, abs=1e-9)


def test_meteor_by_hand() -> None:
    # Both words match in one chunk: precision 1, recall 2/3, penalty 0.5 * (1/2)^3.
    fmean = 1 * (2 / 3) / (0.9 * 1 + 0.1 * (2 / 3))
    assert m.meteor("black cats", "black cat sleeps") == pytest.approx(fmean * (1 - 0.5 / 8))
    assert m.meteor("nothing alike", "other words") == 0.0
    assert m.meteor("", "other words") == 0.0


def test_quality_grades_like_the_labels_do() -> None:
    assert m.quality(prediction="4", reference="2", task=STARS) == 0.5
    assert m.quality(prediction="?", reference="2", task=STARS) == 0.25
    assert m.quality(prediction="a", reference="a", task=NEWS) == 1.0
    assert m.quality(prediction="dog bites", reference="bites dog", task=TITLE) == 0.75


def test_log_gain_points_in_the_better_direction() -> None:
    double = pytest.approx(math.log(2.0))
    assert m.log_gain(np.array(0.6), np.array(0.3), higher=True) == double
    assert m.log_gain(np.array(0.3), np.array(0.6), higher=False) == double
    assert math.isnan(m.log_gain(np.array(0.4), np.array(0.0), higher=True))
    assert m.log_gain(np.array(0.0), np.array(0.4), higher=False) == math.inf


def test_what_each_task_is_compared_by() -> None:
    for task, names in (
        (NEWS, ["accuracy"]),
        (STARS, ["MAE", "RMSE"]),
        (TITLE, ["ROUGE-1", "ROUGE-L"]),
    ):
        assert [x.name for x in m.metrics_for(task) if x.primary] == names
