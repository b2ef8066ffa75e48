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
from dataclasses import dataclass, field
from typing import Any, Literal

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
STAGE_NAMES = ("reranker", "adapter")
CONFIDENCE = 0.7
"""How probable a gain must be for its stage to stay."""

UNJUDGED = "no answers to held-out records to judge it by (`fit --supervision llm` asks for them)"

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


@dataclass(frozen=True, slots=True)
class GateDecision:
    """Which stages to use for a user, the reasons in words, and all of it for the card.

    ``records`` False means the plain prompt: no record is shown, so neither
    stage acts. ``lines`` are the reasons for reranker and adapter, and for the
    records where plain answers were there to judge them by. ``card`` is what
    goes into ``Card.gate``: ``records``, ``rerank`` and ``adapt`` (bool), each
    one's reason, the gains and every method's mean.
    """

    rerank: bool
    adapt: bool
    records: bool
    lines: tuple[str, ...]
    card: dict[str, Any] = field(default_factory=dict)


def decide(
    own: Sequence[Outcome], population: Sequence[Outcome], *, confidence: float = CONFIDENCE
) -> GateDecision:
    """The stages that earn their place for one user.

    ``own`` are the user's held-out outcomes (none for a user without a fit:
    the population decides), ``population`` those of other users. The reranker
    must beat ``rag`` (``records`` where no LLM was asked); the adapter must
    beat what ask would give without it. Where a control that asks no LLM does
    better still, the reason says so. Where no LLM was asked, the adapter must
    not fall behind the controls. Where the plain prompt beats what all this
    leads to, no record is shown. A stage that nothing could judge stays on,
    and the reason says that, too.
    """
    others = [outcome for outcome in population if outcome.user not in {o.user for o in own}]
    if _ran(own, others, "rag", "rerank"):
        rerank, rerank_line, rerank_card = _judge(own, others, "rerank", ("rag",), confidence)
    else:
        rerank, rerank_line, rerank_card = _judge(own, others, "reranked", ("records",), confidence)
    after: Method = "rerank+adapt" if rerank and _ran(own, others, "rerank+adapt") else "adapt"
    without: Method = "rerank" if rerank and _ran(own, others, after, "rerank") else "rag"
    if _ran(own, others, after, without):
        adapt, adapt_line, adapt_card = _judge(own, others, after, (without,), confidence)
    else:
        # No LLM was asked: level with the best control is enough to go on.
        adapt, adapt_line, adapt_card = _judge(own, others, after, CONTROLS, 1.0 - confidence)
    for rival in CONTROLS:
        if not adapt or f"over {rival}" in adapt_card or not _ran(own, others, after, rival):
            continue
        gain = gain_of(own, others, stage=after, baseline=rival)
        adapt_card[f"over {rival}"] = _figures(gain)
        if gain.probability < 1.0 - confidence:
            # Ahead of what ask would fall back to, so switching it off would lose more.
            adapt_line += f"; yet {rival}, which asks no LLM, does better ({_words(gain)})"
    records, records_line, records_card = True, "", {}
    used = after if adapt and _ran(own, others, after) else without
    if _ran(own, others, used, "plain"):
        gain = gain_of(own, others, stage=used, baseline="plain")
        records_card = {"stage": used, "over plain": _figures(gain)}
        # Showing records is the rule, so the plain prompt has to be better, not just as good.
        records = gain.probability > 1.0 - confidence
        verdict = "shown" if records else "off"
        records_line = f"records {verdict}: {_words(gain)} against plain"
    if not records:
        rerank = adapt = False
        rerank_line, adapt_line = (f"{name} off: no record is shown" for name in STAGE_NAMES)
    card = {
        "records": records,
        "rerank": rerank,
        "adapt": adapt,
        "records_reason": records_line,
        "rerank_reason": rerank_line,
        "adapt_reason": adapt_line,
        "gains": {"rerank": rerank_card, "adapt": adapt_card, "records": records_card},
        "confidence": confidence,
        "quality": _means(own, others),
    }
    lines = (rerank_line, adapt_line, *([records_line] if records_line else []))
    return GateDecision(rerank, adapt, records, lines, card)


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


def _judge(
    own: Sequence[Outcome],
    others: Sequence[Outcome],
    stage: Method,
    baselines: Sequence[Method],
    confidence: float,
) -> tuple[bool, str, dict[str, Any]]:
    name = "reranker" if stage in ("rerank", "reranked") else "adapter"
    gains = {
        baseline: gain_of(own, others, stage=stage, baseline=baseline)
        for baseline in baselines
        if _ran(own, others, stage, baseline)
    }
    if not gains:
        return True, f"{name} on, not judged: {UNJUDGED}", {"stage": stage}
    # The hardest baseline is the one over which the gain is smallest.
    baseline, gain = min(gains.items(), key=lambda pair: pair[1].mean)
    kept = gain.probability >= confidence
    verdict = "kept" if kept else "off"
    line = f"{name} {verdict}: {_words(gain)} against {baseline}"
    card: dict[str, Any] = {"stage": stage}
    card.update({f"over {other}": _figures(found) for other, found in gains.items()})
    return kept, line, card


def _ran(own: Sequence[Outcome], others: Sequence[Outcome], *methods: Method) -> bool:
    return any(all(m in o.quality for m in methods) for o in (*own, *others))


def _words(gain: Gain) -> str:
    return (
        f"gain {gain.mean:+.3f} ± {gain.sd:.3f}, above zero with {gain.probability:.0%}, "
        f"from {gain.own} own and {gain.others} other held-out queries"
    )


def _figures(gain: Gain) -> dict[str, float]:
    return {
        "mean": round(gain.mean, 4),
        "sd": round(gain.sd, 4),
        "probability": round(gain.probability, 4),
        "own": gain.own,
        "others": gain.others,
    }


def _means(own: Sequence[Outcome], others: Sequence[Outcome]) -> dict[str, dict[str, float]]:
    """Each method's mean quality, over the user's own outcomes and over the others'."""
    found: dict[str, dict[str, float]] = {}
    for name, outcomes in (("own", own), ("others", others)):
        sums: dict[str, list[float]] = {}
        for outcome in outcomes:
            for method, quality in outcome.quality.items():
                sums.setdefault(method, []).append(quality)
        found[name] = {m: round(sum(q) / len(q), 4) for m, q in sorted(sums.items())}
    return found
