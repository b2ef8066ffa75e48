"""One query, answered as its user would: retrieve, rerank, prompt, generate, adapt."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

from hydra_cli.core.conversation import Conversation
from hydra_cli.core.errors import UsageError
from hydra_cli.core.plan import AnswerPlan
from hydra_cli.core.progress import Silent
from hydra_cli.core.protocols import (
    ChatModel,
    ChatRequest,
    Completion,
    HistoryStore,
    LearningScorer,
    Progress,
    TextEncoder,
)
from hydra_cli.core.records import Answer, Candidate, Query, Scored, Usage
from hydra_cli.core.sequential import draw_until_clear
from hydra_cli.core.sortable_ids import ANSWER_ID, new_id
from hydra_cli.core.tasks import TaskSpec
from hydra_cli.pipeline.answering import Draft, draft
from hydra_cli.pipeline.contexts import load_context
from hydra_cli.pipeline.personalization import Personalization


@dataclass(slots=True)
class Stopwatch:
    """Seconds spent in each stage, and when the first was begun."""

    seconds: dict[str, float] = field(default_factory=dict)
    begun: datetime = field(default_factory=lambda: datetime.now(UTC))

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
    conversation: Conversation | None = None,
    watch: Stopwatch | None = None,
    progress: Progress | None = None,
) -> Draft:
    """What ``ask`` would send, without sending it; ``watch`` takes the time of both stages."""
    watch = watch or Stopwatch()
    with watch.stage("retrieve"):
        context = load_context(store, encoder, task, query, progress=progress)
    with watch.stage("rerank"):
        return draft(context, task, personal, plan, conversation=conversation)


def ask(
    query: Query,
    task: TaskSpec,
    *,
    store: HistoryStore,
    encoder: TextEncoder,
    chat: ChatModel,
    personal: Personalization,
    plan: AnswerPlan,
    conversation: Conversation | None = None,
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
        conversation=conversation,
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
    steps = Answering(drafted, chat.name, watch, progress)
    while (request := steps.request) is not None:
        completion, first = first, None
        if completion is None:
            with watch.stage("generate"):
                completion = chat.complete(request)
        steps.take(completion)
    return steps.answer


class Answering:
    """A draft's way to its answer, whoever asks the LLM and however long it takes.

    ``request`` is what is to be asked next, and ``take`` receives what it brought;
    once there is nothing more to ask, ``answer`` is there.
    """

    def __init__(
        self,
        drafted: Draft,
        model: str,
        watch: Stopwatch,
        progress: Progress | None = None,
        *,
        answer_id: str | None = None,
    ) -> None:
        """``answer_id`` names the answer where that was told before there was one."""
        self.request: ChatRequest | None = None
        self._id = answer_id or new_id(ANSWER_ID)
        self._drafted = drafted
        self._model = model
        self._watch = watch
        self._progress = progress or Silent()
        self._usage = Usage()
        self._texts: tuple[str, ...] = ()
        self._chosen: list[Scored[Candidate]] = []
        self._steps = self._walk()
        self._go(None)

    def take(self, completion: Completion) -> None:
        """What the LLM answered to ``request``; its candidates are scored here."""
        self._usage += completion.usage
        self._progress.advance(len(completion.texts) - len(self._texts))
        self._texts = completion.texts
        self._go(completion.candidates)

    @property
    def answer(self) -> Answer:
        """The winner, with everything that led to it."""
        drafted = self._drafted
        return Answer(
            text=drafted.text_of(self._chosen),
            query=drafted.context.query,
            candidates=tuple(self._chosen),
            evidence=drafted.evidence,
            standing=drafted.personal.standing,
            usage=self._usage,
            seconds=self._watch.seconds,
            details={
                "answers": list(self._texts),
                "model": self._model if drafted.request else None,
                "answer_tokens": drafted.request.sampling.max_tokens if drafted.request else None,
                "messages": drafted.request.messages if drafted.request else (),
                "recipe": drafted.personal.recipe,
                "greedy": drafted.greedy,
                "feature_set": _feature_set(drafted),
                "heard": drafted.personal.heard,
            },
            id=self._id,
            time=self._watch.begun,
        )

    def _walk(self) -> Generator[int, Sequence[Candidate], list[Scored[Candidate]]]:
        """Yields how many answers are wanted, those of earlier steps among them."""
        n = self._drafted.answers
        if not n:
            return self._score(())
        if (rule := self._drafted.stop_rule) is not None:
            return (yield from draw_until_clear(self._score, most=n, rule=rule))
        return self._score((yield n))

    def _go(self, candidates: Sequence[Candidate] | None) -> None:
        try:
            count = next(self._steps) if candidates is None else self._steps.send(candidates)
        except StopIteration as done:
            self.request, self._chosen = None, done.value
        else:
            self.request = self._drafted.request_for(count)

    def _score(self, answers: Sequence[Candidate]) -> list[Scored[Candidate]]:
        with self._watch.stage("adapt"):
            return self._drafted.choose(answers)


def _feature_set(drafted: Draft) -> str:
    scorer = drafted.personal.scorer
    return scorer.feature_set if isinstance(scorer, LearningScorer) else ""


def first_request(drafted: Draft) -> ChatRequest | None:
    """What is asked first: all of the answers, as many as the stop rule begins with, or nothing."""
    rule = drafted.stop_rule
    if drafted.request is None or rule is None:
        return drafted.request
    return drafted.request_for(rule.counts(drafted.answers)[0])
