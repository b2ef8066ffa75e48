"""The bootstrap over users, against slow and independent computations."""

from __future__ import annotations

import math

import numpy as np
import pytest

from hydra_cli.core import statistics as s
from hydra_cli.core.metrics import metrics_for
from hydra_cli.core.tasks import PRESETS

STARS = metrics_for(PRESETS["LaMP_3"])


def test_every_draw_has_as_many_users() -> None:
    weights = s.resamples(7, draws=50, seed=1)
    assert weights.shape == (50, 7)
    assert (weights.sum(axis=1) == 7).all()
    assert (weights == s.resamples(7, draws=50, seed=1)).all()
    assert (weights != s.resamples(7, draws=50, seed=2)).any()


def test_draws_equal_a_loop_over_drawn_users() -> None:
    generator = np.random.default_rng(0)
    user_of = np.array([0, 0, 1, 2, 2, 2])
    said, true = generator.integers(1, 6, 6), generator.integers(1, 6, 6)
    weights = s.resamples(3, draws=20, seed=3)
    for metric in STARS:
        rows = np.stack(
            [
                metric.score(prediction=str(p), reference=str(r))
                for p, r in zip(said, true, strict=True)
            ]
        )
        found = s.metric_draws(metric, s.sums_by_user(rows, user_of, 3), weights)
        for draw, counts in zip(found, weights, strict=True):
            queries = [q for q, user in enumerate(user_of) for _ in range(int(counts[user]))]
            assert draw == pytest.approx(metric.value(rows[queries].sum(axis=0)))


def test_users_are_drawn_and_not_queries() -> None:
    # One user has all the good queries: with users as units the mean must swing widely.
    user_of = np.repeat([0, 1], 50)
    rows = np.stack([np.repeat([1.0, 0.0], 50), np.ones(100)], axis=1)
    draws = s.metric_draws(STARS[0], s.sums_by_user(rows, user_of, 2), s.resamples(2, seed=0))
    assert set(np.round(draws, 6)) == {0.0, 0.5, 1.0}


def test_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    generator = np.random.default_rng(5)
    hits = 0
    for trial in range(200):
        means = generator.normal(0.3, 0.2, size=40)
        rows = np.stack([means, np.ones(40)], axis=1)
        draws = s.metric_draws(STARS[0], rows, s.resamples(40, draws=300, seed=trial))
        low, high = s.interval(draws)
        hits += low <= 0.3 <= high
    assert 0.88 <= hits / 200 <= 0.99


def test_estimate_counts_ties_half_and_leaves_out_the_undefined() -> None:
    found = s.estimate(0.1, np.array([0.0, 0.0, 1.0, -1.0, np.nan]))
    assert found.above_zero == 0.5
    nothing = s.estimate(math.nan, np.array([np.nan]))
    assert math.isnan(nothing.low)
    assert math.isnan(nothing.above_zero)


def test_task_gain_is_the_mean_over_primary_metrics() -> None:
    # MAE from 1.0 to 0.5 is +50 %, RMSE from 2.0 to 1.5 is +25 %.
    gain = s.task_gain(STARS, [np.array(0.5), np.array(1.5)], [np.array(1.0), np.array(2.0)])
    assert gain == pytest.approx(0.375)
    titles = metrics_for(PRESETS["LaMP_4"])
    ours = [np.array(x) for x in (0.2, 0.3, 0.9, 0.9)]
    base = [np.array(x) for x in (0.1, 0.3, 0.1, 0.1)]
    assert s.task_gain(titles, ours, base) == pytest.approx(0.5)  # BLEU and METEOR don't count


def test_no_users_no_figures() -> None:
    assert s.resamples(0, draws=5).shape == (5, 0)
