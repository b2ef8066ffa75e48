"""Whether personalization helped on a task: two mean qualities, and what chance could do."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from hydra_cli.core.statistics import Estimate
from hydra_cli.evaluation.results import MethodResult, TaskResult

OURS = "hydra-pers"
FEW_QUERIES, FEW_USERS = 100, 30
NEEDED_USERS = 6
"""Users that must differ before chance is ruled out: a sign test can't reach 5 % on fewer."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """One method against the better of best prompt and best answer without an LLM.

    By mean quality in [0, 1]; ``needs_llm`` tells which of the two stands against it.
    ``visible`` is half the width of the difference's interval: what is smaller
    doesn't show on so few queries; nan where it is unknown.
    """

    method: str
    against: str
    ours: float
    theirs: float
    difference: Estimate
    beyond_chance: bool
    needs_llm: bool = True

    @property
    def visible(self) -> float:
        half = (self.difference.high - self.difference.low) / 2
        return half if half > 0 else math.nan


def verdict_on(result: TaskResult) -> Verdict | None:
    """``hydra-pers``, else the first personalized method; None where nothing can be compared."""
    method = judged(result)
    best = result.methods.get(result.best.get("either") or "")
    if method is None or best is None or method.better is None:
        return None
    found = method.better
    mine, theirs = user_means(method), user_means(best)
    differ = sum(mine[user] != theirs[user] for user in mine.keys() & theirs.keys())
    beyond = (found.low > 0 or found.high < 0) and differ >= NEEDED_USERS
    needs_llm = best.family != "no LLM"
    return Verdict(method.name, best.name, method.quality, best.quality, found, beyond, needs_llm)


def judged(result: TaskResult) -> MethodResult | None:
    """The method that a verdict is about."""
    personal = [m for m in result.methods.values() if m.family == "personalized"]
    return result.methods.get(OURS) or next(iter(personal), None)


def is_few(result: TaskResult) -> bool:
    """Whether there are so few queries or users that a reader must be told."""
    return result.queries < FEW_QUERIES or result.users < FEW_USERS


def user_means(method: MethodResult) -> Mapping[str, float]:
    """Each user's mean quality."""
    grades: dict[str, list[float]] = {}
    for prediction in method.predictions:
        grades.setdefault(prediction.key[0], []).append(prediction.quality)
    return {user: sum(found) / len(found) for user, found in grades.items()}
