"""Best-of-n in small steps: stop asking once the winner is clear.

A rule compares the best answer with the best one that says something else.
Its margin is chosen on dev users, by replaying the order in which their
answers came: how many calls it would have saved, at what loss of quality.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hydra_cli.core.records import Candidate, Scored

Score = Callable[[Sequence[Candidate]], Sequence[Scored[Candidate]]]
"""Candidates, scored; higher is better. A score may depend on the other candidates."""

Draw = Callable[[int], Sequence[Candidate]]
"""All candidates up to the given number, those of earlier steps first."""


@dataclass(frozen=True, slots=True)
class StopRule:
    """Stop at ``margin``, after ``least`` answers or more; ask for ``step`` at a time."""

    margin: float
    least: int = 2
    step: int = 2

    def __post_init__(self) -> None:
        if self.least < 1 or self.step < 1:
            raise ValueError(f"least and step must be positive, not {self.least} and {self.step}")

    def settled(self, scored: Sequence[Scored[Candidate]]) -> bool:
        return len(scored) >= self.least and margin(scored) >= self.margin

    def counts(self, most: int) -> list[int]:
        """How many answers there are after each step, ``most`` at the end."""
        first = min(self.least, most)
        return [*range(first, most, self.step), most] if most else []


def margin(scored: Sequence[Scored[Candidate]]) -> float:
    """The winner's lead over the best different text; infinite where all say the same."""
    if not scored:
        return float("-inf")
    winner = max(scored, key=lambda item: item.score)
    others = [item.score for item in scored if item.item.text != winner.item.text]
    return winner.score - max(others) if others else float("inf")


def draw_until_clear(
    draw: Draw, score: Score, *, most: int, rule: StopRule
) -> list[Scored[Candidate]]:
    """The scored candidates, best first, of which there are as few as the rule allows.

    ``draw`` may return fewer than it was asked for; then that is the end.
    Ties go to the candidate that came first.
    """
    scored: list[Scored[Candidate]] = []
    for count in rule.counts(most):
        candidates = list(draw(count))
        scored = list(score(candidates))
        if len(candidates) < count or rule.settled(scored):
            break
    return sorted(scored, key=lambda item: -item.score)


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
