"""``Hydra``: the whole product as one object, kept warm between calls.

::

    from hydra_cli import Hydra

    with Hydra.open("store") as hydra:
        hydra.ingest("replies.csv", columns={"user": "agent"}, task="replies")
        hydra.fit()
        print(hydra.ask("Is the mug safe in a dishwasher?", user="mia").text)

The store is opened at once; encoder, LLM, bases and heads when they are first
needed, and then they stay. Records and heads that another process writes are
seen by the next call. One ``Hydra`` serves several threads.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, overload

from hydra_cli.answered import Answered
from hydra_cli.config import Settings
from hydra_cli.core.errors import HydraError
from hydra_cli.recorded import Recorded
from hydra_cli.warm import OnProgress, overridden
from hydra_cli.wiring import load_settings

if TYPE_CHECKING:
    from hydra_cli.core.conversation import Conversation
    from hydra_cli.core.protocols import (
        ChatModel,
        Progress,
        Recipe,
        TextEncoder,
    )
    from hydra_cli.core.records import Answer, Query
    from hydra_cli.core.tasks import TaskSpec
    from hydra_cli.evaluation.results import TaskResult
    from hydra_cli.pipeline.answering import Draft
    from hydra_cli.pipeline.supervision import SupervisionPlan
    from hydra_cli.workflows.ask import Stopwatch
    from hydra_cli.workflows.ask_many import Drafted
    from hydra_cli.workflows.fit import FitPlan, FitReport
    from hydra_cli.workflows.pricing import Price
    from hydra_cli.workflows.rank import Examples, Ranking


class Hydra(Recorded, Answered):
    """An open store with everything that answers from it. ``open`` one."""

    # -- opening and closing

    @classmethod
    def open(
        cls,
        store: str | Path | None = None,
        *,
        create: bool = True,
        progress: OnProgress | Progress | None = None,
        on_note: Callable[[str], None] | None = None,
        encoder: TextEncoder | str | None = None,
        chat: ChatModel | None = None,
        **settings: Any,
    ) -> Hydra:
        """The store at ``store``, or the one that the command line would use.

        ``settings`` are those of the config file, by name: ``model="openai/gpt-4o-mini"``,
        ``k=6``. ``encoder`` is a name or an encoder. UsageError for a setting that
        doesn't exist, NotFound where there is no store and ``create`` is off.
        """
        from hydra_cli.wiring import open_store

        found = load_settings(Path(store) if store is not None else None)
        if isinstance(encoder, str):
            settings["encoder"], encoder = encoder, None
        chosen = overridden(found, settings)
        opened = open_store(chosen, create=create)
        return cls(opened, chosen, encoder=encoder, chat=chat, progress=progress, on_note=on_note)

    @classmethod
    def in_memory(
        cls,
        *,
        encoder: TextEncoder | None = None,
        chat: ChatModel | None = None,
        progress: OnProgress | None = None,
        **settings: Any,
    ) -> Hydra:
        """A store in memory, for tests; kept answers lie in a folder that ``close`` removes."""
        from hydra_cli.store.folder import StoreFolder
        from hydra_cli.store.memory import MemoryHistoryStore

        folder = tempfile.TemporaryDirectory(prefix="hydra-pers-")
        chosen = overridden(Settings(store=Path(folder.name)), settings)
        store = MemoryHistoryStore(answers=StoreFolder(chosen.store).answers)
        made = cls(store, chosen, encoder=encoder, chat=chat, progress=progress)
        made._closing.callback(folder.cleanup)
        return made

    def __enter__(self) -> Hydra:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # -- learning and answering

    def fit(
        self,
        users: Sequence[str] | None = None,
        *,
        task: str | None = None,
        recipe: str | None = None,
        supervision: str = "history",
        max_cost: float | None = None,
        max_calls: int | None = None,
        max_tokens: int | None = None,
        chat: ChatModel | None = None,
        **plan: Any,
    ) -> list[FitReport]:
        """Train what is missing and judge it, for some users or for all; a report a task.

        ``supervision`` "llm" asks the LLM for labels, within the limits (US dollars,
        calls, tokens), or ``chat`` in its place. ``plan`` are fields of
        ``FitPlan``: ``new_base=True``, ``without=["u7"]``, ``held_out=4``.
        """
        from hydra_cli.llm.budget import Limits
        from hydra_cli.wiring import open_chat
        from hydra_cli.workflows.fit_many import fit_tasks

        tasks, chosen, labels, how = self._fit(users, task, recipe, supervision, plan)
        if not labels.answers:
            chat = None
        elif chat is None:
            limits = Limits(max_cost, max_calls, max_tokens)
            chat = self._chat or open_chat(self.settings, limits=limits, on_note=self._on_note)
        return fit_tasks(
            self.store,
            self.settings,
            self._open_encoder(),
            chosen,
            tasks,
            plan=how,
            labels=labels,
            chat=chat,
            progress=self._watched(),
        )

    def price_of_fit(
        self,
        users: Sequence[str] | None = None,
        *,
        task: str | None = None,
        recipe: str | None = None,
        supervision: str = "history",
        **plan: Any,
    ) -> Price:
        """What ``fit`` would ask of the LLM, by stage, nothing being sent."""
        from hydra_cli.workflows.fit_many import price_of_fit

        tasks, chosen, labels, how = self._fit(users, task, recipe, supervision, plan)
        return price_of_fit(
            self.store,
            self.settings,
            self._open_encoder(),
            chosen,
            tasks,
            plan=how,
            labels=labels,
            progress=self._watched(),
        )

    def _fit(
        self,
        users: Sequence[str] | None,
        task: str | None,
        recipe: str | None,
        supervision: str,
        plan: Mapping[str, Any],
    ) -> tuple[list[TaskSpec], Recipe, SupervisionPlan, FitPlan]:
        """What is fitted and how; what can be refused is, before anything heavy is loaded."""
        from hydra_cli.modeling.recipes import DEFAULT_RECIPE, check_recipe
        from hydra_cli.workflows.fit_many import (
            check_supervision,
            choose_tasks,
            fit_plan,
            label_plan,
        )

        check_supervision(supervision)
        how = fit_plan(users, plan)
        check_recipe(recipe or DEFAULT_RECIPE)
        tasks = [self.settings.spec(name) for name in choose_tasks(self.store, users, task)]
        chosen = self._recipe(recipe)
        return tasks, chosen, label_plan(self.settings, chosen, answers=supervision == "llm"), how

    def ask(
        self,
        text: str,
        *,
        user: str | None = None,
        task: str | None = None,
        model: str | None = None,
        recipe: str | None = None,
        max_cost: float | None = None,
        max_calls: int | None = None,
        max_tokens: int | None = None,
        conversation: Conversation | None = None,
        **plan: Any,
    ) -> Answer:
        """The answer this user would give, with everything that led to it.

        ``user`` and ``task`` default as on the command line; ``plan`` overrides
        settings of the pipeline for this query: ``n=2``, ``k=6``. ``conversation``
        is the chat that the query ends. BudgetExceeded where a limit (US dollars,
        calls, tokens) doesn't allow the calls.
        """
        from hydra_cli.llm.budget import Limits
        from hydra_cli.workflows.ask import ask

        query, spec, settings = self._query(text, user, task, plan)
        # What can be refused is refused before the encoder is loaded.
        chat = self._open_chat(model, Limits(max_cost, max_calls, max_tokens))
        personal = self._personal(query.user, spec.name, recipe)
        answer = ask(
            query,
            spec,
            store=self.store,
            encoder=self._open_encoder(),
            chat=chat,
            personal=personal,
            plan=settings.plan,
            conversation=conversation,
            progress=self._watched(),
        )
        self._keep(answer, settings)
        return answer

    @overload
    def ask_many(
        self,
        queries: Iterable[str | Mapping[str, Any]],
        *,
        keep_errors: Literal[False] = False,
        **options: Any,
    ) -> Iterator[Answer]: ...

    @overload
    def ask_many(
        self,
        queries: Iterable[str | Mapping[str, Any]],
        *,
        keep_errors: Literal[True],
        **options: Any,
    ) -> Iterator[Answer | HydraError]: ...

    def ask_many(
        self,
        queries: Iterable[str | Mapping[str, Any]],
        *,
        keep_errors: bool = False,
        **options: Any,
    ) -> Iterator[Any]:
        """The answers that ``ask`` would give, in the order of the queries, asked side by side.

        Queries are texts, or mappings of query, user and task; they are read some
        ahead. ``options`` are those of ``ask``, limits for all queries together.
        With ``keep_errors`` a query that can't be answered (an unknown user, a
        refused prompt) gives its error in its place and the rest goes on.
        """
        outcomes = self._outcomes(queries, **options)
        return outcomes if keep_errors else _raising(outcomes)

    def _outcomes(
        self,
        queries: Iterable[str | Mapping[str, Any]],
        *,
        user: str | None = None,
        task: str | None = None,
        model: str | None = None,
        recipe: str | None = None,
        max_cost: float | None = None,
        max_calls: int | None = None,
        max_tokens: int | None = None,
        **plan: Any,
    ) -> Iterator[Answer | HydraError]:
        from hydra_cli.llm.budget import Limits
        from hydra_cli.workflows.ask_many import OF_THE_QUERY, ask_many, asked_of

        # What can be refused for all of them is refused at once.
        settings = overridden(self.settings, plan)
        self._recipe(recipe)
        chat = self._open_chat(model, Limits(max_cost, max_calls, max_tokens))

        def drafts() -> Iterator[Drafted | HydraError]:
            for query in queries:
                try:
                    asked = asked_of(query)
                    found = self._query(asked.text, asked.user or user, asked.task or task, plan)
                except OF_THE_QUERY as error:
                    yield error
                    continue
                yield self._drafted(*found, recipe)

        return self._each_kept(ask_many(drafts(), chat), settings)

    def _each_kept(
        self, outcomes: Iterator[Answer | HydraError], settings: Settings
    ) -> Iterator[Answer | HydraError]:
        for outcome in outcomes:
            if not isinstance(outcome, HydraError):
                self._keep(outcome, settings)
            yield outcome

    def _drafted(
        self, query: Query, spec: TaskSpec, settings: Settings, recipe: str | None
    ) -> Drafted:
        from hydra_cli.workflows.ask import Stopwatch, draft_query
        from hydra_cli.workflows.ask_many import Drafted

        watch = Stopwatch()
        draft = draft_query(
            query,
            spec,
            store=self.store,
            encoder=self._open_encoder(),
            personal=self._personal(query.user, spec.name, recipe),
            plan=settings.plan,
            watch=watch,
        )
        return Drafted(draft, watch)

    def draft(
        self,
        text: str,
        *,
        user: str | None = None,
        task: str | None = None,
        recipe: str | None = None,
        conversation: Conversation | None = None,
        watch: Stopwatch | None = None,
        **plan: Any,
    ) -> Draft:
        """What ``ask`` would send to the LLM, without sending it; ``watch`` takes the time."""
        from hydra_cli.workflows.ask import draft_query

        query, spec, settings = self._query(text, user, task, plan)
        return draft_query(
            query,
            spec,
            store=self.store,
            encoder=self._open_encoder(),
            personal=self._personal(query.user, spec.name, recipe),
            plan=settings.plan,
            conversation=conversation,
            watch=watch,
        )

    def complete(
        self, draft: Draft, *, model: str | None = None, watch: Stopwatch | None = None
    ) -> Answer:
        """The answer to a ``draft``, as ``ask`` gives and keeps it; ``watch`` takes the time."""
        from hydra_cli.workflows.ask import Stopwatch, answer_draft

        chat = self._open_chat(model)
        answer = answer_draft(draft, chat, watch or Stopwatch(), progress=self._watched())
        self.keep(answer)
        return answer

    def examples(
        self, text: str, *, user: str | None = None, task: str | None = None, **plan: Any
    ) -> Examples:
        """The records that ``ask`` would show the LLM, for a prompt of your own."""
        from hydra_cli.workflows.rank import examples

        return examples(self.draft(text, user=user, task=task, **{"n": 1, **plan}))

    def rank(
        self,
        text: str,
        drafts: Sequence[str],
        *,
        user: str | None = None,
        task: str | None = None,
        **plan: Any,
    ) -> Ranking:
        """Answers that you have, in the order of this user's adapter; no LLM is asked.

        What was chosen is kept as an answer, ``feedback(ranking.answer.id)``.
        """
        from hydra_cli.workflows.rank import rank

        found = rank(self.draft(text, user=user, task=task, **{"n": 1, **plan}), drafts)
        if found.answer.candidates:
            self.keep(found.answer)
        return found

    def warm_up(self) -> None:
        """Load what the first query would wait for.

        It is played for the user of the fewest records, with made-up answers: nothing is sent.
        """
        from contextlib import suppress

        from hydra_cli.llm.scripted import ScriptedChat
        from hydra_cli.wiring import preload_chat
        from hydra_cli.workflows.ask import Stopwatch, answer_draft

        self.async_chat()
        if self._chat is None:
            preload_chat(self.settings)
        self._open_encoder().encode(["warm"])
        users = self.users()
        with suppress(HydraError):  # what is wrong with one user is told when they ask
            if users:
                least = min(users, key=lambda one: one.records)
                drafted = self.draft("warm", user=least.user)
                answer_draft(drafted, ScriptedChat(lambda _, sample: f"warm {sample}"), Stopwatch())

    # -- evaluating

    def evaluate(
        self,
        methods: str = "all",
        *,
        suite: str | Path | None = None,
        task: str | None = None,
        hold_out: int = 5,
        seeds: Sequence[int] = (0,),
        users: int | None = None,
        queries: int | None = None,
    ) -> Iterator[TaskResult]:
        """Compare methods, by name as on the command line; each task's results as it is done.

        On the store's latest records (``hold_out`` of each user), or on a folder of
        LaMP files, ``suite``. ``users`` and ``queries`` limit how much is evaluated.
        """
        from hydra_cli.evaluation.engine import EvalPlan
        from hydra_cli.evaluation.methods import parse_methods
        from hydra_cli.workflows import evaluate

        limits = evaluate.DataLimits(users, queries)
        source: evaluate.Source = evaluate.StoreRecords(self.store, task, hold_out)
        if suite is not None:
            source = evaluate.SuiteFolder(Path(suite), (task,) if task else ())
        plan = EvalPlan(parse_methods(methods), seeds=tuple(seeds), answering=self.settings.plan)
        return evaluate.run(
            source,
            plan,
            self.settings,
            open_encoder=self._open_encoder,
            open_chat=lambda: self._open_chat(None),
            progress=self._watched(),
            limits=limits,
        )


def _raising(outcomes: Iterator[Answer | HydraError]) -> Iterator[Answer]:
    for outcome in outcomes:
        if isinstance(outcome, HydraError):
            raise outcome
        yield outcome
