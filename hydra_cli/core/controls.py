"""Answers that need no LLM: what any personalization of a closed task has to beat.

With a small LLM these controls beat retrieval-augmented prompts, so a
comparison without them flatters.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable, Sequence

from hydra_cli.core.records import QueryContext, Record
from hydra_cli.core.retrieval import retrieve
from hydra_cli.core.tasks import TaskSpec

NEIGHBOURS = 4


def majority(context: QueryContext, task: TaskSpec) -> str | None:
    """The user's most frequent label, or their median rating; None without a history."""
    return _settle(context.history.records, task)


def nearest_vote(context: QueryContext, task: TaskSpec, *, k: int = NEIGHBOURS) -> str | None:
    """The label most frequent among the k most similar records, or their median rating."""
    near = [scored.item for scored in retrieve(context, how="dense", k=k)]
    return _settle(near, task)


def lead(context: QueryContext) -> str:
    """The query's opening words, half as many again as the user's outputs have on average.

    What ROUGE pays for copying alone: a control for free text, never an answer.
    """
    lengths = [len(record.output.split()) for record in context.history.records]
    count = round(1.5 * sum(lengths) / len(lengths)) if lengths else 0
    return " ".join(context.query.text.split()[: max(count, 1)])


def answer_of(control: str, context: QueryContext, task: TaskSpec) -> str | None:
    """The named control's label; None without a history, KeyError for an unknown name."""
    return CONTROLS[control](context, task)


def _settle(records: Sequence[Record], task: TaskSpec) -> str | None:
    """One label for several records; of equally frequent ones, the one seen first."""
    if not records:
        return None
    if task.kind == "rating":
        middle = statistics.median_low(sorted(float(record.output) for record in records))
        return next((r.output for r in records if float(r.output) == middle), None)
    return Counter(record.output for record in records).most_common(1)[0][0]


CONTROLS: dict[str, Callable[[QueryContext, TaskSpec], str | None]] = {
    "majority": majority,
    "knn": nearest_vote,
}
"""Those of closed tasks, by the names that the gate has for them."""
