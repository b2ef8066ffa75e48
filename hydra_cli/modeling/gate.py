"""The gate: of all whole pipelines, each user gets the one that is expected to answer best.

Outcomes are qualities in [0, 1] of several pipelines on the same held-out
queries. A pipeline's gain is its paired difference to another. Gains are read
hierarchically: users scatter around the population's gain, a user's own few
outcomes around the user's gain, both normal, so that a user with little
evidence is judged mostly by the others (normal-normal shrinkage; Gelman et
al., Bayesian Data Analysis, section 5.4). What counts is the sign of the
expected gain, after the price of the calls: the choice with the least expected
regret (docs/design/gate.md).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from hydra_cli.core.files import name_of
from hydra_cli.core.plan import MOST_ANSWERS
from hydra_cli.core.verdicts import CONTROLS, NOT_JUDGED, Answers, Code, Gain, Gate, Stage, Verdict

Pipeline = Literal[
    "plain", "rag", "rerank", "adapt1", "rerank+adapt1", "adapt", "rerank+adapt",
    "majority", "knn", "adapt0", "lead",
]  # fmt: skip
"""What can answer a held-out query.

``plain`` and ``rag`` are the LLM's greedy answers without and with the first
stage's evidence, ``rerank`` the one with reranked evidence. ``adapt`` is the
adapter's choice among all answers on the first stage's evidence, ``adapt1`` by
the greedy answer alone (labels and ratings), ``rerank+`` the same on reranked
evidence. No LLM is asked by ``adapt0``, the adapter alone, nor by the controls
``majority`` and ``knn``; ``lead``, the query's opening words, is only a rival.
"""

ASKED: tuple[Pipeline, ...] = (
    "rag", "plain", "rerank", "adapt1", "rerank+adapt1", "adapt", "rerank+adapt"
)  # fmt: skip
"""Pipelines with an LLM, in the order in which each must beat the best before it."""
FREE: tuple[Pipeline, ...] = ("adapt0", *CONTROLS)
"""Those without, the same way."""

PRICE = 0.005
"""What a call, or a stage, must be expected to win, in standard deviations of the qualities."""
SURE = 0.7
"""How probable a gain must be to be called one, rather than no loss."""
HARM = 0.05
"""A gain less probable than this is called a loss, not just unproven."""

SCEPTIC_SD = 0.1
"""Prior standard deviation of a population's gain, around zero."""
SPREAD_SD = 0.05
"""Users' spread around the population where too few users show it."""
LASTING, MOOD = 0.25, 8
"""How much of users' spread on records that follow each other stays theirs, and how many
records the rest goes on for (docs/design/histories.md)."""
FEWEST = 3
"""A user's own outcomes count from so many on, where others' are there: fewer tell luck."""
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
    quality: Mapping[Pipeline, float]


def decide(
    own: Sequence[Outcome], population: Sequence[Outcome], *, answers: int = MOST_ANSWERS
) -> Gate:
    """The pipeline that one user is expected to be served best by.

    ``own`` are the user's held-out outcomes (none for a user without a fit: the
    population decides), ``population`` those of other users; ``answers`` is how
    many ``adapt`` chose among. Pipelines meet one after another, the cheap before the
    costly, and the newcomer must be expected to win more than it costs. The best
    one with an LLM gives the stages' verdicts; for labels and ratings it must then
    be worth its calls beside the best one without, which may be a control. Where
    no LLM was asked, the adapter of labels and ratings is judged beside the controls;
    what nothing could judge is untested.
    """
    others = [o for o in population if o.user not in {o.user for o in own}]
    judge = _Judge(own, others, answers)
    asked, free = judge.best(ASKED), judge.best(FREE)
    records, rerank, adapt = NOT_JUDGED["records"], NOT_JUDGED["rerank"], NOT_JUDGED["adapt"]
    if asked is not None:
        records = _records(judge, asked)
        rerank = judge.stage("rerank", asked)
        adapt = judge.stage("adapt", asked)
        adapt = replace(adapt, rival=judge.rival(asked))
        if not records.on:
            rerank = adapt = Verdict(False, "unused")
    elif free is not None and judge.ran(*FREE[:1]):
        adapt = judge.adapter_alone(free)
    return Gate(
        {"records": records, "rerank": rerank, "adapt": adapt},
        quality={"own": _means(judge.own), "others": _means(judge.others)},
        answers=_answers(judge, asked, free),
    )


_WITHOUT: dict[Stage, dict[Pipeline, Pipeline]] = {
    "rerank": {"rerank": "rag", "rerank+adapt1": "adapt1", "rerank+adapt": "adapt"},
    "adapt": {
        "adapt": "rag", "adapt1": "rag", "rerank+adapt": "rerank", "rerank+adapt1": "rerank"
    },
}  # fmt: skip
"""Each pipeline that has a stage, with what it would answer without it."""


def _records(judge: _Judge, asked: Pipeline) -> Verdict:
    """Whether records are shown: on unless the plain prompt is the best one."""
    shown = judge.best([m for m in ASKED if m != "plain"]) if asked == "plain" else asked
    if shown is None or not judge.ran(shown, "plain"):
        return NOT_JUDGED["records"]
    if asked != "plain":
        return judge.verdict(True, shown, "plain")
    return replace(judge.verdict(False, shown, "plain"), code="harmful")


def _answers(judge: _Judge, asked: Pipeline | None, free: Pipeline | None) -> Answers | None:
    """How many of the LLM's answers a query is worth; None where that is open.

    That is so for free text, and where nobody asked an LLM and no control is ahead.
    """
    if free is None:
        return None
    if asked is None:
        return judge.answers(0, free, "adapt0") if free in CONTROLS else None
    if judge.ran(asked, free) and judge.beats(asked, free):
        return judge.answers(judge.calls(asked), asked, free)
    return judge.answers(0, free, asked)


@dataclass(frozen=True, slots=True)
class _Judge:
    """The evidence about one user, and what it says about two pipelines."""

    own: Sequence[Outcome]
    others: Sequence[Outcome]
    many: int

    def ran(self, *methods: Pipeline) -> bool:
        return any(all(m in o.quality for m in methods) for o in (*self.own, *self.others))

    def gain(self, method: Pipeline, baseline: Pipeline) -> Gain:
        return gain_of(self.own, self.others, stage=method, baseline=baseline)

    def calls(self, method: Pipeline) -> int:
        """LLM answers that a query costs."""
        if method in ("adapt", "rerank+adapt"):
            return self.many
        return int(method in ASKED)

    def best(self, methods: Sequence[Pipeline]) -> Pipeline | None:
        """The last one standing; None where none of them ran."""
        found: Pipeline | None = None
        for method in methods:
            if found is None:
                found = method if self.ran(method) else None
            elif self.ran(method, found) and self.beats(method, found):
                found = method
        return found

    def beats(self, method: Pipeline, baseline: Pipeline) -> bool:
        """Whether the method is expected to win more than its further calls cost.

        A stage or control that asks for no more must win the price of one, so that
        what does nothing at all stays out.
        """
        extra = max(self.calls(method) - self.calls(baseline), 1)
        qualities = [o.quality[baseline] for o in (*self.own, *self.others)
                     if baseline in o.quality]  # fmt: skip
        return self.gain(method, baseline).mean > PRICE * _scale(qualities) * extra

    def stage(self, stage: Stage, used: Pipeline) -> Verdict:
        """A stage's verdict, from the pipelines that have it with what they are without it.

        On where the one in use has it.
        """
        without = _WITHOUT[stage]
        if (less := without.get(used)) is not None:
            return (
                self.verdict(True, used, less)
                if self.ran(used, less)
                else Verdict(True, "untested")
            )
        more = next((m for m, less in without.items() if less == used and self.ran(m, used)), None)
        return NOT_JUDGED[stage] if more is None else self.verdict(False, more, used)

    def adapter_alone(self, free: Pipeline) -> Verdict:
        """The adapter's verdict where no LLM was asked: beside the hardest control."""
        controls: list[Pipeline] = [c for c in CONTROLS if self.ran("adapt0", c)]
        if not controls:
            return NOT_JUDGED["adapt"]
        hardest = min(controls, key=lambda control: self.gain("adapt0", control).mean)
        return self.verdict(free == "adapt0", "adapt0", hardest)

    def rival(self, used: Pipeline) -> str:
        """What is only named: the query's own opening words, where they do better."""
        ahead = self.ran(used, "lead") and self.gain(used, "lead").mean < 0.0
        return "lead" if ahead else ""

    def verdict(self, on: bool, method: Pipeline, baseline: Pipeline) -> Verdict:
        gain = self.gain(method, baseline)
        code: Code = "won" if gain.probability >= SURE else "level"
        if not on:
            code = "harmful" if gain.probability < HARM else "unproven"
        return Verdict(on, code, method, baseline, gain, *self._means(method, baseline, gain))

    def answers(self, n: int, method: Pipeline, baseline: Pipeline) -> Answers:
        if not self.ran(method, baseline):
            return Answers(n, method)
        gain = self.gain(method, baseline)
        return Answers(n, method, baseline, gain, *self._means(method, baseline, gain))

    def _means(self, method: Pipeline, baseline: Pipeline, gain: Gain) -> tuple[float, float]:
        """Of both, over the user's own outcomes where there are any."""
        of = self.own if gain.own else self.others
        paired = [o.quality for o in of if method in o.quality and baseline in o.quality]
        means = [round(sum(q[m] for q in paired) / len(paired), 4) for m in (method, baseline)]
        return means[0], means[1]


def pseudonym(base: str, user: str) -> str:
    """Who an outcome in a base's card belongs to, without their name: a hash of both."""
    return name_of(f"{base}\0{user}")


def with_outcomes(
    held_out: Mapping[str, Any],
    evidence: str,
    outcomes: Sequence[Outcome],
    *,
    of_another: bool = False,
) -> dict[str, Any]:
    """A base's ``Card.held_out`` with these outcomes of one kind, others' left as they are.

    ``of_another`` says that they are those of the base before.
    """
    kept = dict(held_out.get("evidence", {}))
    kept[evidence] = [[outcome.user, dict(outcome.quality)] for outcome in outcomes]
    taken = {name for name in held_out.get("taken_over", ()) if name != evidence}
    taken |= {evidence} if of_another else set()
    return {"evidence": kept, "taken_over": sorted(taken)} if taken else {"evidence": kept}


def judged_itself(held_out: Mapping[str, Any], evidence: str) -> bool:
    """Whether the card has outcomes of one kind, and they aren't those of the base before."""
    taken = evidence in held_out.get("taken_over", ())
    return bool(kept_outcomes(held_out, evidence)) and not taken


def kept_outcomes(held_out: Mapping[str, Any], evidence: str) -> tuple[Outcome, ...]:
    """The outcomes of one kind in a base's card. Kinds never mix.

    A base of 0.1 doesn't say whose its outcomes are: it has none to count on.
    """
    kept = held_out.get("evidence", {}).get(evidence, [])
    return tuple(Outcome(user, _renamed(quality)) for user, quality in kept)


def _renamed(quality: Mapping[Pipeline, float]) -> Mapping[Pipeline, float]:
    """Cards before whole pipelines were compared: the adapter alone had no name of its own."""
    if "adapt" in quality and "rag" not in quality:
        return {"adapt0" if method == "adapt" else method: q for method, q in quality.items()}
    return quality


def gain_of(
    own: Sequence[Outcome], others: Sequence[Outcome], *, stage: Pipeline, baseline: Pipeline
) -> Gain:
    """What is believed of one user's gain, after the others' and the user's own outcomes.

    Users' true gains are normal(mu, tau^2), outcomes scatter by sigma^2 around
    them. mu and tau^2 come from the others by the method of moments
    (DerSimonian and Laird, 1986), mu with a sceptic's prior at zero. Held-out
    records follow each other, so most of tau^2 is a mood that passes, and ``LASTING``
    of it is the user's.
    """
    by_user: dict[str, list[float]] = {}
    for outcome in others:
        if (difference := _difference(outcome, stage, baseline)) is not None:
            by_user.setdefault(outcome.user, []).append(difference)
    mine = [d for outcome in own if (d := _difference(outcome, stage, baseline)) is not None]
    if by_user and len(mine) < FEWEST:
        mine = []
    scale = _scale([o.quality[baseline] for o in (*own, *others) if baseline in o.quality])
    noise = _noise([*by_user.values(), mine], scale)
    spread = _spread(list(by_user.values()), noise)
    precision = [1.0 / (spread + noise / len(gains)) for gains in by_user.values()]
    means = [sum(gains) / len(gains) for gains in by_user.values()]
    total = sum(precision) + 1.0 / SCEPTIC_SD**2
    mu = sum(p * m for p, m in zip(precision, means, strict=True)) / total
    lasting = LASTING * spread
    prior = lasting + 1.0 / total
    heard = len(mine) / (noise + (spread - lasting) * min(len(mine), MOOD))
    posterior = 1.0 / prior + heard
    mean = (mu / prior + heard * sum(mine) / max(len(mine), 1)) / posterior
    counted = sum(len(gains) for gains in by_user.values())
    return Gain(mean, math.sqrt(1.0 / posterior), len(mine), counted)


def _difference(outcome: Outcome, stage: Pipeline, baseline: Pipeline) -> float | None:
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
    """The variance of users' gains around the population's (DerSimonian and Laird).

    A lone outcome can't tell its user from its noise, so it doesn't count here.
    """
    groups = [gains for gains in groups if len(gains) > 1]
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
