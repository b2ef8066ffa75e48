"""What stopping early would have saved and lost: recorded answers replayed in their order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hydra_cli.core.records import Candidate
from hydra_cli.core.sequential import Score, StopRule, margin


@dataclass(frozen=True, slots=True)
class Trace:
    """All answers to one dev query in the order in which they came, and their quality."""

    candidates: tuple[Candidate, ...]
    quality: tuple[float, ...]
    score: Score

    def __post_init__(self) -> None:
        if len(self.candidates) != len(self.quality) or not self.candidates:
            raise ValueError("a trace wants one quality for each of its candidates")


@dataclass(frozen=True, slots=True)
class Tradeoff:
    """What a margin means on the dev queries: answers asked for, quality of the winners."""

    rule: StopRule
    answers: float
    quality: float
    saved: float
    """The share of answers that were not asked for."""
    lost: float
    """Quality lost against asking for all; negative where stopping early was better."""


def tradeoffs(
    traces: Sequence[Trace], margins: Sequence[float], *, least: int = 2, step: int = 2
) -> list[Tradeoff]:
    """Replay the traces under each margin."""
    if not traces:
        return []
    replays = [_replay(trace, StopRule(0.0, least, step)) for trace in traces]
    everything = sum(len(trace.candidates) for trace in traces)
    full = sum(steps[-1][2] for steps in replays) / len(traces)
    found = []
    for value in margins:
        stops = [
            next((s for s in steps if s[0] >= least and s[1] >= value), steps[-1])
            for steps in replays
        ]
        asked = sum(count for count, _, _ in stops)
        quality = sum(q for _, _, q in stops) / len(traces)
        found.append(
            Tradeoff(
                rule=StopRule(value, least, step),
                answers=asked / len(traces),
                quality=quality,
                saved=1 - asked / everything,
                lost=full - quality,
            )
        )
    return found


def calibrate(found: Sequence[Tradeoff], *, tolerance: float) -> Tradeoff | None:
    """The margin that saves most with no more than ``tolerance`` of quality lost, if any does."""
    allowed = [item for item in found if item.lost <= tolerance]
    return max(allowed, key=lambda item: (item.saved, -item.lost), default=None)


def _replay(trace: Trace, rule: StopRule) -> list[tuple[int, float, float]]:
    """(answers, margin, quality of the winner) after each step."""
    quality = dict(zip(trace.candidates, trace.quality, strict=True))
    steps = []
    for count in rule.counts(len(trace.candidates)):
        scored = list(trace.score(trace.candidates[:count]))
        winner = max(scored, key=lambda item: item.score).item
        steps.append((count, margin(scored), quality[winner]))
    return steps
