"""One query, answered as its user would: retrieve, rerank, prompt, generate, adapt."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from hydra_cli.core.errors import UsageError
from hydra_cli.core.plan import AnswerPlan
from hydra_cli.core.progress import Silent
from hydra_cli.core.protocols import (
    ChatModel,
    ChatRequest,
    Completion,
    HistoryStore,
    Progress,
    TextEncoder,
)
from hydra_cli.core.records import Answer, Candidate, Query, Scored, Usage
from hydra_cli.core.sequential import draw_until_clear
from hydra_cli.core.tasks import TaskSpec
from hydra_cli.pipeline.answering import Draft, draft
from hydra_cli.pipeline.contexts import load_context
from hydra_cli.pipeline.personalization import Personalization


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


def make_query(text: str, user: str, task: TaskSpec) -> Query:
    """The text as a query; a question in LaMP's form gives up its instruction."""
    content, labels = task.split_question(text)
    if not content:
        raise UsageError("the query is empty", hint='`hydra-pers ask "TEXT"`, or pipe it in')
    return Query(user, "ask", task.name, content, labels=labels)


def draft_query(
    query: Query,
    task: TaskSpec,
    *,
    store: HistoryStore,
    encoder: TextEncoder,
    personal: Personalization,
    plan: AnswerPlan,
    watch: Stopwatch | None = None,
    progress: Progress | None = None,
) -> Draft:
    """What ``ask`` would send, without sending it; ``watch`` takes the time of both stages."""
    watch = watch or Stopwatch()
    with watch.stage("retrieve"):
        context = load_context(store, encoder, task, query, progress=progress)
    with watch.stage("rerank"):
        return draft(context, task, personal, plan)


def ask(
    query: Query,
    task: TaskSpec,
    *,
    store: HistoryStore,
    encoder: TextEncoder,
    chat: ChatModel,
    personal: Personalization,
    plan: AnswerPlan,
    progress: Progress | None = None,
) -> Answer:
    """The answer this user would give, with everything that led to it."""
    watch = Stopwatch()
    progress = progress or Silent()
    drafted = draft_query(
        query,
        task,
        store=store,
        encoder=encoder,
        personal=personal,
        plan=plan,
        watch=watch,
        progress=progress,
    )
    if drafted.request is not None:
        progress.start("asking the LLM", drafted.answers)
    return answer_draft(drafted, chat, watch, progress=progress)


def answer_draft(
    drafted: Draft,
    chat: ChatModel,
    watch: Stopwatch,
    first: Completion | None = None,
    *,
    progress: Progress | None = None,
) -> Answer:
    """The draft's answer. ``first`` completes ``first_request``, where somebody asked already.

    ``progress`` advances by the LLM's answers.
    """
    drawn = _Drawn(chat, drafted, watch, progress or Silent(), first)

    def score(answers: Sequence[Candidate]) -> list[Scored[Candidate]]:
        with watch.stage("adapt"):
            return drafted.choose(answers)

    n = drafted.answers
    if not n:
        candidates = score(())
    elif (rule := drafted.stop_rule) is not None:
        candidates = draw_until_clear(drawn, score, most=n, rule=rule)
    else:
        candidates = score(drawn(n))
    return Answer(
        text=drafted.text_of(candidates),
        query=drafted.context.query,
        candidates=tuple(candidates),
        evidence=drafted.evidence,
        standing=drafted.personal.standing,
        usage=drawn.usage,
        seconds=watch.seconds,
        details={
            "answers": list(drawn.texts),
            "model": chat.name if drafted.request else None,
            "answer_tokens": drafted.request.sampling.max_tokens if drafted.request else None,
            "messages": drafted.request.messages if drafted.request else (),
        },
    )


def first_request(drafted: Draft) -> ChatRequest | None:
    """What is asked first: all of the answers, as many as the stop rule begins with, or nothing."""
    rule = drafted.stop_rule
    if drafted.request is None or rule is None:
        return drafted.request
    return drafted.request_for(rule.counts(drafted.answers)[0])


@dataclass(slots=True)
class _Drawn:
    """The answers to one draft so far; asking for more tops them up."""

    chat: ChatModel
    draft: Draft
    watch: Stopwatch
    progress: Progress
    first: Completion | None = None
    texts: tuple[str, ...] = ()
    usage: Usage = field(default_factory=Usage)

    def __call__(self, count: int) -> tuple[Candidate, ...]:
        completion, self.first = self.first, None
        if completion is None:
            with self.watch.stage("generate"):
                completion = self.chat.complete(self.draft.request_for(count))
        self.usage += completion.usage
        self.progress.advance(len(completion.texts) - len(self.texts))
        self.texts = completion.texts
        return completion.candidates
