"""Best-of-n in small steps: stop asking once the winner is clear.

A rule compares the best answer with the best one that says something else.
Its margin is chosen on dev users, by replaying the order in which their
answers came: how many calls it would have saved, at what loss of quality.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass

from hydra_cli.core.records import Candidate, Scored

Score = Callable[[Sequence[Candidate]], Sequence[Scored[Candidate]]]
"""Candidates, scored; higher is better. A score may depend on the other candidates."""


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
    score: Score, *, most: int, rule: StopRule
) -> Generator[int, Sequence[Candidate], list[Scored[Candidate]]]:
    """Yields how many candidates are wanted, is sent all of them, those of earlier steps first.

    The scored candidates come back, best first, as few as the rule allows. Where fewer
    are sent than were wanted, that is the end. Ties go to the candidate that came first.
    """
    scored: list[Scored[Candidate]] = []
    for count in rule.counts(most):
        candidates = yield count
        scored = list(score(candidates))
        if len(candidates) < count or rule.settled(scored):
            break
    return sorted(scored, key=lambda item: -item.score)
