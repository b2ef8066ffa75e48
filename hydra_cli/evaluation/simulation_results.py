"""A simulation's rounds to figures: edits in words, what is saved, over time and beyond chance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hydra_cli.core.counting import counted
from hydra_cli.core.errors import HydraError
from hydra_cli.core.records import Usage
from hydra_cli.core.statistics import Estimate, estimate, resamples
from hydra_cli.evaluation.as_json import estimate_mapping, number, usage_mapping
from hydra_cli.evaluation.questions import Questions, people
from hydra_cli.evaluation.results import Provenance
from hydra_cli.evaluation.simulation import (
    BOTH,
    FROZEN,
    RAG,
    Arm,
    Round,
    Simulated,
    SimulationPlan,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

PARTS = 5
"""Into how many stretches of time the rounds fall."""


@dataclass(frozen=True, slots=True)
class ArmResult:
    """One arm. ``edits`` are words a round, ``least`` those of each round's best draft, which
    nobody can pick without the reference; savings are shares of the other arm's edits.

    ``parts`` are the edits a round in each fifth of the rounds, ``cumulative`` those of
    a mean user up to each round. ``hostility`` is what hostile (or silent) rounds cost, as a
    share of the edits of the same arm without them.
    """

    arm: Arm
    edits: float
    least: float
    total: int
    words: float
    quality: float
    meaning: float
    over_rag: Estimate | None
    over_frozen: Estimate | None
    hostility: Estimate | None
    parts: tuple[float, ...]
    cumulative: tuple[float, ...]


@dataclass(frozen=True, slots=True, eq=False)
class SimulationResult:
    """One task's simulation."""

    task: str
    model: str
    users: int
    rounds: int
    start: int | None
    hostile: float
    arms: Mapping[str, ArmResult]
    played: Sequence[Round]
    missing: int
    settings: Mapping[str, object]
    notes: tuple[str, ...]
    used: Usage
    error: HydraError | None = None

    @property
    def complete(self) -> bool:
        return self.missing == 0 and bool(self.played)


def summarize(
    found: Simulated,
    questions: Questions,
    plan: SimulationPlan,
    *,
    model: str,
    draws: int,
    settings: Mapping[str, object],
) -> SimulationResult:
    """All arms on the same draws of users."""
    users = [course.user for course in found.courses]
    names = people(questions)
    weights = resamples([names[user] for user in users], draws=draws, seed=0)
    table = _Edits(found.rounds, users, plan.rounds, weights)
    arms = {arm.name: table.result(arm) for arm in plan.arms} if found.rounds else {}
    return SimulationResult(
        task=found.task.name,
        model=model,
        users=len(users),
        rounds=plan.rounds,
        start=plan.start,
        hostile=plan.hostile,
        arms=arms,
        played=found.rounds,
        missing=found.missing,
        settings=settings,
        notes=tuple(found.notes),
        used=found.asker.used,
        error=found.asker.error,
    )


class _Edits:
    """Word edits of every arm by user and round; rounds that lack an answer are in none."""

    def __init__(
        self, rounds: Sequence[Round], users: Sequence[str], length: int, weights: Floats
    ) -> None:
        place = {user: row for row, user in enumerate(users)}
        self._weights = weights
        self._rounds: dict[str, list[Round]] = {}
        self._edits: dict[str, Floats] = {}  # (users, rounds)
        self._there = np.zeros((len(users), length))
        for one in rounds:
            self._rounds.setdefault(one.arm, []).append(one)
        for name, own in self._rounds.items():
            table = self._edits[name] = np.zeros((len(users), length))
            for one in own:
                table[place[one.user], one.place] = one.edits
                self._there[place[one.user], one.place] = 1.0

    def result(self, arm: Arm) -> ArmResult:
        """One arm's figures."""
        edits, own = self._edits[arm.name], self._rounds[arm.name]
        honest, *_ = arm.name.split(", ")
        return ArmResult(
            arm=arm,
            edits=float(edits.sum() / self._there.sum()),
            least=float(np.mean([one.least for one in own])),
            total=int(edits.sum()),
            words=float(np.mean([one.words for one in own])),
            quality=float(np.mean([one.quality for one in own])),
            meaning=float(np.mean([one.meaning for one in own])),
            over_rag=None if arm == RAG else self.saved(arm.name, RAG.name),
            over_frozen=None if arm in (RAG, FROZEN) else self.saved(arm.name, FROZEN.name),
            hostility=self.cost(arm.name, honest) if arm.hostile else None,
            parts=tuple(
                float(part.sum() / max(there.sum(), 1.0))
                for part, there in zip(
                    np.array_split(edits, PARTS, axis=1),
                    np.array_split(self._there, PARTS, axis=1),
                    strict=True,
                )
            ),
            cumulative=tuple(np.cumsum(edits.sum(0) / len(edits)).tolist()),
        )

    def saved(self, arm: str, against: str) -> Estimate:
        """The share of the other arm's edits that this one saves."""
        return self._change(arm, against, -1.0)

    def cost(self, arm: str, against: str) -> Estimate:
        """The share of the other arm's edits that come on top."""
        return self._change(arm, against, 1.0)

    def _change(self, arm: str, against: str, sign: float) -> Estimate:
        ours, theirs = (self._edits[name].sum(1) for name in (arm, against))
        drawn, base = self._weights @ ours, self._weights @ theirs
        with np.errstate(divide="ignore", invalid="ignore"):
            value = sign * (float(ours.sum() / theirs.sum()) - 1.0) if theirs.sum() else np.nan
            draws = np.where(base > 0, sign * (drawn / base - 1.0), np.nan)
        return estimate(float(value), draws)


def verdict(result: SimulationResult) -> str:
    """What learning from edits saves, in one sentence."""
    if not result.arms:
        return "There is no verdict: no round has all its answers."
    both = result.arms[BOTH.name]
    found = both.over_rag
    assert found is not None
    if not np.isfinite(found.value):
        return "There is no verdict: there was nothing to edit."
    more, less = ("fewer", "more") if found.value >= 0 else ("more", "fewer")
    sure = "beyond chance" if found.low > 0 or found.high < 0 else "which could be chance"
    rag = result.arms[RAG.name]
    length = f"{result.rounds} rounds of {counted(result.users, 'user')}"
    if result.missing:
        length = f"{counted(len(result.played) // len(result.arms), 'answered round')} of {length}"
    told = (
        f"Learning from edits takes {abs(found.value):.1%} {more} word edits than frozen RAG over "
        f"{length} ({both.edits:.2f} a round, not "
        f"{rag.edits:.2f}; 95 % interval of what is saved: {found.low:+.1%} to {found.high:+.1%}), "
        f"{sure}"
    )
    frozen = both.over_frozen
    if frozen is not None and np.isfinite(frozen.value):
        word = more if (frozen.value >= 0) == (found.value >= 0) else less
        told += f"; {abs(frozen.value):.1%} {word} than the pipeline that learns nothing"
    return f"{told}."


def simulation_mapping(result: SimulationResult) -> dict[str, Any]:
    """One task's simulation for machines; undefined figures are null."""
    return {
        "task": result.task,
        "model": result.model,
        "users": result.users,
        "rounds": result.rounds,
        "start": result.start,
        "hostile": result.hostile,
        "complete": result.complete,
        "missing": result.missing,
        "error": result.error.message if result.error else None,
        "verdict": verdict(result),
        "arms": {name: _arm_mapping(arm) for name, arm in result.arms.items()},
        "settings": dict(result.settings),
        "usage": usage_mapping(result.used),
        "notes": list(result.notes),
    }


def simulations_mapping(results: Sequence[SimulationResult], made: Provenance) -> dict[str, Any]:
    """One task's mapping where there is one, else all of them under ``tasks``."""
    head: dict[str, Any] = {
        "command": made.command,
        "date": made.at.isoformat(timespec="seconds"),
        "version": made.version,
    }
    if len(results) == 1:
        return {**head, **simulation_mapping(results[0])}
    return {**head, "tasks": {result.task: simulation_mapping(result) for result in results}}


def _arm_mapping(found: ArmResult) -> dict[str, Any]:
    estimates = {
        "saved_over_rag": found.over_rag,
        "saved_over_frozen": found.over_frozen,
        "cost_of_hostility": found.hostility,
    }
    return {
        "about": found.arm.about,
        "edits_a_round": number(found.edits),
        "edits_a_round_of_best_drafts": number(found.least),
        "edits": found.total,
        "words_shown": number(found.words),
        "quality": number(found.quality),
        "meaning": number(found.meaning),
        **{
            name: None if each is None else estimate_mapping(each)
            for name, each in estimates.items()
        },
        "edits_by_fifth": [number(value) for value in found.parts],
        "cumulative_edits": [round(value, 4) for value in found.cumulative],
    }


def rounds_mapping(result: SimulationResult) -> list[Mapping[str, Any]]:
    """One line for each answer that was shown."""
    return [
        {
            "task": result.task,
            "arm": one.arm,
            "user": one.user,
            "round": one.place + 1,
            "id": one.query,
            "shown": one.shown,
            "edits": one.edits,
            "quality": round(one.quality, 6),
            "meaning": round(one.meaning, 6),
            "hostile": one.hostile,
        }
        for one in result.played
    ]
