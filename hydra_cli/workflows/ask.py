"""One query, answered as its user would: retrieve, rerank, prompt, generate, adapt."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from hydra_cli.core.errors import NotFound, UsageError
from hydra_cli.core.prompts import build_messages
from hydra_cli.core.protocols import (
    ChatModel,
    ChatRequest,
    HistoryStore,
    Message,
    Progress,
    TextEncoder,
)
from hydra_cli.core.records import Answer, Candidate, Query, QueryContext, Record, Scored, Usage
from hydra_cli.core.retrieval import retrieve
from hydra_cli.core.sequential import StopRule, draw_until_clear
from hydra_cli.core.tasks import Kind, TaskSpec
from hydra_cli.workflows.embed import load_context
from hydra_cli.workflows.personalize import Personalization
from hydra_cli.workflows.supervise import sampling_for

CLEAR_MARGIN: dict[Kind, float] = {"generation": 2.0, "classification": 0.5, "rating": 0.5}
"""A lead in the adapter's score at which more answers would seldom change the winner.

For generation: the least margin that lost nothing on dev users (bench_sequential).
"""


@dataclass(frozen=True, slots=True)
class AskPlan:
    """How one query is answered. ``shortlist`` records are reranked, ``k`` are shown.

    ``sequential`` stops asking for answers once the winner is clear.
    """

    k: int = 4
    n: int = 8
    shortlist: int = 20
    retriever: str = "fused"
    temperature: float = 0.5
    seed: int = 0
    sequential: bool = False


@dataclass(slots=True)
class Stopwatch:
    """Seconds spent in each stage."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start


def choose_user(store: HistoryStore, user: str | None) -> str:
    """The user that was named, else the only one there is."""
    if user is not None:
        if not store.tasks_of(user):
            raise unknown_user(store, user)
        return user
    users = store.users()
    if len(users) == 1:
        return users[0].user
    if not users:
        raise NotFound("the store holds no records", hint="start with `hydra-pers ingest FILE`")
    raise UsageError(
        f"the store holds {len(users)} users",
        hint="name one with --user, or set a default: `hydra-pers config set user NAME`",
    )


def unknown_user(store: HistoryStore, user: str) -> NotFound:
    """The error for a user without records, with the nearest names."""
    from difflib import get_close_matches

    near = get_close_matches(user, [summary.user for summary in store.users()], n=3)
    hint = f"did you mean {', '.join(near)}?" if near else "`hydra-pers users` lists them"
    return NotFound(f"no records of user {user[:80]!r}", hint=hint)


def choose_task(store: HistoryStore, user: str, task: str | None) -> str:
    """The task that was named, else the user's largest."""
    tasks = store.tasks_of(user)
    if task is None:
        return tasks[0][0]
    if task not in dict(tasks):
        raise NotFound(
            f"user {user!r} has no records of task {task!r}",
            hint=f"their tasks: {', '.join(name for name, _ in tasks)}",
        )
    return task


def make_query(text: str, user: str, task: TaskSpec) -> Query:
    """The text as a query; a question in LaMP's form gives up its instruction."""
    content, labels = task.split_question(text)
    if not content:
        raise UsageError("the query is empty", hint='`hydra-pers ask "TEXT"`, or pipe it in')
    return Query(user, "ask", task.name, content, labels=labels)


def find_evidence(
    context: QueryContext, personal: Personalization, plan: AskPlan
) -> list[Scored[Record]]:
    """The k records for the prompt, best first; none where the gate found them to harm."""
    if not personal.records:
        return []
    how = plan.retriever
    if not personal.rerank:
        return retrieve(context, how=how, k=plan.k)
    shortlist = retrieve(context, how=how, k=max(plan.k, plan.shortlist))
    return personal.scorer.rerank(context, shortlist)[: plan.k]


def prompt_for(
    query: Query,
    task: TaskSpec,
    *,
    store: HistoryStore,
    encoder: TextEncoder,
    personal: Personalization,
    plan: AskPlan,
) -> tuple[Message, ...]:
    """The messages that ``ask`` would send, without sending them."""
    context = load_context(store, encoder, task, query)
    return build_messages(query, find_evidence(context, personal, plan), task)


def ask(
    query: Query,
    task: TaskSpec,
    *,
    store: HistoryStore,
    encoder: TextEncoder,
    chat: ChatModel,
    personal: Personalization,
    plan: AskPlan,
    progress: Progress | None = None,
) -> Answer:
    """The answer this user would give, with everything that led to it.

    With the adapter on, n answers are drawn and the best one is returned; with
    it off, one greedy answer is.
    """
    watch = Stopwatch()
    with watch.stage("retrieve"):
        context = load_context(store, encoder, task, query, progress=progress)
    with watch.stage("rerank"):
        evidence = find_evidence(context, personal, plan)
        messages = build_messages(query, evidence, task)
    n, temperature = (plan.n, plan.temperature) if personal.adapt else (1, 0.0)
    sampling = sampling_for(task, n=n, temperature=temperature, seed=plan.seed)
    request = ChatRequest(messages, sampling, query.user)
    drawn = _Drawn(chat, request, watch)

    def score(answers: Sequence[Candidate]) -> list[Scored[Candidate]]:
        with watch.stage("adapt"):
            return adapt(context, evidence, answers, personal)

    if plan.sequential and personal.adapt:
        rule = StopRule(CLEAR_MARGIN[task.kind])
        candidates = draw_until_clear(drawn, score, most=plan.n, rule=rule)
    else:
        candidates = score(drawn(n))
    return Answer(
        text=shown_text(candidates, task, query),
        query=query,
        candidates=tuple(candidates),
        evidence=tuple(evidence),
        stages=personal.stages,
        usage=drawn.usage,
        seconds=watch.seconds,
        details={"answers": list(drawn.texts), "model": chat.name, "messages": messages},
    )


@dataclass(slots=True)
class _Drawn:
    """The answers to one request so far; asking for more tops them up."""

    chat: ChatModel
    request: ChatRequest
    watch: Stopwatch
    texts: tuple[str, ...] = ()
    usage: Usage = field(default_factory=Usage)

    def __call__(self, count: int) -> tuple[Candidate, ...]:
        sampling = replace(self.request.sampling, n=count)
        with self.watch.stage("generate"):
            completion = self.chat.complete(replace(self.request, sampling=sampling))
        self.usage += completion.usage
        self.texts = completion.texts
        return completion.candidates


def adapt(
    context: QueryContext,
    evidence: Sequence[Scored[Record]],
    candidates: Sequence[Candidate],
    personal: Personalization,
) -> list[Scored[Candidate]]:
    """The candidates, best first; as the LLM gave them where the adapter is off."""
    if not personal.adapt:
        return [Scored(candidate, 0.0) for candidate in candidates]
    return personal.scorer.adapt(context, evidence, candidates)


def shown_text(candidates: Sequence[Scored[Candidate]], task: TaskSpec, query: Query) -> str:
    """The winner as the user reads it: a valid label where the task is closed."""
    text = candidates[0].item.text
    return task.parse(text, query.labels) or text
