"""What each method would have answered to held-out queries: the evidence for the gate."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from hydra_cli.core.controls import lead, majority, nearest_vote
from hydra_cli.core.prompts import build_messages
from hydra_cli.core.protocols import ChatModel, ChatRequest, Progress, Sampling, Scorer
from hydra_cli.core.records import Candidate, Record, Scored, TrainingExample, Usage
from hydra_cli.core.similarity import grade
from hydra_cli.core.tasks import TaskSpec
from hydra_cli.pipeline.supervision import SupervisionPlan, sampling_for

if TYPE_CHECKING:
    from hydra_cli.modeling.gate import Outcome, Pipeline


def outcomes_of(
    examples: Sequence[TrainingExample],
    task: TaskSpec,
    plan: SupervisionPlan,
    *,
    scorer_of: Callable[[str], Scorer],
    chat: ChatModel | None,
    asked_again: Collection[int] | None = None,
    progress: Progress | None = None,
) -> tuple[list[Outcome], Usage]:
    """One outcome per held-out example; ``scorer_of`` gives a user's scorer.

    With ``chat``, the reranked evidence is put before the LLM too, for all
    examples or those at ``asked_again``; the greedy answer alone where the plan
    doesn't draw (``with_many_answers`` asks for the rest). Without it nothing judges
    the reranker: records whose outputs match the reference better hardly make better
    answers (docs/design/texts.md).
    """
    from hydra_cli.modeling.gate import Outcome

    qualities = [
        _without_llm(example, task) | _from_answers(example, task, scorer_of(example.user))
        for example in examples
    ]
    usage = Usage()
    if chat is not None:
        k = plan.answering.k
        reranked = [tuple(scorer_of(e.user).rerank(e.context, e.shortlist)[:k]) for e in examples]
        again = range(len(examples)) if asked_again is None else sorted(asked_again)
        usage = _ask_reranked(
            examples, again, reranked, task, plan, scorer_of, chat, qualities, progress=progress
        )
    outcomes = [
        Outcome(example.user, quality) for example, quality in zip(examples, qualities, strict=True)
    ]
    return outcomes, usage


def with_many_answers(
    examples: Sequence[TrainingExample],
    outcomes: Sequence[Outcome],
    task: TaskSpec,
    plan: SupervisionPlan,
    *,
    rerank: bool,
    scorer_of: Callable[[str], Scorer],
    chat: ChatModel,
    progress: Progress | None = None,
) -> tuple[list[Outcome], Usage]:
    """The outcomes with the adapter's choice among all n answers, on one kind of evidence."""
    requests, shown = [], []
    for example in examples:
        evidence = example.evidence
        if rerank:
            found = scorer_of(example.user).rerank(example.context, example.shortlist)
            evidence = tuple(found[: plan.answering.k])
        shown.append(evidence)
        messages = build_messages(example.context.query, evidence, task)
        requests.append(ChatRequest(messages, _drawn(task, plan), example.user))
    if progress is not None:
        progress.start("comparing numbers of answers", len(requests))
    known, usage = list(outcomes), Usage()
    method: Pipeline = "rerank+adapt" if rerank else "adapt"
    for i, completion in chat.complete_many(requests):
        usage += completion.usage
        example = examples[i]
        chosen = scorer_of(example.user).adapt(example.context, shown[i], completion.candidates)
        if chosen:
            grade_of = _grade(chosen[0].item.text, example, task)
            known[i] = replace(known[i], quality={**known[i].quality, method: grade_of})
        if progress is not None:
            progress.advance()
    return known, usage


def _without_llm(example: TrainingExample, task: TaskSpec) -> dict[Pipeline, float]:
    if not task.closed:
        return {"lead": _grade(lead(example.context), example, task)}
    found: dict[Pipeline, float] = {}
    if (label := majority(example.context, task)) is not None:
        found["majority"] = _grade(label, example, task)
    if (label := nearest_vote(example.context, task)) is not None:
        found["knn"] = _grade(label, example, task)
    return found


def _from_answers(
    example: TrainingExample, task: TaskSpec, scorer: Scorer
) -> dict[Pipeline, float]:
    """Plain, RAG and the adapter's choices, as far as answers were asked for."""
    found: dict[Pipeline, float] = {}
    if example.plain is not None:
        found["plain"] = _grade(example.plain, example, task)
    if example.greedy is not None:
        found["rag"] = _grade(example.greedy, example, task)
    for method, answers in _choices("", example, example.greedy, example.candidates, task):
        if chosen := scorer.adapt(example.context, example.evidence, answers):
            found[method] = _grade(chosen[0].item.text, example, task)
    return found


def _choices(
    prefix: Literal["", "rerank+"],
    example: TrainingExample,
    greedy: str | None,
    candidates: Sequence[Candidate],
    task: TaskSpec,
) -> list[tuple[Pipeline, Sequence[Candidate]]]:
    """Which answers the adapter chooses from in each pipeline that has what it needs."""
    found: list[tuple[Pipeline, Sequence[Candidate]]] = []
    if task.closed and not prefix:
        found.append(("adapt0", ()))
    if task.closed and greedy is not None:
        found.append(("rerank+adapt1" if prefix else "adapt1", (Candidate(greedy, 0),)))
    if len(candidates) > 1 or (candidates and not task.closed):
        found.append(("rerank+adapt" if prefix else "adapt", candidates))
    return found


def _drawn(task: TaskSpec, plan: SupervisionPlan) -> Sampling:
    how = plan.answering
    return sampling_for(task, n=how.answers, temperature=how.temperature, seed=how.seed)


def _ask_reranked(
    examples: Sequence[TrainingExample],
    again: Sequence[int],
    reranked: Sequence[Sequence[Scored[Record]]],
    task: TaskSpec,
    plan: SupervisionPlan,
    scorer_of: Callable[[str], Scorer],
    chat: ChatModel,
    qualities: list[dict[Pipeline, float]],
    *,
    progress: Progress | None,
) -> Usage:
    """Greedy and sampled answers on reranked evidence, graded into ``qualities``."""
    how = plan.answering
    settings = [sampling_for(task, n=1, temperature=0.0, seed=how.seed)]
    if plan.draws(task):
        settings.append(_drawn(task, plan))
    jobs = [(i, sampling) for i in again for sampling in settings]
    requests = [
        ChatRequest(
            build_messages(examples[i].context.query, reranked[i], task),
            sampling,
            examples[i].user,
        )
        for i, sampling in jobs
    ]
    if progress is not None:
        progress.start("comparing stages on held-out records", len(requests))
    usage = Usage()
    for index, completion in chat.complete_many(requests):
        i, sampling = jobs[index]
        example = examples[i]
        usage += completion.usage
        greedy = None if sampling.temperature else completion.texts[0]
        drawn = completion.candidates if sampling.temperature else ()
        if greedy is not None:
            qualities[i]["rerank"] = _grade(greedy, example, task)
        for method, answers in _choices("rerank+", example, greedy, drawn, task):
            if chosen := scorer_of(example.user).adapt(example.context, reranked[i], answers):
                qualities[i][method] = _grade(chosen[0].item.text, example, task)
        if progress is not None:
            progress.advance()
    return usage


def _grade(prediction: str, example: TrainingExample, task: TaskSpec) -> float:
    labels = example.context.query.labels or task.labels
    spec = task.with_labels(labels) if task.closed and labels else task
    return grade(prediction=prediction, reference=example.reference, task=spec)
