"""Raw answers to figures: metrics, intervals over users, gains, costs."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Literal

import numpy as np

from hydra_cli.core.errors import HydraError
from hydra_cli.core.metrics import Metric
from hydra_cli.core.records import Usage
from hydra_cli.core.statistics import (
    Estimate,
    as_change,
    estimate,
    interval,
    jackknife,
    metric_draws,
    resamples,
    sums_by_user,
    task_gain,
)
from hydra_cli.evaluation import text_measures
from hydra_cli.evaluation.collected import Collected, Prediction
from hydra_cli.evaluation.engine import TaskRun
from hydra_cli.evaluation.questions import Key, people

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


Baseline = Literal["prompt", "control", "either"]
"""What a gain is over: the best prompt, the best answer without an LLM, the better of both."""

BASELINES: Mapping[Baseline, frozenset[str]] = {
    "prompt": frozenset({"prompt"}),
    "control": frozenset({"no LLM"}),
    "either": frozenset({"prompt", "no LLM"}),
}
"""The families of each."""


@dataclass(frozen=True, slots=True)
class Provenance:
    """When a run was made, by which version, and the command that makes it again."""

    command: str
    at: datetime
    version: str


@dataclass(frozen=True, slots=True, eq=False)
class MethodResult:
    """One method on one task.

    ``queries`` were scored, ``missing`` answers failed. ``gains`` are the mean
    relative changes of the primary metrics against each ``Baseline``, in the
    better direction, as geometric means; absent where either is incomplete.
    ``gain_logs`` are their value and bootstrap draws in logs, for averages over tasks.
    """

    name: str
    family: str
    about: str
    metrics: Mapping[str, float]
    intervals: Mapping[str, tuple[float, float]]
    by_seed: Mapping[int, Mapping[str, float]]
    relative: Mapping[str, float]
    differences: Mapping[str, Estimate]
    gains: Mapping[Baseline, Estimate]
    gain_logs: Mapping[Baseline, tuple[float, Floats]]
    better: Estimate | None
    """Mean quality minus that of the better of best prompt and best answer without an LLM."""
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

    @property
    def gain(self) -> Estimate | None:
        """Over the best prompt-based method."""
        return self.gains.get("prompt")


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
    best: Mapping[Baseline, str]
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
    seen: frozenset[Key] = frozenset()
    """Queries of closed tasks whose very text stands among the training users'."""
    own_style: float | None = None
    """How often what the users really wrote is told to be theirs; None where nobody asked."""
    donors: Mapping[str, str] = field(default_factory=dict)
    """Whose history each user got where histories were exchanged."""

    @property
    def best_prompt_based(self) -> str | None:
        return self.best.get("prompt")

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
    measures, own_style = text_measures.measure(run.questions, run.collected.values())
    run.metrics = (*run.metrics, *measures)
    users = run.questions.users
    place = {user: i for i, user in enumerate(users)}
    names = people(run.questions)
    weights = resamples([names[user] for user in users], draws=draws, seed=0)
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
    best: dict[Baseline, str] = {}
    for baseline in BASELINES:
        if best_name := best_of(run, values, complete, BASELINES[baseline]):
            best[baseline] = best_name
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
        against = {b: _Figures(values[m], drawn[m], sums[m]) for b, m in best.items()}
        figures = _Figures(values[name], drawn[name], sums[name]) if name in values else None
        rival = best.get("either")
        comparable = name in complete
        methods[name] = _method_result(
            run.metrics,
            found,
            figures,
            against if comparable else {},
            _difference(grades[name], grades[rival]) if rival and comparable else None,
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
        best=best,
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
        own_style=own_style,
        seen=run.seen,
        donors=dict(run.donors),
    )


def contrasts(
    grades: Mapping[str, tuple[float, Floats]], complete: Collection[str]
) -> tuple[Contrast, ...]:
    """Every complete method against the same with one override more, on the same draws of users."""
    found = []
    for name in grades:
        base, *overrides = name.split("@")
        for i in range(len(overrides)):
            plain = "@".join([base, *overrides[:i], *overrides[i + 1 :]])
            if {name, plain} <= set(complete):
                found.append(Contrast(plain, name, _difference(grades[plain], grades[name])))
    return tuple(found)


def best_of(
    run: TaskRun,
    values: Mapping[str, Sequence[Floats]],
    complete: Collection[str],
    families: Collection[str],
) -> str | None:
    """The complete method of these families with the best mean rank over the primary metrics.

    Ties go to the better first metric. It is picked on the same queries that
    it is compared on, which favours it: gains over it are understated.
    """
    names = [
        name
        for name, found in run.collected.items()
        if found.method.family in families and name in complete and "@" not in name
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


def apart(result: TaskResult) -> dict[str, tuple[float, float]]:
    """Each method's mean quality on items seen in training and on others.

    Empty where all items are of one kind.
    """
    if not 0 < len(result.seen) < result.queries:
        return {}
    found = {}
    for name, method in result.methods.items():
        if not method.complete:
            continue
        grades: tuple[list[float], list[float]] = ([], [])
        for prediction in method.predictions:
            grades[prediction.key not in result.seen].append(prediction.quality)
        found[name] = (float(np.mean(grades[0])), float(np.mean(grades[1])))
    return found


def average_gains(
    results: Sequence[TaskResult], baseline: Baseline = "prompt"
) -> dict[str, Estimate]:
    """Each method's mean gain over the tasks, where it is complete in all of them.

    The mean is of logs, told as a relative change. Draws are averaged place by
    place: people who are in several tasks are drawn alike in all of them.
    """
    if not results:
        return {}
    names = [
        name
        for name in results[0].methods
        if all(_comparable(result.methods.get(name), baseline) for result in results)
    ]
    found = {}
    for name in names:
        logs = [result.methods[name].gain_logs[baseline] for result in results]
        value = float(np.mean([each for each, _ in logs]))
        found[name] = as_change(estimate(value, np.mean([draws for _, draws in logs], axis=0)))
    return found


def left_out(results: Sequence[TaskResult]) -> list[str]:
    """Methods that ran somewhere and have no average: incomplete, unsuited or undefined."""
    averaged = average_gains(results)
    names = dict.fromkeys(name for result in results for name in result.methods)
    return [name for name in names if name not in averaged]


def _comparable(method: MethodResult | None, baseline: Baseline) -> bool:
    gain = method.gains.get(baseline) if method is not None else None
    return gain is not None and math.isfinite(gain.value)


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
    figures: _Figures | None,
    against: Mapping[Baseline, _Figures],
    better: Estimate | None,
    seeds: tuple[int, ...],
) -> MethodResult:
    names = [metric.name for metric in metrics]
    relative: dict[str, float] = {}
    differences: dict[str, Estimate] = {}
    gains: dict[Baseline, Estimate] = {}
    logs: dict[Baseline, tuple[float, Floats]] = {}
    if figures is not None:
        for baseline, theirs in against.items():
            draws = task_gain(metrics, figures.drawn, theirs.drawn)
            value = float(task_gain(metrics, figures.values, theirs.values))
            gains[baseline], logs[baseline] = as_change(estimate(value, draws)), (value, draws)
        if (prompt := against.get("prompt")) is not None:
            for i, metric in enumerate(metrics):
                differences[metric.name] = figures.difference(prompt, i, metric)
                if metric.primary:
                    log = task_gain([metric], [figures.values[i]], [prompt.values[i]])
                    relative[metric.name] = float(np.expm1(log))
    method = found.method
    grades = [prediction.quality for prediction in found.predictions]
    spent = found.usage + found.setup
    return MethodResult(
        name=method.name,
        family=method.family,
        about=method.about,
        metrics=dict(zip(names, map(float, figures.values), strict=True)) if figures else {},
        intervals={m.name: figures.interval(i, m) for i, m in enumerate(metrics)}
        if figures
        else {},
        by_seed=_by_seed(metrics, found, seeds) if len(seeds) > 1 and method.seeded else {},
        relative=relative,
        differences=differences,
        gains=gains,
        gain_logs=logs,
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


@dataclass(frozen=True, slots=True, eq=False)
class _Figures:
    """A method's metrics: values, draws (draws,) and sums by user (users, s) of each."""

    values: Sequence[Floats]
    drawn: Sequence[Floats]
    sums: Sequence[Floats]

    def interval(self, i: int, metric: Metric) -> tuple[float, float]:
        return interval(self.drawn[i]) if metric.smooth else jackknife(metric, self.sums[i])

    def difference(self, theirs: _Figures, i: int, metric: Metric) -> Estimate:
        """In the better direction."""
        sign = 1 if metric.higher else -1
        value = sign * float(self.values[i] - theirs.values[i])
        found = estimate(value, sign * (self.drawn[i] - theirs.drawn[i]))
        if metric.smooth:
            return found
        ends = sorted(sign * end for end in jackknife(metric, self.sums[i], theirs.sums[i]))
        return replace(found, low=ends[0], high=ends[1])


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
