"""For models that write on their own: the records to show them, a choice among their drafts.

No LLM of ours is asked; history, reranker and adapter are those that ``ask`` uses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from hydra_cli.core.errors import UsageError
from hydra_cli.core.protocols import Completion
from hydra_cli.core.records import Answer, Candidate, Query, Record, Scored, Usage
from hydra_cli.core.tasks import TaskSpec
from hydra_cli.core.verdicts import Standing
from hydra_cli.pipeline.answering import Draft
from hydra_cli.workflows.ask import Answering, Stopwatch


@dataclass(frozen=True, slots=True)
class Examples:
    """The records that ``ask`` would show for a query, best first; none where they harm."""

    query: Query
    task: TaskSpec
    records: tuple[Scored[Record], ...]
    standing: Standing


@dataclass(frozen=True, slots=True)
class Ranking:
    """Drafts in the user's order. ``scores`` and ``order`` count drafts from 0.

    A draft that names no label of a closed task has no score. Where the gate has the
    adapter off (``on``), its scores decide nothing: ``order`` is the one given.
    ``answer`` is the same as an answer that feedback can be given on.
    """

    query: Query
    task: TaskSpec
    drafts: tuple[str, ...]
    scores: tuple[float | None, ...]
    order: tuple[int, ...]
    on: bool
    standing: Standing
    answer: Answer

    @property
    def text(self) -> str:
        """The winner, as it was written."""
        return self.drafts[self.order[0]]


def examples(drafted: Draft) -> Examples:
    """The draft's records."""
    return Examples(
        drafted.context.query, drafted.task, drafted.evidence, drafted.personal.standing
    )


def rank(drafted: Draft, drafts: Sequence[str]) -> Ranking:
    """The drafts, as the user's adapter scores them. UsageError for none, or an empty one."""
    if isinstance(drafts, str) or not drafts:
        raise UsageError("there are no drafts to rank", hint="give a list of texts")
    empty = [str(place) for place, text in enumerate(drafts, 1) if not text.strip()]
    if empty:
        raise UsageError(f"draft {empty[0]} is empty")
    given = [Candidate(text.strip(), place) for place, text in enumerate(drafts)]
    answer = _answer(drafted, given)
    found: Sequence[Scored[Candidate]] = answer.candidates
    if not drafted.personal.adapt:
        found = drafted.personal.scorer.adapt(drafted.context, drafted.evidence, given)
    scores = _of_drafts(drafted, given, found)
    order = list(range(len(given)))
    if drafted.personal.adapt:
        order.sort(key=lambda place: -_known(scores[place]))
    return Ranking(
        drafted.context.query,
        drafted.task,
        tuple(drafts),
        tuple(scores),
        tuple(order),
        drafted.personal.adapt,
        drafted.personal.standing,
        _of_the_drafts_alone(drafted, answer),
    )


def _answer(drafted: Draft, given: Sequence[Candidate]) -> Answer:
    """The answer, had the LLM drawn these."""
    steps = Answering(drafted, "", Stopwatch())
    steps.take(Completion(tuple(c.text for c in given), (None,) * len(given), Usage()))
    return steps.answer


def _of_the_drafts_alone(drafted: Draft, answer: Answer) -> Answer:
    """Without labels that no draft names, and without a word on which LLM drew it and how."""
    named = [scored for scored in answer.candidates if scored.item.sample is not None]
    return replace(
        answer,
        text=drafted.text_of(named) if named else "",
        candidates=tuple(named),
        details={**answer.details, "model": None, "greedy": ""},
    )


def _of_drafts(
    drafted: Draft, given: Sequence[Candidate], found: Sequence[Scored[Candidate]]
) -> list[float | None]:
    """Each draft's score; drafts that name one label share its."""
    task, query = drafted.task, drafted.context.query
    if not task.closed:
        by_place = {scored.item.sample: scored.score for scored in found}
        return [by_place.get(candidate.sample) for candidate in given]
    # Labels that were learned stand among those that were scored.
    learned = tuple(scored.item.text for scored in found) if task.kind == "classification" else ()
    known = query.labels or task.labels or learned
    by_label: dict[str | None, float] = {}
    for scored in found:  # best first
        by_label.setdefault(task.parse(scored.item.text, known), scored.score)
    by_label.pop(None, None)
    return [by_label.get(task.parse(candidate.text, known)) for candidate in given]


def _known(score: float | None) -> float:
    return float("-inf") if score is None else score
