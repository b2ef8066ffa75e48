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

import io
import json
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, overload

from hydra_cli.config import Settings
from hydra_cli.core.errors import HydraError, UsageError
from hydra_cli.core.progress import Silent
from hydra_cli.wiring import load_settings

if TYPE_CHECKING:
    from hydra_cli.core.protocols import (
        ChatModel,
        Progress,
        Recipe,
        TextEncoder,
        UserSummary,
    )
    from hydra_cli.core.records import Answer, Query, Record
    from hydra_cli.core.tasks import TaskSpec
    from hydra_cli.evaluation.results import TaskResult
    from hydra_cli.llm.budget import Limits
    from hydra_cli.pipeline.answering import Draft
    from hydra_cli.pipeline.personalization import Personalization
    from hydra_cli.store.archives import Manifest
    from hydra_cli.store.contract import Store
    from hydra_cli.store.scope import Erased
    from hydra_cli.workflows.ask_many import Drafted
    from hydra_cli.workflows.fit import FitReport
    from hydra_cli.workflows.ingest import IngestReport

OnProgress = Callable[[str, int, "int | None"], None]
"""Told what is being done, how many steps of it are, and of how many (None: unknown)."""


class Hydra:
    """An open store with everything that answers from it. ``open`` one."""

    def __init__(
        self,
        store: Store,
        settings: Settings,
        *,
        encoder: TextEncoder | None = None,
        chat: ChatModel | None = None,
        progress: OnProgress | Progress | None = None,
        on_note: Callable[[str], None] | None = None,
    ) -> None:
        """``encoder`` and ``chat`` take the place of those that the settings name.

        ``on_note`` hears what the LLM's edge has to tell (default: a line on stderr).
        """
        self.store = store
        self.settings = settings
        self._encoder = encoder
        self._chat = chat
        self._chats: dict[str, ChatModel] = {}
        self._recipes: dict[str, Recipe] = {}
        self._progress = progress
        self._on_note = on_note
        self._opening = threading.RLock()
        self._closing = ExitStack()

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
        chosen = _overridden(found, settings)
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
        chosen = _overridden(Settings(store=Path(folder.name)), settings)
        store = MemoryHistoryStore(answers=StoreFolder(chosen.store).answers)
        made = cls(store, chosen, encoder=encoder, chat=chat, progress=progress)
        made._closing.callback(folder.cleanup)
        return made

    def close(self) -> None:
        """Let everything go. Closing twice is fine."""
        self._closing.close()
        self._chats.clear()

    def __enter__(self) -> Hydra:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # -- histories

    def ingest(
        self,
        *sources: str | Path | Mapping[str, Any],
        columns: Mapping[str, str] | None = None,
        task: str | None = None,
        user: str | None = None,
        kind: str | None = None,
    ) -> IngestReport:
        """Read files, or records given as mappings, into the store; twice adds nothing.

        ``columns`` maps fields to columns: ``{"user": "agent", "output": "reply"}``.
        DataError where no source has a usable record.
        """
        from hydra_cli.workflows import ingest_setup
        from hydra_cli.workflows.ingest import ingest

        mapped = ",".join(f"{name}={column}" for name, column in (columns or {}).items())
        given = [source for source in sources if isinstance(source, Mapping)]
        paths = [Path(source) for source in sources if not isinstance(source, Mapping)]
        lines = "".join(json.dumps(dict(record), default=str) + "\n" for record in given)
        found: list[Path | None] = [None] if given else []
        if paths:
            found += ingest_setup.sources(paths, self.settings, io.BytesIO())[0]
        report = ingest(
            found,
            self.store,
            ingest_setup.learner(self.settings, self.store, ingest_setup.given_kind(kind)),
            self.settings.tasks,
            options=ingest_setup.options(mapped, task=task, user=user, restore=False),
            stdin=io.BytesIO(lines.encode()),
            progress=self._watched(),
        )
        self._reload_tasks()
        return report

    def users(self) -> list[UserSummary]:
        """Every user with their number of records, tasks and first and last time."""
        return self.store.users()

    def history(
        self, user: str, *, task: str | None = None, limit: int | None = None
    ) -> list[Record]:
        """The user's newest ``limit`` records, oldest first; NotFound for an unknown user."""
        from hydra_cli.workflows.browse import user_history

        return user_history(self.store, user, task=task, limit=limit)

    def forget(self, user: str, *, task: str | None = None, record: str | None = None) -> Erased:
        """Erase a user's records, vectors, heads and kept answers for good."""
        from hydra_cli.store.scope import Scope
        from hydra_cli.workflows.forget import plan_forget

        scope = Scope(user, task, record)
        plan_forget(self.store, scope)
        return self.store.forget(scope)

    def export(
        self, target: str | Path, *, users: Sequence[str] = (), format: str = "jsonl"
    ) -> Manifest:
        """Write some users, or with none named the whole store, in an open format."""
        from hydra_cli.workflows.transfer import export_users

        return export_users(self.store, Path(target), users, format)

    # -- learning and answering

    def fit(
        self,
        users: Sequence[str] | None = None,
        *,
        task: str | None = None,
        recipe: str | None = None,
        new_base: bool = False,
        supervision: str = "history",
        max_calls: int | None = None,
        max_cost: float | None = None,
    ) -> list[FitReport]:
        """Train what is missing and judge it, for some users or for all; a report a task.

        ``supervision`` "llm" asks the LLM for labels, within ``max_calls`` and
        ``max_cost`` (US dollars).
        """
        from hydra_cli.llm.budget import Limits
        from hydra_cli.wiring import open_chat
        from hydra_cli.workflows.fit import FitPlan
        from hydra_cli.workflows.fit_many import choose_tasks, fit_tasks, label_plan

        if supervision not in ("history", "llm"):
            raise UsageError(f"supervision can't be {supervision!r}", hint="history or llm")
        tasks = [self.settings.spec(name) for name in choose_tasks(self.store, users, task)]
        chosen = self._recipe(recipe)
        labels = label_plan(self.settings, chosen, answers=supervision == "llm")
        chat = None
        if labels.answers:
            limits = Limits(max_calls=max_calls, max_cost=max_cost)
            chat = self._chat or open_chat(self.settings, limits=limits, on_note=self._on_note)
        return fit_tasks(
            self.store,
            self.settings,
            self._open_encoder(),
            chosen,
            tasks,
            plan=FitPlan(users=tuple(users) if users else None, new_base=new_base),
            labels=labels,
            chat=chat,
            progress=self._watched(),
        )

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
        **plan: Any,
    ) -> Answer:
        """The answer this user would give, with everything that led to it.

        ``user`` and ``task`` default as on the command line; ``plan`` overrides
        settings of the pipeline for this query: ``n=2``, ``k=6``. BudgetExceeded
        where a limit (US dollars, calls, tokens) doesn't allow the calls.
        """
        from hydra_cli.llm.budget import Limits
        from hydra_cli.workflows.ask import ask

        query, spec, settings = self._query(text, user, task, plan)
        # What can be refused is refused before the encoder is loaded.
        chat = self._open_chat(model, Limits(max_cost, max_calls, max_tokens))
        personal = self._personal(query.user, spec.name, recipe)
        return ask(
            query,
            spec,
            store=self.store,
            encoder=self._open_encoder(),
            chat=chat,
            personal=personal,
            plan=settings.plan,
            progress=self._watched(),
        )

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
        from hydra_cli.workflows.ask_many import OF_THE_QUERY, ask_many, question_of

        # What can be refused for all of them is refused at once.
        _overridden(self.settings, plan)
        self._recipe(recipe)
        chat = self._open_chat(model, Limits(max_cost, max_calls, max_tokens))

        def drafts() -> Iterator[Drafted | HydraError]:
            for query in queries:
                try:
                    asked = question_of(query)
                    found = self._query(asked.text, asked.user or user, asked.task or task, plan)
                except OF_THE_QUERY as error:
                    yield error
                    continue
                yield self._drafted(*found, recipe)

        return ask_many(drafts(), chat)

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
        **plan: Any,
    ) -> Draft:
        """What ``ask`` would send to the LLM, without sending it."""
        from hydra_cli.workflows.ask import draft_query

        query, spec, settings = self._query(text, user, task, plan)
        return draft_query(
            query,
            spec,
            store=self.store,
            encoder=self._open_encoder(),
            personal=self._personal(query.user, spec.name, recipe),
            plan=settings.plan,
        )

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

    # -- what is kept warm

    def _query(
        self, text: str, user: str | None, task: str | None, plan: Mapping[str, Any]
    ) -> tuple[Query, TaskSpec, Settings]:
        from hydra_cli.workflows.ask import make_query
        from hydra_cli.workflows.choosing import choose_task, choose_user

        settings = _overridden(self.settings, plan)
        chosen = choose_user(self.store, user or settings.user)
        spec = settings.spec(choose_task(self.store, chosen, task))
        return make_query(text, chosen, spec), spec, settings

    def _personal(self, user: str, task: str, recipe: str | None) -> Personalization:
        from hydra_cli.pipeline.personalization import personalization

        chosen = self._recipe(recipe)
        spec = self.settings.spec(task)
        return personalization(self.store.weights, user, spec, chosen, self._open_encoder())

    def _recipe(self, name: str | None) -> Recipe:
        from hydra_cli.modeling.recipes import DEFAULT_RECIPE, recipe_named

        name = name or DEFAULT_RECIPE
        with self._opening:
            if name not in self._recipes:
                self._recipes[name] = recipe_named(name)
            return self._recipes[name]

    def _open_encoder(self) -> TextEncoder:
        from hydra_cli.wiring import open_encoder

        with self._opening:
            if self._encoder is None:
                self._encoder = open_encoder(self.settings)
            return self._encoder

    def _open_chat(self, model: str | None, limits: Limits | None = None) -> ChatModel:
        from hydra_cli.llm.budget import Limits
        from hydra_cli.wiring import open_chat

        if self._chat is not None and model is None:
            return self._chat
        name = model or self.settings.model
        if limits not in (None, Limits()):  # limits hold for one call of ours, not for the next
            return open_chat(self.settings, model=name, limits=limits, on_note=self._on_note)
        with self._opening:
            if name not in self._chats:
                self._chats[name] = open_chat(self.settings, model=name, on_note=self._on_note)
            return self._chats[name]

    def _reload_tasks(self) -> None:
        """Tasks that an ingest has just learned."""
        tasks = {**self.settings.tasks, **self.store.tasks()}
        self.settings = replace(self.settings, tasks=tasks)

    def _watched(self) -> Progress:
        if self._progress is None:
            return Silent()
        if callable(self._progress):
            return _Callback(self._progress)
        return self._progress


def _raising(outcomes: Iterator[Answer | HydraError]) -> Iterator[Answer]:
    for outcome in outcomes:
        if isinstance(outcome, HydraError):
            raise outcome
        yield outcome


class _Callback:
    """A Progress that calls a function."""

    def __init__(self, tell: OnProgress) -> None:
        self._tell = tell
        self._label = ""
        self._done = 0
        self._total: int | None = None

    def start(self, label: str, total: int | None) -> None:
        self._label, self._done, self._total = label, 0, total
        self._tell(label, 0, total)

    def advance(self, steps: int = 1) -> None:
        self._done += steps
        self._tell(self._label, self._done, self._total)

    def note(self, text: str) -> None:
        self._tell(text, 0, None)


def _overridden(settings: Settings, values: Mapping[str, Any]) -> Settings:
    """The settings with some of them given by name; UsageError for an unknown one."""
    from hydra_cli.config import check_values

    given = {key: value for key, value in values.items() if value is not None}
    return settings.override(**check_values(given))
