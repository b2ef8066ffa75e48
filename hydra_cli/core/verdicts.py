"""What the gate found, in figures: which stage is on, over what, by how much, how surely.

Cards of bases and heads keep these figures. Words are made where they are shown.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Stage = Literal["records", "rerank", "adapt"]
STAGES: tuple[Stage, ...] = ("records", "rerank", "adapt")

Code = Literal["won", "level", "unproven", "harmful", "untested", "unused"]
"""Why a stage is on or off.

On: it ``won``, or it is ``level`` with what it must not fall behind. Off: it won
nothing beyond its noise (``unproven``), the baseline is better (``harmful``), or no
record is shown, so it has nothing to do (``unused``). What nobody could judge
(``untested``) is on, but for the reranker (``NOT_JUDGED``).
"""

Source = Literal["head", "population", "built-in", "method"]
"""Whose weights answer: the user's head, everyone's, the hand-set ones, a method of eval."""


@dataclass(frozen=True, slots=True)
class Gain:
    """A stage's gain over a baseline, as believed of one user: normal(mean, sd)."""

    mean: float
    sd: float
    own: int
    """Outcomes of the user's own that it stands on."""
    others: int
    """Outcomes of other users that it stands on."""

    @property
    def probability(self) -> float:
        """That the gain is above zero."""
        return 0.5 * math.erfc(-self.mean / (self.sd * math.sqrt(2.0)))

    @staticmethod
    def of(values: Mapping[str, Any]) -> Gain:
        """From a card."""
        return Gain(values["mean"], values["sd"], values["own"], values["others"])


@dataclass(frozen=True, slots=True)
class Verdict:
    """One stage's. ``quality`` and ``without`` are the means, in [0, 1], of the
    ``method`` with the stage and of the ``baseline``, over the user's own outcomes
    where there are any, else over the others'.

    ``rival`` is a control without an LLM that does better still.
    """

    on: bool
    code: Code
    method: str = ""
    baseline: str = ""
    gain: Gain | None = None
    quality: float | None = None
    without: float | None = None
    rival: str = ""


NOT_JUDGED: Mapping[Stage, Verdict] = {
    "records": Verdict(True, "untested"),
    "rerank": Verdict(False, "untested"),
    "adapt": Verdict(True, "untested"),
}
"""Each stage while nobody has judged it.

On real answers to texts the reranker wins nothing over the first stage's records,
while these and the adapter do (docs/design/gate.md).
"""

_BY_RECORDS = "reranked"
"""The method in cards whose reranker was judged by its records alone, which tells little."""

CONTROLS: tuple[Literal["majority", "knn"], ...] = ("majority", "knn")
"""What answers a closed task without an LLM and without an adapter."""


@dataclass(frozen=True, slots=True)
class Answers:
    """How many answers of the LLM a query is worth: the whole pipelines' comparison.

    ``method`` is the pipeline that answers with ``n`` of them, ``baseline`` the best of
    those with another number, ``gain`` the method's over it.
    """

    n: int
    method: str
    baseline: str = ""
    gain: Gain | None = None
    quality: float | None = None
    without: float | None = None


@dataclass(frozen=True, slots=True)
class Gate:
    """The verdicts for one user, or for everyone without a head.

    ``evidence`` is what judged: ``"history"`` where no LLM was asked, else the LLM's
    name. ``quality`` holds every method's mean over ``own`` and ``others`` outcomes.
    ``answers`` says how many answers of the LLM are worth their calls; None where
    that was not judged.
    """

    verdicts: Mapping[Stage, Verdict] = field(default_factory=lambda: dict(NOT_JUDGED))
    evidence: str = ""
    quality: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    answers: Answers | None = None

    @property
    def n(self) -> int | None:
        """How many answers are worth their calls; None where nobody could tell."""
        return self.answers.n if self.answers else None

    @property
    def control(self) -> str:
        """The control that answers where no LLM is asked; empty: the adapter does."""
        return self.answers.method if self.answers and self.answers.method in CONTROLS else ""

    @property
    def records(self) -> bool:
        """Whether records are shown at all; without them, neither stage acts."""
        return self.verdicts["records"].on

    @property
    def rerank(self) -> bool:
        return self.verdicts["rerank"].on

    @property
    def adapt(self) -> bool:
        return self.verdicts["adapt"].on

    @property
    def own(self) -> int:
        """How many of the user's own held-out records judged."""
        return max((gain.own for gain in self.gains), default=0)

    @property
    def others(self) -> int:
        """How many held-out records of other users judged."""
        return max((gain.others for gain in self.gains), default=0)

    @property
    def gains(self) -> list[Gain]:
        """Every gain that a verdict stands on."""
        found = [verdict.gain for verdict in self.verdicts.values()]
        found += [self.answers.gain] if self.answers else []
        return [gain for gain in found if gain is not None]

    @property
    def card(self) -> dict[str, Any]:
        """As ``Card.gate`` and ``--json`` have it: plain values, no words."""
        return {
            **{stage: verdict.on for stage, verdict in self.verdicts.items()},
            "verdicts": {stage: _figures(verdict) for stage, verdict in self.verdicts.items()},
            "evidence": self.evidence,
            "quality": {who: dict(means) for who, means in self.quality.items()},
            "answers": _figures(self.answers) if self.answers else None,
        }

    @staticmethod
    def of(card: Mapping[str, Any]) -> Gate:
        """From a card; one of 0.1 kept sentences, and its figures beside them."""
        if not card:
            return Gate()
        if "verdicts" not in card:
            return _of_sentences(card)
        return Gate(
            {stage: _verdict(stage, card["verdicts"][stage]) for stage in STAGES},
            card.get("evidence", ""),
            card.get("quality", {}),
            _answers(card.get("answers")),
        )


@dataclass(frozen=True, slots=True)
class Standing:
    """Which weights answer for a user, and what the gate says about their stages."""

    source: Source
    user: str
    gate: Gate = field(default_factory=Gate)


def _figures(found: Verdict | Answers) -> dict[str, Any]:
    values = asdict(found)
    if found.gain is not None:
        gain = {"mean": found.gain.mean, "sd": found.gain.sd}
        gain["probability"] = found.gain.probability
        counts = {"own": found.gain.own, "others": found.gain.others}
        values["gain"] = {name: round(value, 4) for name, value in gain.items()} | counts
    return values


def _verdict(stage: Stage, values: Mapping[str, Any]) -> Verdict:
    if values["code"] == "untested" or values["method"] == _BY_RECORDS:
        return NOT_JUDGED[stage]
    gain = values.get("gain")
    return Verdict(**{**values, "gain": Gain.of(gain) if gain else None})


def _answers(values: Mapping[str, Any] | None) -> Answers | None:
    if not values:
        return None
    gain = values.get("gain")
    return Answers(**{**values, "gain": Gain.of(gain) if gain else None})


def _of_sentences(card: Mapping[str, Any]) -> Gate:
    """A card of 0.1: its switches decide, its figures are read, its sentences are not."""
    shown = bool(card.get("records", True))
    means = card.get("quality", {})
    verdicts: dict[Stage, Verdict] = {}
    for stage in STAGES:
        on = bool(card.get(stage, True))
        found = card.get("gains", {}).get(stage, {})
        over = {k.removeprefix("over "): g for k, g in found.items() if k.startswith("over ")}
        if stage != "records" and not shown:
            verdicts[stage] = Verdict(on, "unused")
        elif not over or found.get("stage") == _BY_RECORDS:
            verdicts[stage] = NOT_JUDGED[stage]
        else:
            baseline = next(iter(over))
            gain = Gain.of(over[baseline])
            good: Code = "level" if stage == "records" else "won"
            bad: Code = "harmful" if stage == "records" else "unproven"
            of = means.get("own" if gain.own else "others", {})
            verdicts[stage] = Verdict(
                on,
                good if on else bad,
                found.get("stage", ""),
                baseline,
                gain,
                of.get(found.get("stage", "")),
                of.get(baseline),
            )
    return Gate(verdicts, "", means)
