"""Pseudo-queries and their labels: what base and heads are trained on.

A record of a history is taken as a query whose answer is known; the record
itself, and any repost of it, leaves the history first. Labels come from the
history alone, or from the LLM's answers (arXiv 2406.02888, section 3).
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from hydra_cli.core.plan import AnswerPlan
from hydra_cli.core.prompts import build_messages
from hydra_cli.core.protocols import (
    ChatModel,
    ChatRequest,
    Completion,
    Progress,
    Sampling,
    Supervision,
)
from hydra_cli.core.records import (
    History,
    Query,
    QueryContext,
    Record,
    Scored,
    TrainingExample,
    Usage,
)
from hydra_cli.core.retrieval import retrieve
from hydra_cli.core.similarity import grade
from hydra_cli.core.tasks import TaskSpec

if TYPE_CHECKING:
    pass

TOP_P = 0.95


@dataclass(frozen=True, slots=True)
class SupervisionPlan:
    """Which labels to make, and how the answers they are made from come about.

    ``answers`` samples ``n`` answers and a greedy one for every example; where ``lone``
    the greedy one is all for labels and ratings, whose adapter learns as much from it
    (docs/design/gate.md). ``plain`` adds a greedy answer without evidence, for the gate.
    """

    needs: frozenset[Supervision] = field(default_factory=frozenset)
    answers: bool = False
    lone: bool = False
    plain: bool = False
    answering: AnswerPlan = field(default_factory=AnswerPlan)

    def draws(self, task: TaskSpec) -> bool:
        """Whether more than the greedy answer is asked for."""
        return self.answers and not (self.lone and task.closed)


def sampling_for(task: TaskSpec, *, n: int, temperature: float, seed: int) -> Sampling:
    """How answers to a task are drawn: as long as its answers are, and one line where they are."""
    return Sampling(
        n=n,
        temperature=temperature,
        top_p=TOP_P if temperature else 1.0,
        max_tokens=task.answer_tokens,
        stop=() if task.multiline and not task.closed else ("\n",),
        # Nothing is drawn at temperature 0: one seed for all, so that it is asked once.
        seed=seed if temperature else 0,
    )


def pseudo_queries(
    history: History, task: TaskSpec, *, limit: int, seed: int, newest: bool = False
) -> list[TrainingExample]:
    """Up to ``limit`` records as pseudo-queries without labels, oldest first.

    Drawn by chance, or the newest ones with only older records as their
    history (``newest``: held-out records for the gate).
    """
    count = min(limit, len(history))
    if newest:
        rows = list(range(len(history) - count, len(history)))
    else:
        rows = sorted(random.Random(f"{seed}\0{history.user}").sample(range(len(history)), count))
    examples = []
    for row in rows:
        record = history.records[row]
        rest = history.before(record) if newest else history.without(record)
        if len(rest):
            query = query_of(record, task)
            context = QueryContext(query, history.inputs[row], rest)
            examples.append(TrainingExample(context, record.output))
    return examples


def query_of(record: Record, task: TaskSpec) -> Query:
    """A record's input as a query; its output stays behind."""
    return Query(record.user, record.id, task.name, record.input, labels=task.labels)


def supervise(
    examples: Sequence[TrainingExample],
    task: TaskSpec,
    plan: SupervisionPlan,
    *,
    chat: ChatModel | None,
    progress: Progress | None = None,
) -> tuple[list[TrainingExample], Usage]:
    """The examples with shortlist, evidence and the labels of the plan.

    Without ``chat`` only labels from the history are made. An interrupted run
    continues from the answers that the LLM edge has kept.
    """
    shown = [_with_evidence(example, plan) for example in examples]
    if "relevance" in plan.needs:
        shown = [_with_relevance(example, task) for example in shown]
    usage = Usage()
    if chat is None:
        return shown, usage
    jobs = [job for i, example in enumerate(shown) for job in _jobs(i, example, task, plan)]
    if progress is not None and jobs:
        progress.start("asking the LLM for labels", len(jobs))
    found: dict[tuple[int, str, int], Completion] = {}
    for index, completion in chat.complete_many([job.request for job in jobs]):
        job = jobs[index]
        found[job.example, job.purpose, job.position] = completion
        usage += completion.usage
        if progress is not None:
            progress.advance()
    return [_with_answers(i, e, task, plan, found) for i, e in enumerate(shown)], usage


def label_requests(
    examples: Iterable[TrainingExample], task: TaskSpec, plan: SupervisionPlan
) -> list[ChatRequest]:
    """Every LLM call that ``supervise`` would make, for an estimate of its price."""
    return [
        job.request
        for i, example in enumerate(examples)
        for job in _jobs(i, _with_evidence(example, plan), task, plan)
    ]


@dataclass(frozen=True, slots=True)
class _Job:
    example: int
    purpose: str
    position: int
    request: ChatRequest


def _jobs(
    index: int, example: TrainingExample, task: TaskSpec, plan: SupervisionPlan
) -> list[_Job]:
    query = example.context.query
    how = plan.answering
    greedy = sampling_for(task, n=1, temperature=0.0, seed=how.seed)
    drawn = sampling_for(task, n=how.answers, temperature=how.temperature, seed=how.seed)

    def job(
        purpose: str, position: int, evidence: Sequence[Scored[Record]], sampling: Sampling
    ) -> _Job:
        messages = build_messages(query, evidence, task)
        return _Job(index, purpose, position, ChatRequest(messages, sampling, query.user))

    jobs = []
    if plan.draws(task):
        jobs.append(job("answers", 0, example.evidence, drawn))
    if plan.answers:
        jobs.append(job("greedy", 0, example.evidence, greedy))
    if plan.plain:
        jobs.append(job("plain", 0, (), greedy))
    if "hydra_relevance" in plan.needs:
        jobs += [job("one", i, [record], greedy) for i, record in enumerate(example.shortlist)]
    return jobs


def _with_evidence(example: TrainingExample, plan: SupervisionPlan) -> TrainingExample:
    how = plan.answering
    shortlist = tuple(retrieve(example.context, how=how.retriever, k=how.shortlist))
    return replace(example, shortlist=shortlist, evidence=shortlist[: how.k])


def _with_relevance(example: TrainingExample, task: TaskSpec) -> TrainingExample:
    """Relevance from the history alone: how well a record's output matches the reference."""
    grades = tuple(
        grade(prediction=scored.item.output, reference=example.reference, task=task)
        for scored in example.shortlist
    )
    return replace(example, relevance=grades)


def _with_answers(
    index: int,
    example: TrainingExample,
    task: TaskSpec,
    plan: SupervisionPlan,
    found: Mapping[tuple[int, str, int], Completion],
) -> TrainingExample:
    chosen_from = "answers" if plan.draws(task) else "greedy"
    if answers := found.get((index, chosen_from, 0)):
        quality = tuple(
            grade(prediction=text, reference=example.reference, task=task) for text in answers.texts
        )
        example = replace(example, candidates=answers.candidates, quality=quality)
    if greedy := found.get((index, "greedy", 0)):
        example = replace(example, greedy=greedy.texts[0])
    if plain := found.get((index, "plain", 0)):
        example = replace(example, plain=plain.texts[0])
    if "hydra_relevance" in plan.needs and example.shortlist:
        grades = [
            grade(
                prediction=found[index, "one", i].texts[0],
                reference=example.reference,
                task=task,
            )
            for i in range(len(example.shortlist))
        ]
        example = replace(example, hydra_relevance=hydra_labels(grades, task))
    return example


def hydra_labels(grades: Sequence[float], task: TaskSpec) -> tuple[float, ...]:
    """The paper's 0/1 relevance of one query's records, from each record's answer.

    Closed tasks: the answer is right. Generation: its grade is above the mean
    over the query's records (arXiv 2406.02888, section 3.1).
    """
    if task.closed:
        return tuple(float(value == 1.0) for value in grades)
    mean = sum(grades) / len(grades)
    return tuple(float(value > mean) for value in grades)
