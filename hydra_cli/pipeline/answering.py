"""From a query to an answer, without the LLM: draft the request, choose among its answers.

Whoever has an LLM stands in between: ``ask`` draws step by step, ``eval`` sends
the drafts of many queries together, a dry run stops at the drafts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from hydra_cli.core.controls import answer_of
from hydra_cli.core.conversation import Conversation, Wishes
from hydra_cli.core.errors import UsageError
from hydra_cli.core.plan import AnswerPlan
from hydra_cli.core.prompts import conversation_messages
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

LONE_VOTE = 1
"""Answers to labels and ratings while nobody has judged how many are worth their calls.

On recorded answers of dev users one greedy answer is as good as eight (docs/design/gate.md).
"""


@dataclass(frozen=True, slots=True, eq=False)
class Draft:
    """What one user's query asks of the LLM, and what chooses among its answers.

    ``request`` is None where a label or rating is found without the LLM.
    """

    context: QueryContext
    task: TaskSpec
    personal: Personalization
    plan: AnswerPlan
    evidence: tuple[Scored[Record], ...]
    request: ChatRequest | None
    shown: int = 0
    """How many records of the evidence, best first, the prompt had room for."""

    @property
    def stop_rule(self) -> StopRule | None:
        """When enough answers were drawn; None: when all of the request's were."""
        if not self.plan.sequential or not self.personal.adapt or self.answers < 2:
            return None
        return StopRule(CLEAR_MARGIN[self.task.kind])

    @property
    def greedy(self) -> str:
        """Which pipeline a lone answer of the LLM is the outcome of; empty where several are drawn.

        The names are those of ``modeling.gate``.
        """
        if self.answers != 1:
            return ""
        if not self.evidence:
            return "plain"
        return "rerank" if self.personal.rerank else "rag"

    @property
    def answers(self) -> int:
        """How many answers the LLM is asked for."""
        return 0 if self.request is None else self.request.sampling.n

    def request_for(self, count: int) -> ChatRequest:
        """The request for the first ``count`` answers."""
        assert self.request is not None
        return replace(self.request, sampling=replace(self.request.sampling, n=count))

    def wished(self, wishes: Wishes) -> Draft:
        """The draft with its answers drawn as a client wants them, and no fewer than it wants."""
        if self.request is None:
            return self
        own = self.request.sampling
        n = max(own.n, wishes.n)
        # Several answers of one that would be greedy have to differ.
        drawn = self.plan.temperature if n > own.n == 1 else own.temperature
        temperature = drawn if wishes.temperature is None else wishes.temperature
        like = sampling_for(self.task, n=n, temperature=temperature, seed=self.plan.seed)
        sampling = replace(
            like,
            top_p=like.top_p if wishes.top_p is None else wishes.top_p,
            max_tokens=wishes.max_tokens or like.max_tokens,
            stop=tuple(dict.fromkeys((*like.stop, *wishes.stop))),
            seed=like.seed if wishes.seed is None else wishes.seed,
        )
        return replace(self, request=replace(self.request, sampling=sampling, extra=wishes.extra))

    def choose(self, candidates: Sequence[Candidate]) -> list[Scored[Candidate]]:
        """The candidates, best first; as the LLM gave them where the adapter is off.

        Without an LLM the best control answers where the gate found it ahead, else the adapter.
        """
        if self.request is None and self.personal.control:
            found = answer_of(self.personal.control, self.context, self.task)
            if found is not None:
                return [Scored(Candidate(found), 0.0)]
        if self.request is not None and not self.personal.adapt:
            return [Scored(candidate, 0.0) for candidate in candidates]
        return self.personal.scorer.adapt(self.context, self.evidence, candidates)

    def text_of(self, chosen: Sequence[Scored[Candidate]]) -> str:
        """The winner as the user reads it: a valid label where the task is closed."""
        if not chosen:
            raise UsageError(
                f"no label of {self.task.name} is known to this user or anyone else",
                hint="ingest some records, or ask the LLM: `-n 1`",
            )
        text = chosen[0].item.text
        return self.task.parse(text, self.context.query.labels) or text


def draft(
    context: QueryContext,
    task: TaskSpec,
    personal: Personalization,
    plan: AnswerPlan,
    *,
    conversation: Conversation | None = None,
) -> Draft:
    """With the adapter on, n answers are drawn; with it off, one greedy answer is.

    The plan's n comes first, then what the gate found. UsageError where no answer
    is to be drawn and the task can't do without. ``conversation`` is the chat that
    the query ends.
    """
    plan = plan.with_first_stage(personal.first_stage)
    n = _answers(task, personal, plan)
    if not n:
        return Draft(context, task, personal, plan, (), None)
    evidence = tuple(find_evidence(context, personal, plan))
    said = conversation or Conversation(context.query.text)
    messages = conversation_messages(context.query, evidence, task, said)
    request = ChatRequest(
        messages,
        # A single answer is the likeliest one: nothing is chosen from.
        sampling_for(task, n=n, temperature=plan.temperature if n > 1 else 0.0, seed=plan.seed),
        context.query.user,
    )
    # All but system prompt and query are turns: those of records, then those that were said.
    shown = (len(messages) - 2 - len(said.earlier)) // 2
    return Draft(context, task, personal, plan, evidence, request, shown)


def _answers(task: TaskSpec, personal: Personalization, plan: AnswerPlan) -> int:
    """How many answers are drawn for a query."""
    if plan.n == 0 and not (task.closed and personal.labels_alone):
        raise UsageError(
            f"{task.name} can't be answered without an LLM",
            hint="n is 1 or more here: only labels and ratings are found without one",
        )
    wanted = personal.n if plan.n is None else plan.n
    if wanted == 0:
        return 0
    if not personal.adapt:
        return 1
    if wanted is not None:
        return wanted
    return LONE_VOTE if task.closed and personal.labels_alone else plan.answers


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
