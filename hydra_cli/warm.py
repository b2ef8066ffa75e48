"""What an open ``Hydra`` keeps: the store, its settings, and all that was opened once.

Encoder, LLMs and recipes are opened when they are first needed; several threads
may ask for them. Bases, heads and histories are kept by the store.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from hydra_cli.config import Settings
from hydra_cli.core.errors import StoreError
from hydra_cli.core.progress import Silent

if TYPE_CHECKING:
    from hydra_cli.core.protocols import AsyncChatModel, ChatModel, Progress, Recipe, TextEncoder
    from hydra_cli.core.records import Answer, Query
    from hydra_cli.core.tasks import TaskSpec
    from hydra_cli.llm.budget import Limits
    from hydra_cli.pipeline.personalization import Personalization
    from hydra_cli.store.contract import Store

MOST_CHATS = 64
"""LLMs that are kept open for an event loop."""

OnProgress = Callable[[str, int, "int | None"], None]
"""Told what is being done, how many steps of it are, and of how many (None: unknown)."""


class Warm:
    """An open store with its encoder, LLMs and recipes, each opened once."""

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
        self._async_chats: dict[str, AsyncChatModel] = {}
        self._recipes: dict[str, Recipe] = {}
        self._progress = progress
        self._on_note = on_note
        self._learned: Mapping[str, TaskSpec] | None = None
        self._opening = threading.RLock()
        self._closing = ExitStack()

    def close(self) -> None:
        """Let everything go. Closing twice is fine."""
        self._closing.close()
        self.store.answer_log.close()
        self._chats.clear()
        self._async_chats.clear()

    def _query(
        self, text: str, user: str | None, task: str | None, plan: Mapping[str, Any]
    ) -> tuple[Query, TaskSpec, Settings]:
        from hydra_cli.workflows.ask import make_query
        from hydra_cli.workflows.choosing import choose_task, choose_user

        self._heed_tasks()
        settings = overridden(self.settings, plan)
        chosen = choose_user(self.store, user or settings.user)
        spec = settings.spec(choose_task(self.store, chosen, task))
        return make_query(text, chosen, spec), spec, settings

    def _personal(self, user: str, task: str, recipe: str | None) -> Personalization:
        from hydra_cli.pipeline.personalization import personalization

        chosen = self._recipe(recipe)
        spec = self.settings.spec(task)
        found = personalization(self.store.weights, user, spec, chosen, self._open_encoder())
        try:
            return found.after(self.store.answer_log.heard(user, task))
        except StoreError as error:
            # Feedback makes an answer better; without it there still is one.
            self._note(f"feedback can't be read, and doesn't count: {error.message}")
            return found

    def _recipe(self, name: str | None) -> Recipe:
        from hydra_cli.modeling.recipes import DEFAULT_RECIPE, recipe_named

        name = name or DEFAULT_RECIPE
        with self._opening:
            if name not in self._recipes:
                self._recipes[name] = recipe_named(name)
            return self._recipes[name]

    @property
    def encoder(self) -> TextEncoder:
        """The text encoder, opened by whoever asks first."""
        return self._open_encoder()

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

    def _keep(self, answer: Answer, settings: Settings) -> bool:
        from hydra_cli.workflows.keeping import keep_answer

        return keep_answer(self.store, answer, days=settings.answers_days, note=self._note)

    def _note(self, text: str) -> None:
        (self._on_note or _to_stderr)(text)

    def opened_chat(self, model: str | None = None) -> AsyncChatModel | None:
        """The LLM for an event loop, where somebody opened it before; nobody waits for this."""
        return self._async_chats.get(model or self.settings.model)

    def async_chat(self, model: str | None = None) -> AsyncChatModel:
        """The LLM for an event loop; an LLM that was handed in answers from threads."""
        from hydra_cli.llm.threaded_chat import ThreadedChat
        from hydra_cli.wiring import open_async_chat

        name = model or self.settings.model
        with self._opening:
            if name not in self._async_chats:
                if len(self._async_chats) >= MOST_CHATS:  # clients may name any number of models
                    own = self.settings.model  # the one that most requests mean: it stays
                    self._async_chats.pop(next(n for n in self._async_chats if n != own))
                self._async_chats[name] = (
                    ThreadedChat(self._chat)
                    if self._chat is not None
                    else open_async_chat(self.settings, model=name, on_note=self._on_note)
                )
            return self._async_chats[name]

    def _heed_tasks(self) -> None:
        """Tasks that an ingest, ours or another's, has learned; the config file's keys lie over."""
        from hydra_cli.wiring import with_recognised

        found = self.store.tasks()
        if found != self._learned:
            self.settings = with_recognised(self.settings, found)
            self._learned = found

    def _watched(self) -> Progress:
        if self._progress is None:
            return Silent()
        if callable(self._progress):
            return _Callback(self._progress)
        return self._progress


def _to_stderr(text: str) -> None:
    sys.stderr.write(f"note: {text}\n")


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


def overridden(settings: Settings, values: Mapping[str, Any]) -> Settings:
    """The settings with some of them given by name; UsageError for an unknown one."""
    from hydra_cli.config import check_values

    given = {key: value for key, value in values.items() if value is not None}
    return settings.override(**check_values(given))
