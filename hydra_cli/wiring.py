"""The one place that picks store, encoder and LLM. Each is imported only when it is opened."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from hydra_cli.config import Settings, resolved, store_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from hydra_cli.core.protocols import AsyncChatModel, ChatModel, TextEncoder
    from hydra_cli.core.tasks import TaskSpec
    from hydra_cli.llm.answer_cache import AnswerCache
    from hydra_cli.llm.budget import Limits
    from hydra_cli.llm.offline import Offline
    from hydra_cli.store.api_keys import ApiKeys
    from hydra_cli.store.contract import Store


def load_settings(store: Path | None = None) -> Settings:
    """The settings of a store's folder; UsageError names the line that makes no sense.

    The config file lies over the tasks recognised at ingest, and they over the presets.
    """
    from hydra_cli.store.folder import StoreFolder
    from hydra_cli.store.task_file import load_tasks

    folder = store_folder(store)
    return resolved(folder, load_tasks(folder), StoreFolder(folder).settings)


def with_recognised(settings: Settings, recognised: Mapping[str, TaskSpec]) -> Settings:
    """The settings after an ingest has recognised tasks, the config file's keys over them."""
    from hydra_cli.store.folder import StoreFolder

    known = resolved(settings.store, recognised, StoreFolder(settings.store).settings).tasks
    new = {name: known[name] for name in recognised}
    return replace(settings, tasks={**settings.tasks, **new})


def open_store(settings: Settings, *, create: bool = False) -> Store:
    """The store of ``settings.store``; NotFound where there is none and ``create`` is off."""
    from hydra_cli.store.lance_store import LanceStore

    return LanceStore.open(settings.store, create=create)


def open_api_keys(settings: Settings) -> ApiKeys:
    """The keys to a server of the store, whether there is a store yet or not."""
    from hydra_cli.store.api_keys import ApiKeys
    from hydra_cli.store.folder import StoreFolder

    return ApiKeys(StoreFolder(settings.store))


def open_answers(settings: Settings) -> AnswerCache | None:
    """The answers that the store keeps, or None where the settings want none kept."""
    if not settings.cache:
        return None
    from hydra_cli.llm.answer_cache import AnswerCache
    from hydra_cli.store.folder import StoreFolder

    return AnswerCache(StoreFolder(settings.store).answers)


def open_encoder(settings: Settings, *, kept: Path | None = None) -> TextEncoder:
    """The text encoder, fetched once where it isn't on disk yet; ``kept`` keeps its vectors."""
    from hydra_cli.models.bert_encoder import open_text_encoder

    encoder = open_text_encoder(settings.encoder)
    if kept is None:
        return encoder
    from hydra_cli.models.kept_encoder import KeptEncoder

    return KeptEncoder(encoder, kept)


def open_chat(
    settings: Settings,
    *,
    model: str | None = None,
    limits: Limits | None = None,
    on_note: Callable[[str], None] | None = None,
) -> ChatModel:
    """The LLM, with its fallbacks, the answer cache and the budget.

    Refused before any request: a provider outside the store's list, a missing
    key, an unknown model, a cost limit on an unknown price.
    ``on_note`` hears what the user should know (default: a line on stderr).
    """
    from hydra_cli.llm.setup import build_chat

    return build_chat(
        settings, model or settings.model, limits, on_note, cache=open_answers(settings)
    )


def preload_chat(settings: Settings) -> None:
    """Load what the LLM's first request would wait for; nothing is sent."""
    from hydra_cli.llm.setup import preload

    preload(settings)


def open_async_chat(
    settings: Settings,
    *,
    model: str | None = None,
    limits: Limits | None = None,
    on_note: Callable[[str], None] | None = None,
) -> AsyncChatModel:
    """``open_chat`` for an event loop."""
    from hydra_cli.llm.setup import build_async_chat

    return build_async_chat(
        settings, model or settings.model, limits, on_note, cache=open_answers(settings)
    )


def open_offline(
    settings: Settings,
    *,
    requests: Path | None,
    answers: Sequence[Path],
    limits: Limits | None = None,
    on_note: Callable[[str], None] | None = None,
) -> Offline:
    """The LLM with answers that were made elsewhere; with ``requests``, nobody is asked.

    Both files, and all that ``open_chat`` refuses, are checked before any request.
    """
    from hydra_cli.llm.setup import build_offline

    return build_offline(settings, requests, answers, limits, on_note, cache=open_answers(settings))
