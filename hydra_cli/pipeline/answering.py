"""From a query to an answer, without the LLM: draft the request, choose among its answers.

Whoever has an LLM stands in between: ``ask`` draws step by step, ``eval`` sends
the drafts of many queries together, a dry run stops at the drafts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from hydra_cli.core.plan import AnswerPlan
from hydra_cli.core.prompts import build_messages
from hydra_cli.core.protocols import ChatRequest
from hydra_cli.core.records import Candidate, QueryContext, Record, Scored
from hydra_cli.core.retrieval import retrieve
from hydra_cli.core.sequential import StopRule
from hydra_cli.core.tasks import Kind, TaskSpec
from hydra_cli.pipeline.personalization import Personalization
from hydra_cli.pipeline.supervision import sampling_for

CLEAR_MARGIN: dict[Kind, float] = {"generation": 2.0, "classification": 0.5, "rating": 0.5}
"""A lead in the adapter's score at which more answers would seldom change the winner.

For generation: the least margin that lost nothing on dev users (bench_sequential).
"""


@dataclass(frozen=True, slots=True, eq=False)
class Draft:
    """What one user's query asks of the LLM, and what chooses among its answers."""

    context: QueryContext
    task: TaskSpec
    personal: Personalization
    plan: AnswerPlan
    evidence: tuple[Scored[Record], ...]
    request: ChatRequest

    @property
    def stop_rule(self) -> StopRule | None:
        """When enough answers were drawn; None: when all of the request's were."""
        if not self.plan.sequential or not self.personal.adapt:
            return None
        return StopRule(CLEAR_MARGIN[self.task.kind])

    def request_for(self, count: int) -> ChatRequest:
        """The request for the first ``count`` answers."""
        return replace(self.request, sampling=replace(self.request.sampling, n=count))

    def choose(self, candidates: Sequence[Candidate]) -> list[Scored[Candidate]]:
        """The candidates, best first; as the LLM gave them where the adapter is off."""
        if not self.personal.adapt:
            return [Scored(candidate, 0.0) for candidate in candidates]
        return self.personal.scorer.adapt(self.context, self.evidence, candidates)

    def text_of(self, chosen: Sequence[Scored[Candidate]]) -> str:
        """The winner as the user reads it: a valid label where the task is closed."""
        text = chosen[0].item.text
        return self.task.parse(text, self.context.query.labels) or text


def draft(
    context: QueryContext, task: TaskSpec, personal: Personalization, plan: AnswerPlan
) -> Draft:
    """With the adapter on, n answers are drawn; with it off, one greedy answer is."""
    plan = plan.with_first_stage(personal.first_stage)
    evidence = tuple(find_evidence(context, personal, plan))
    n, temperature = (plan.n, plan.temperature) if personal.adapt else (1, 0.0)
    request = ChatRequest(
        build_messages(context.query, evidence, task),
        sampling_for(task, n=n, temperature=temperature, seed=plan.seed),
        context.query.user,
    )
    return Draft(context, task, personal, plan, evidence, request)


def find_evidence(
    context: QueryContext, personal: Personalization, plan: AnswerPlan
) -> Sequence[Scored[Record]]:
    """The k records for the prompt, best first; none where the gate found them to harm."""
    if not personal.records:
        return ()
    if not personal.rerank:
        return retrieve(context, how=plan.retriever, k=plan.k)
    shortlist = retrieve(context, how=plan.retriever, k=max(plan.k, plan.shortlist))
    return personal.scorer.rerank(context, shortlist)[: plan.k]
