"""Uncertainty: a paired bootstrap over users.

Users are drawn with replacement and bring all their queries along, since the
queries of one user are not independent (cluster bootstrap; Field and Welsh,
2007). All methods are read on the same draws, so differences are paired.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hydra_cli.core.metrics import Metric, relative_gain

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

DRAWS = 2_000
CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with its percentile interval and the share of draws above zero.

    nan where it is undefined, such as a change relative to 0.
    """

    value: float
    low: float
    high: float
    above_zero: float


def resamples(users: int, *, draws: int = DRAWS, seed: int = 0) -> Floats:
    """How often each user appears in each draw (draws, users)."""
    if not users:
        return np.zeros((draws, 0))
    generator = np.random.default_rng(seed)
    counts = generator.multinomial(users, np.full(users, 1.0 / users), size=draws)
    return counts.astype(np.float64)


def sums_by_user(rows: Floats, user_of: NDArray[np.int64], users: int) -> Floats:
    """Rows (q, s) of queries added up for each user (users, s)."""
    sums = np.zeros((users, rows.shape[1]))
    np.add.at(sums, user_of, rows)
    return sums


def interval(values: Floats, *, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """The percentile interval of draws; nan where no draw is defined."""
    defined = values[np.isfinite(values)]
    if not len(defined):
        return float("nan"), float("nan")
    tail = (1.0 - confidence) / 2 * 100
    low, high = np.percentile(defined, [tail, 100 - tail])
    return float(low), float(high)


def estimate(value: float, draws: Floats) -> Estimate:
    """A figure with the interval of its draws; ties count half above zero."""
    low, high = interval(draws)
    defined = draws[np.isfinite(draws)]
    above = float("nan")
    if len(defined):
        above = float(((defined > 0) + 0.5 * (defined == 0)).mean())
    return Estimate(value, low, high, above)


def metric_draws(metric: Metric, by_user: Floats, weights: Floats) -> Floats:
    """The metric on every draw (draws,), from each user's sums (users, s)."""
    return metric.value(weights @ by_user)


def task_gain(
    metrics: Sequence[Metric],
    method: Sequence[Floats],
    baseline: Sequence[Floats],
) -> Floats:
    """The mean relative gain over the primary metrics, in the better direction.

    ``method`` and ``baseline`` hold each metric's values, of any one shape.
    nan where a baseline is 0.
    """
    gains = [
        relative_gain(np.asarray(ours), np.asarray(theirs), higher=metric.higher)
        for metric, ours, theirs in zip(metrics, method, baseline, strict=True)
        if metric.primary
    ]
    mean: Floats = np.mean(gains, axis=0)
    return mean
