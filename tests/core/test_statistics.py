"""The bootstrap over users, against slow and independent computations."""

from __future__ import annotations

import math

import numpy as np
import pytest

from hydra_cli.core import statistics as s
from hydra_cli.core.metrics import metrics_for
from hydra_cli.core.tasks import PRESETS, TaskSpec

STARS = metrics_for(PRESETS["LaMP_3"])


NAMES = [f"user {i}" for i in range(40)]


def test_a_draw_depends_on_who_the_people_are() -> None:
    weights = s.resamples(NAMES[:7], draws=2000, seed=1)
    assert weights.shape == (2000, 7)
    assert weights.mean() == pytest.approx(1.0, abs=0.05)
    assert weights.var() == pytest.approx(1.0, abs=0.1)
    # The same people are drawn alike in another task, whoever else is in it.
    assert (s.resamples(NAMES[5:9], draws=2000, seed=1)[:, 0] == weights[:, 5]).mean() > 0.97
    assert (weights != s.resamples(NAMES[:7], draws=2000, seed=2)).any()
    others = s.resamples(NAMES[7:14], draws=2000, seed=1)
    assert abs(np.corrcoef(weights.sum(axis=1), others.sum(axis=1))[0, 1]) < 0.1
    # Nobody at all is no draw.
    assert (s.resamples(["one"], draws=200).sum(axis=1) > 0).all()


def test_draws_equal_a_loop_over_drawn_users() -> None:
    generator = np.random.default_rng(0)
    user_of = np.array([0, 0, 1, 2, 2, 2])
    said, true = generator.integers(1, 6, 6), generator.integers(1, 6, 6)
    weights = s.resamples(NAMES[:3], draws=20, seed=3)
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
    draws = s.metric_draws(STARS[0], s.sums_by_user(rows, user_of, 2), s.resamples(NAMES[:2]))
    assert draws.std() > 0.25


def test_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    generator = np.random.default_rng(5)
    hits = 0
    for trial in range(200):
        means = generator.normal(0.3, 0.2, size=40)
        rows = np.stack([means, np.ones(40)], axis=1)
        draws = s.metric_draws(STARS[0], rows, s.resamples(NAMES, draws=300, seed=trial))
        low, high = s.interval(draws)
        hits += low <= 0.3 <= high
    assert 0.88 <= hits / 200 <= 0.99


def test_estimate_counts_ties_half_and_leaves_out_the_undefined() -> None:
    found = s.estimate(0.1, np.array([0.0, 0.0, 1.0, -1.0, np.nan]))
    assert found.above_zero == 0.5
    nothing = s.estimate(math.nan, np.array([np.nan]))
    assert math.isnan(nothing.low)
    assert math.isnan(nothing.above_zero)


def test_task_gain_is_the_mean_log_over_primary_metrics() -> None:
    # Half the MAE, an eighth of the RMSE: four times as good, as a geometric mean.
    gain = s.task_gain(STARS, [np.array(0.5), np.array(0.25)], [np.array(1.0), np.array(2.0)])
    assert gain == pytest.approx(math.log(4.0))
    back = s.task_gain(STARS, [np.array(1.0), np.array(2.0)], [np.array(0.5), np.array(0.25)])
    assert back == pytest.approx(-gain)
    told = s.as_change(s.Estimate(float(gain), 0.0, math.inf, 1.0))
    assert told.value == pytest.approx(3.0)
    assert (told.low, told.high) == (0.0, math.inf)
    titles = metrics_for(PRESETS["LaMP_4"])
    ours = [np.array(x) for x in (0.2, 0.3, 0.9, 0.9)]
    base = [np.array(x) for x in (0.1, 0.3, 0.1, 0.1)]
    # BLEU and METEOR don't count.
    assert s.task_gain(titles, ours, base) == pytest.approx(math.log(2.0) / 2)


def test_no_users_no_figures() -> None:
    assert s.resamples([], draws=5).shape == (5, 0)


def test_a_perfect_draw_is_infinitely_better_and_no_figure_less() -> None:
    low, high = s.interval(np.array([0.0, 1.0, 2.0, math.inf]))
    assert (low, high) == (0.0, math.inf)


def classified(generator: np.random.Generator, users: int) -> np.ndarray:  # type: ignore[type-arg]
    """Sums (users, s) of macro-F1 over 15 labels, 3 queries a user, half of them right."""
    labels = [str(i) for i in range(15)]
    prior = np.random.default_rng(0).dirichlet(np.full(15, 0.8))
    metric = metrics_for(TaskSpec("t", "classification", "name it", labels=tuple(labels)))[1]
    rows, user_of = [], []
    for user in range(users):
        own = generator.dirichlet(4 * prior + 1e-3)
        for _ in range(3):
            true = generator.choice(15, p=own)
            said = true if generator.random() < 0.5 else generator.choice(15, p=prior)
            rows.append(metric.score(prediction=labels[said], reference=labels[true]))
            user_of.append(user)
    return s.sums_by_user(np.stack(rows), np.array(user_of), users)


def test_the_jackknife_covers_macro_f1_where_the_bootstrap_does_not() -> None:
    generator = np.random.default_rng(7)
    metric = metrics_for(TaskSpec("t", "classification", "name it", labels=("a",)))[1]
    samples = [classified(generator, 20) for _ in range(150)]
    truth = float(np.mean([metric.value(sums.sum(axis=0)) for sums in samples]))
    hits = {"jackknife": 0, "bootstrap": 0}
    for trial, sums in enumerate(samples):
        weights = s.resamples(NAMES[:20], draws=200, seed=trial)
        for name, (low, high) in {
            "jackknife": s.jackknife(metric, sums),
            "bootstrap": s.interval(s.metric_draws(metric, sums, weights)),
        }.items():
            hits[name] += low <= truth <= high
    assert hits["jackknife"] / 150 >= 0.91
    assert hits["bootstrap"] / 150 <= 0.85
    assert not metric.smooth


def test_the_jackknife_of_a_mean_is_the_t_interval() -> None:
    values = np.array([0.1, 0.5, 0.6, 0.9, 0.2])
    rows = np.stack([values, np.ones(5)], axis=1)
    low, high = s.jackknife(STARS[0], rows)
    half = 2.7764451 * values.std(ddof=1) / math.sqrt(5)
    assert (low, high) == (pytest.approx(values.mean() - half), pytest.approx(values.mean() + half))
    same = s.jackknife(STARS[0], rows, rows)
    assert same == (0.0, 0.0)
    assert all(map(math.isnan, s.jackknife(STARS[0], rows[:1])))
