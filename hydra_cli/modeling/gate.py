"""The gate: a stage is kept for a user only where it wins beyond its noise.

Outcomes are qualities in [0, 1] of several methods on the same held-out
queries. A stage's gain is its paired difference to what would be answered
without it. Gains are read hierarchically: users scatter around the
population's gain, a user's own few outcomes around the user's gain, both
normal, so that a user with little evidence is judged mostly by the others
(normal-normal shrinkage; Gelman et al., Bayesian Data Analysis, section 5.4).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from hydra_cli.core.files import name_of
from hydra_cli.core.verdicts import UNTESTED, Code, Gain, Gate, Verdict

Method = Literal[
    "plain", "rag", "majority", "knn", "rerank", "adapt", "rerank+adapt", "records", "reranked"
]
"""What can answer a held-out query.

``plain`` and ``rag`` are the LLM's greedy answers without and with the first
stage's evidence; ``majority`` and ``knn`` ask no LLM; ``rerank`` is the
greedy answer with reranked evidence; ``adapt`` is the adapter's choice with
the first stage's evidence, ``rerank+adapt`` with reranked evidence.
``records`` and ``reranked`` stand in where no LLM was asked: how well the
outputs of the shown records themselves match, before and after reranking.
"""

CONTROLS: tuple[Method, ...] = ("majority", "knn")
CONFIDENCE = 0.7
"""How probable a gain must be for its stage to stay."""
HARM = 0.05
"""A gain less probable than this is called a loss, not just unproven."""

SCEPTIC_SD = 0.1
"""Prior standard deviation of a population's gain, around zero."""
SPREAD_SD = 0.05
"""Users' spread around the population where too few users show it."""
NOISE_SD, LEAST_SD, NOISE_WEIGHT = 0.3, 0.15, 4.0
"""Prior standard deviation of one paired difference, at most and at least, and its weight.

Within these bounds it is the scatter of the qualities themselves.

Keeps three lucky outcomes that agree from looking like certainty.
"""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How well each method answered one held-out query, in [0, 1]; higher is better.

    Methods that were not run are absent.
    """

    user: str
    quality: Mapping[Method, float]


def decide(
    own: Sequence[Outcome], population: Sequence[Outcome], *, confidence: float = CONFIDENCE
) -> Gate:
    """The stages that earn their place for one user.

    ``own`` are the user's held-out outcomes (none for a user without a fit:
    the population decides), ``population`` those of other users. The reranker
    must beat ``rag`` (``records`` where no LLM was asked); the adapter must
    beat what ask would give without it. A control that asks no LLM and does
    better still is named as its rival. Where no LLM was asked, the adapter must
    not fall behind the controls. Where the plain prompt beats what all this
    leads to, no record is shown. A stage that nothing could judge stays on.
    """
    judge = _Judge(own, [o for o in population if o.user not in {o.user for o in own}], confidence)
    if judge.ran("rag", "rerank"):
        rerank = judge.wins("rerank", "rag")
    else:
        rerank = judge.wins("reranked", "records")
    after: Method = "rerank+adapt" if rerank.on and judge.ran("rerank+adapt") else "adapt"
    without: Method = "rerank" if rerank.on and judge.ran(after, "rerank") else "rag"
    if judge.ran(after, without):
        adapt = judge.wins(after, without)
        for rival in CONTROLS:
            if adapt.on and judge.ran(after, rival):
                gain = judge.gain(after, rival)
                # Ahead of what ask would fall back to, so switching it off would lose more.
                if gain.probability < 1.0 - confidence:
                    adapt = replace(adapt, rival=rival)
    else:
        # No LLM was asked: level with the best control is enough to go on.
        adapt = judge.level(after, CONTROLS)
    # Showing records is the rule, so the plain prompt has to be better, not just as good.
    used = after if adapt.on and judge.ran(after) else without
    records = judge.level(used, ("plain",))
    if not records.on:
        rerank = adapt = Verdict(False, "unused")
    return Gate(
        {"records": records, "rerank": rerank, "adapt": adapt},
        quality={"own": _means(judge.own), "others": _means(judge.others)},
    )


@dataclass(frozen=True, slots=True)
class _Judge:
    """The evidence about one user, and what it says about one stage."""

    own: Sequence[Outcome]
    others: Sequence[Outcome]
    confidence: float

    def ran(self, *methods: Method) -> bool:
        return any(all(m in o.quality for m in methods) for o in (*self.own, *self.others))

    def gain(self, stage: Method, baseline: Method) -> Gain:
        return gain_of(self.own, self.others, stage=stage, baseline=baseline)

    def wins(self, stage: Method, baseline: Method) -> Verdict:
        """On where a gain is probable."""
        if not self.ran(stage, baseline):
            return UNTESTED
        gain = self.gain(stage, baseline)
        on = gain.probability >= self.confidence
        harmful = gain.probability < HARM
        return self._verdict(on, "won" if on else "harmful" if harmful else "unproven",
                             stage, baseline, gain)  # fmt: skip

    def level(self, stage: Method, baselines: Sequence[Method]) -> Verdict:
        """On unless a loss against the hardest baseline is probable."""
        gains = {b: self.gain(stage, b) for b in baselines if self.ran(stage, b)}
        if not gains:
            return UNTESTED
        # The hardest baseline is the one over which the gain is smallest.
        baseline, gain = min(gains.items(), key=lambda pair: pair[1].mean)
        on = gain.probability >= 1.0 - self.confidence
        won = gain.probability >= self.confidence
        return self._verdict(on, "won" if won else "level" if on else "harmful",
                             stage, baseline, gain)  # fmt: skip

    def _verdict(
        self, on: bool, code: Code, stage: Method, baseline: Method, gain: Gain
    ) -> Verdict:
        of = self.own if gain.own else self.others
        paired = [o.quality for o in of if stage in o.quality and baseline in o.quality]
        quality, without = (
            round(sum(q[m] for q in paired) / len(paired), 4) for m in (stage, baseline)
        )
        return Verdict(on, code, stage, baseline, gain, quality, without)


def pseudonym(base: str, user: str) -> str:
    """Who an outcome in a base's card belongs to, without their name: a hash of both."""
    return name_of(f"{base}\0{user}")


def with_outcomes(
    held_out: Mapping[str, Any], evidence: str, outcomes: Sequence[Outcome]
) -> dict[str, Any]:
    """A base's ``Card.held_out`` with these outcomes of one kind, others' left as they are."""
    kept = dict(held_out.get("evidence", {}))
    kept[evidence] = [[outcome.user, dict(outcome.quality)] for outcome in outcomes]
    return {"evidence": kept}


def kept_outcomes(held_out: Mapping[str, Any], evidence: str) -> tuple[Outcome, ...]:
    """The outcomes of one kind in a base's card. Kinds never mix.

    A base of 0.1 doesn't say whose its outcomes are: it has none to count on.
    """
    kept = held_out.get("evidence", {}).get(evidence, [])
    return tuple(Outcome(user, quality) for user, quality in kept)


def gain_of(
    own: Sequence[Outcome], others: Sequence[Outcome], *, stage: Method, baseline: Method
) -> Gain:
    """What is believed of one user's gain, after the others' and the user's own outcomes.

    Users' true gains are normal(mu, tau^2), outcomes scatter by sigma^2 around
    them. mu and tau^2 come from the others by the method of moments
    (DerSimonian and Laird, 1986), mu with a sceptic's prior at zero.
    """
    by_user: dict[str, list[float]] = {}
    for outcome in others:
        if (difference := _difference(outcome, stage, baseline)) is not None:
            by_user.setdefault(outcome.user, []).append(difference)
    mine = [d for outcome in own if (d := _difference(outcome, stage, baseline)) is not None]
    scale = _scale([o.quality[baseline] for o in (*own, *others) if baseline in o.quality])
    noise = _noise([*by_user.values(), mine], scale)
    spread = _spread(list(by_user.values()), noise)
    precision = [1.0 / (spread + noise / len(gains)) for gains in by_user.values()]
    means = [sum(gains) / len(gains) for gains in by_user.values()]
    total = sum(precision) + 1.0 / SCEPTIC_SD**2
    mu = sum(p * m for p, m in zip(precision, means, strict=True)) / total
    prior = spread + 1.0 / total
    posterior = 1.0 / prior + len(mine) / noise
    mean = (mu / prior + sum(mine) / noise) / posterior
    counted = sum(len(gains) for gains in by_user.values())
    return Gain(mean, math.sqrt(1.0 / posterior), len(mine), counted)


def _difference(outcome: Outcome, stage: Method, baseline: Method) -> float | None:
    if stage not in outcome.quality or baseline not in outcome.quality:
        return None
    return outcome.quality[stage] - outcome.quality[baseline]


def _scale(qualities: Sequence[float]) -> float:
    """How far qualities scatter at all: right or wrong is .5, ROUGE of headlines .1."""
    if len(qualities) < 3:
        return NOISE_SD
    mean = sum(qualities) / len(qualities)
    spread = math.sqrt(sum((q - mean) ** 2 for q in qualities) / (len(qualities) - 1))
    return min(NOISE_SD, max(spread, LEAST_SD)) if spread > 0 else NOISE_SD


def _noise(groups: Sequence[Sequence[float]], scale: float) -> float:
    """The variance of one outcome around its user's gain, pooled over users."""
    squares, freedom = NOISE_WEIGHT * scale**2, NOISE_WEIGHT
    for gains in groups:
        if len(gains) > 1:
            mean = sum(gains) / len(gains)
            squares += sum((gain - mean) ** 2 for gain in gains)
            freedom += len(gains) - 1
    return squares / freedom


def _spread(groups: Sequence[Sequence[float]], noise: float) -> float:
    """The variance of users' gains around the population's (DerSimonian and Laird)."""
    if len(groups) < 3:
        return SPREAD_SD**2
    weights = [len(gains) / noise for gains in groups]
    means = [sum(gains) / len(gains) for gains in groups]
    total = sum(weights)
    centre = sum(w * m for w, m in zip(weights, means, strict=True)) / total
    scatter = sum(w * (m - centre) ** 2 for w, m in zip(weights, means, strict=True))
    scale = total - sum(w * w for w in weights) / total
    return max((scatter - (len(groups) - 1)) / scale, 0.0) if scale > 0 else SPREAD_SD**2


def _means(outcomes: Sequence[Outcome]) -> dict[str, float]:
    """Each method's mean quality."""
    found: dict[str, list[float]] = {}
    for outcome in outcomes:
        for method, quality in outcome.quality.items():
            found.setdefault(method, []).append(quality)
    return {method: round(sum(q) / len(q), 4) for method, q in sorted(found.items())}
