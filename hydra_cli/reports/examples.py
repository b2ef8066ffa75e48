"""Answers side by side: where the judged method won most, and where it lost most."""

from __future__ import annotations

from dataclasses import dataclass

from hydra_cli.evaluation.questions import Key
from hydra_cli.evaluation.results import MethodResult, TaskResult
from hydra_cli.evaluation.verdict import judged
from hydra_cli.reports.words import grade

EACH = 3
LONGEST = 600
"""Characters of a query that are shown."""

RULE = (
    f"The {EACH} queries where {{ours}}'s grade exceeds {{best}}'s the most, and the {EACH} where "
    "it falls short the most; equal ones in the order of the data; answers of the first seed."
)


@dataclass(frozen=True, slots=True)
class Answered:
    """One method's answer and its grade in words."""

    method: str
    text: str
    grade: str


@dataclass(frozen=True, slots=True)
class Example:
    """One query with what was wanted and what was answered."""

    won: bool
    query: str
    reference: str
    answers: tuple[Answered, ...]


def examples(result: TaskResult) -> tuple[str, list[Example]]:
    """The rule, and the examples it picks; none where nothing can be compared."""
    ours, best = judged(result), result.methods.get(result.best_prompt_based or "")
    if ours is None or best is None:
        return "", []
    mine, theirs = _first_seed(ours), _first_seed(best)
    differences = {
        key: mine[key][1] - theirs[key][1]
        for key in result.texts
        if key in mine and key in theirs and mine[key][1] != theirs[key][1]
    }
    ranked = sorted(differences, key=lambda key: -differences[key])
    won = [key for key in ranked if differences[key] > 0][:EACH]
    ranked = sorted(differences, key=lambda key: differences[key])
    lost = [key for key in ranked if differences[key] < 0][:EACH]
    found = []
    for key in (*won, *lost):
        answers = tuple(
            Answered(method.name, texts[key][0], grade(result, texts[key][1]))
            for method, texts in ((best, theirs), (ours, mine))
        )
        found.append(
            Example(differences[key] > 0, cut(result.texts[key]), result.references[key], answers)
        )
    return RULE.format(ours=ours.name, best=best.name), found


def cut(text: str) -> str:
    """The text's start, up to a whole word."""
    if len(text) <= LONGEST:
        return text
    return text[:LONGEST].rsplit(maxsplit=1)[0] + " …"


def _first_seed(method: MethodResult) -> dict[Key, tuple[str, float]]:
    found: dict[Key, tuple[str, float]] = {}
    for prediction in method.predictions:
        found.setdefault(prediction.key, (prediction.text, prediction.quality))
    return found
