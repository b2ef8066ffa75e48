"""Raw answers to figures: metrics, intervals over users, gains, costs."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np

from hydra_cli.core.errors import HydraError
from hydra_cli.core.metrics import Metric
from hydra_cli.core.records import Usage
from hydra_cli.core.statistics import (
    Estimate,
    estimate,
    interval,
    metric_draws,
    resamples,
    sums_by_user,
    task_gain,
)
from hydra_cli.evaluation.collected import Collected, Prediction
from hydra_cli.evaluation.engine import TaskRun
from hydra_cli.evaluation.questions import Key

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Provenance:
    """When a run was made, by which version, and the command that makes it again."""

    command: str
    at: datetime
    version: str


@dataclass(frozen=True, slots=True, eq=False)
class MethodResult:
    """One method on one task.

    ``queries`` were scored, ``missing`` answers failed. ``gain`` is the mean
    relative change of the primary metrics against the best prompt-based
    method, in the better direction; None where either is incomplete.
    ``gain_draws`` are its bootstrap draws, for averages over tasks.
    """

    name: str
    family: str
    about: str
    metrics: Mapping[str, float]
    intervals: Mapping[str, tuple[float, float]]
    by_seed: Mapping[int, Mapping[str, float]]
    relative: Mapping[str, float]
    differences: Mapping[str, Estimate]
    gain: Estimate | None
    gain_draws: Floats | None
    better: Estimate | None
    """Mean quality minus the best prompt-based method's."""
    quality: float
    queries: int
    users: int
    missing: int
    error: str | None
    usage: Usage
    setup: Usage
    seconds: float
    answers: int
    reranked_users: int
    adapted_users: int
    plain_users: int
    predictions: Sequence[Prediction]
    cut: int = 0
    """Answers that the limit of tokens ended, not the LLM."""

    @property
    def complete(self) -> bool:
        return self.missing == 0 and self.queries > 0


@dataclass(frozen=True, slots=True)
class Contrast:
    """A method against the same with one thing changed: mean quality, what was changed off it.

    ``points`` is the difference in quality in [0, 1], positive where the method is better
    as it is.
    """

    method: str
    against: str
    points: Estimate


@dataclass(frozen=True, slots=True, eq=False)
class TaskResult:
    """All methods on one task."""

    task: str
    kind: str
    model: str
    seeds: tuple[int, ...]
    queries: int
    users: int
    metrics: tuple[Metric, ...]
    methods: Mapping[str, MethodResult]
    best_prompt_based: str | None
    settings: Mapping[str, object]
    notes: tuple[str, ...]
    used: Usage
    seconds: Mapping[str, float]
    train_users: int
    train_examples: int
    scale: float = 1.0
    """What a quality of 1 is worth in a rating's points."""
    error: HydraError | None = None
    texts: Mapping[Key, str] = field(default_factory=dict)
    """Each query's text."""
    references: Mapping[Key, str] = field(default_factory=dict)
    contrasts: Sequence[Contrast] = ()
    donors: Mapping[str, str] = field(default_factory=dict)
    """Whose history each user got where histories were exchanged."""

    @property
    def complete(self) -> bool:
        return all(method.complete for method in self.methods.values())


def summarize(
    run: TaskRun,
    *,
    model: str,
    seeds: tuple[int, ...],
    draws: int,
    settings: Mapping[str, object],
) -> TaskResult:
    """Metrics with their bootstrap, all methods on the same draws of users."""
    users = run.questions.users
    place = {user: i for i, user in enumerate(users)}
    weights = resamples(len(users), draws=draws, seed=0)
    sums = {name: _sums(run.metrics, found, place) for name, found in run.collected.items()}
    values = {
        name: [
            metric.value(by_user.sum(axis=0))
            for metric, by_user in zip(run.metrics, found, strict=True)
        ]
        for name, found in sums.items()
        if found
    }
    complete = {
        name for name, found in run.collected.items() if name in values and not found.missing
    }
    best = best_prompt_based(run, values, complete)
    drawn = {
        name: [
            metric_draws(metric, by_user, weights)
            for metric, by_user in zip(run.metrics, found, strict=True)
        ]
        for name, found in sums.items()
        if found
    }
    grades = {name: _grades(found, place, weights) for name, found in run.collected.items()}
    methods = {}
    for name, found in run.collected.items():
        comparable = best is not None and name in complete
        methods[name] = _method_result(
            run.metrics,
            found,
            values.get(name),
            drawn.get(name),
            (values[best], drawn[best]) if best is not None and comparable else None,
            _difference(grades[name], grades[best]) if best is not None and comparable else None,
            seeds,
        )
    task = run.questions.task
    points = [float(label) for label in task.labels] if task.kind == "rating" else []
    return TaskResult(
        task=task.name,
        kind=task.kind,
        model=model,
        seeds=seeds,
        queries=len(run.questions.items),
        users=len(users),
        metrics=run.metrics,
        methods=methods,
        best_prompt_based=best,
        settings=settings,
        notes=tuple(run.notes),
        used=run.asker.used,
        seconds=dict(run.seconds),
        train_users=run.train_users,
        train_examples=run.train_examples,
        scale=max(points) - min(points) if points else 1.0,
        error=run.asker.error,
        texts={item.key: item.query.text for item in run.questions.items},
        references={item.key: run.questions.references[item.key] for item in run.questions.items},
        contrasts=contrasts(grades, complete),
        donors=dict(run.donors),
    )


def contrasts(
    grades: Mapping[str, tuple[float, Floats]], complete: Collection[str]
) -> tuple[Contrast, ...]:
    """Every complete method with overrides against the one without, on the same draws of users."""
    found = []
    for name in grades:
        plain = name.partition("@")[0]
        if name != plain and {name, plain} <= set(complete):
            found.append(Contrast(plain, name, _difference(grades[plain], grades[name])))
    return tuple(found)


def best_prompt_based(
    run: TaskRun, values: Mapping[str, Sequence[Floats]], complete: set[str]
) -> str | None:
    """The complete prompt-based method with the best mean rank over the primary metrics.

    Ties go to the better first metric. It is picked on the same queries that
    it is compared on, which favours it: gains over it are understated.
    """
    names = [
        name
        for name, found in run.collected.items()
        if found.method.family == "prompt" and name in complete
    ]
    if not names:
        return None
    ranks = dict.fromkeys(names, 0.0)
    for i, metric in enumerate(run.metrics):
        if metric.primary:
            signed = {n: float(values[n][i]) * (1 if metric.higher else -1) for n in names}
            for name in names:
                ranks[name] += sum(signed[other] > signed[name] for other in names)
    sign = 1 if run.metrics[0].higher else -1
    return min(names, key=lambda name: (ranks[name], -sign * float(values[name][0])))


def average_gains(results: Sequence[TaskResult]) -> dict[str, Estimate]:
    """Each method's mean relative gain over the tasks, where it is complete in all of them.

    Tasks are independent, so their draws are averaged place by place.
    """
    if not results:
        return {}
    names = [
        name
        for name in results[0].methods
        if all(_comparable(result.methods.get(name)) for result in results)
    ]
    found = {}
    for name in names:
        gains = [result.methods[name].gain for result in results]
        draws = [result.methods[name].gain_draws for result in results]
        value = float(np.mean([gain.value for gain in gains if gain is not None]))
        mean = np.mean([d for d in draws if d is not None], axis=0)
        found[name] = estimate(value, mean)
    return found


def left_out(results: Sequence[TaskResult]) -> list[str]:
    """Methods that ran somewhere and have no average: incomplete, unsuited or undefined."""
    averaged = average_gains(results)
    names = dict.fromkeys(name for result in results for name in result.methods)
    return [name for name in names if name not in averaged]


def _comparable(method: MethodResult | None) -> bool:
    return method is not None and method.gain is not None and math.isfinite(method.gain.value)


def _sums(metrics: Sequence[Metric], found: Collected, place: Mapping[str, int]) -> list[Floats]:
    """Each metric's sums by user; empty where nothing was scored."""
    if not found.predictions:
        return []
    user_of = np.array([place[p.key[0]] for p in found.predictions])
    return [
        sums_by_user(np.stack(found.rows[metric.name]), user_of, len(place)) for metric in metrics
    ]


def _grades(found: Collected, place: Mapping[str, int], weights: Floats) -> tuple[float, Floats]:
    """Mean quality, and on every draw of users (draws,)."""
    if not found.predictions:
        return math.nan, np.full(len(weights), np.nan)
    rows = np.array([[prediction.quality, 1.0] for prediction in found.predictions])
    user_of = np.array([place[prediction.key[0]] for prediction in found.predictions])
    drawn = weights @ sums_by_user(rows, user_of, len(place))
    return float(rows[:, 0].mean()), drawn[:, 0] / np.maximum(drawn[:, 1], 1e-12)


def _difference(ours: tuple[float, Floats], theirs: tuple[float, Floats]) -> Estimate:
    return estimate(ours[0] - theirs[0], ours[1] - theirs[1])


def _method_result(
    metrics: Sequence[Metric],
    found: Collected,
    values: Sequence[Floats] | None,
    drawn: Sequence[Floats] | None,
    baseline: tuple[Sequence[Floats], Sequence[Floats]] | None,
    better: Estimate | None,
    seeds: tuple[int, ...],
) -> MethodResult:
    names = [metric.name for metric in metrics]
    relative: dict[str, float] = {}
    differences: dict[str, Estimate] = {}
    gain = draws = None
    if baseline is not None and values is not None and drawn is not None:
        for i, metric in enumerate(metrics):
            sign = 1 if metric.higher else -1
            difference = sign * (drawn[i] - baseline[1][i])
            differences[metric.name] = estimate(
                sign * float(values[i] - baseline[0][i]), difference
            )
            only = [metric] if metric.primary else []
            if only:
                relative[metric.name] = float(task_gain(only, [values[i]], [baseline[0][i]]))
        draws = task_gain(metrics, drawn, baseline[1])
        gain = estimate(float(task_gain(metrics, values, baseline[0])), draws)
    method = found.method
    grades = [prediction.quality for prediction in found.predictions]
    spent = found.usage + found.setup
    return MethodResult(
        name=method.name,
        family=method.family,
        about=method.about,
        metrics=dict(zip(names, map(float, values), strict=True)) if values else {},
        intervals={name: interval(draw) for name, draw in zip(names, drawn or (), strict=False)},
        by_seed=_by_seed(metrics, found, seeds) if len(seeds) > 1 and method.seeded else {},
        relative=relative,
        differences=differences,
        gain=gain,
        gain_draws=draws,
        better=better,
        quality=float(np.mean(grades)) if grades else math.nan,
        queries=len({prediction.key for prediction in found.predictions} - set(found.missing)),
        users=len({prediction.key[0] for prediction in found.predictions}),
        missing=len(found.missing),
        error=found.error,
        usage=found.usage,
        setup=found.setup,
        seconds=found.own_seconds + spent.seconds,
        answers=len(found.predictions),
        reranked_users=sum(rerank for rerank, _, _ in found.stages.values()),
        adapted_users=sum(adapt for _, adapt, _ in found.stages.values()),
        plain_users=sum(not records for _, _, records in found.stages.values()),
        predictions=found.predictions,
        cut=found.cut,
    )


def _by_seed(
    metrics: Sequence[Metric], found: Collected, seeds: tuple[int, ...]
) -> dict[int, dict[str, float]]:
    """The metrics of each seed alone."""
    result = {}
    for seed in seeds:
        rows = [i for i, prediction in enumerate(found.predictions) if prediction.seed == seed]
        if rows:
            result[seed] = {
                metric.name: float(
                    metric.value(np.stack(found.rows[metric.name])[rows].sum(axis=0))
                )
                for metric in metrics
            }
    return result
