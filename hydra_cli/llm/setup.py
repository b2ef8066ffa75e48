"""Settings to a ChatModel: everything that can be refused is refused here."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path

from hydra_cli.config import Settings
from hydra_cli.core.errors import UsageError
from hydra_cli.core.protocols import ChatModel
from hydra_cli.llm import pricing
from hydra_cli.llm.answer_cache import AnswerCache
from hydra_cli.llm.async_calls import AsyncCaller
from hydra_cli.llm.async_chat import AsyncChat
from hydra_cli.llm.budget import Budget, Limits
from hydra_cli.llm.litellm_chat import LiteLLMChat
from hydra_cli.llm.litellm_loading import load_litellm
from hydra_cli.llm.offline import Offline, Recorder, Supplied, Supply
from hydra_cli.llm.provider_calls import Caller, Patience
from hydra_cli.llm.providers import LOCAL, Endpoint, check_allowed, check_key, resolve
from hydra_cli.models.files import find_model

WAITED_FOR = Patience(attempts=3, slow_attempts=1, longest_wait=2.0)
"""For calls whose asker waits at the other end of a connection."""


def build_chat(
    settings: Settings,
    model: str,
    limits: Limits | None,
    on_note: Callable[[str], None] | None,
    *,
    cache: AnswerCache | None,
) -> LiteLLMChat:
    """The chat model of the settings; ProviderError or UsageError before any request."""
    limits = limits or Limits()
    note = on_note or _to_stderr
    callers = [
        Caller(
            endpoint,
            timeout=settings.timeout,
            concurrency=settings.concurrency,
            on_note=note,
        )
        for endpoint in _endpoints(settings, model, limits)
    ]
    return LiteLLMChat(
        callers,
        cache=cache,
        budget=Budget(limits),
        concurrency=settings.concurrency,
        on_note=note,
    )


def preload(settings: Settings) -> None:
    """Load what the first request would wait for: litellm, and an embedded LLM's weights."""
    load_litellm()
    import_module("openai.resources")  # what litellm's own client imports at its first call
    if allowed_endpoint(settings.model, settings).provider == LOCAL:
        from hydra_cli.llm.local_chat import open_local_chat

        open_local_chat(settings.model.removeprefix(f"{LOCAL}/"))


def build_async_chat(
    settings: Settings,
    model: str,
    limits: Limits | None,
    on_note: Callable[[str], None] | None,
    *,
    cache: AnswerCache | None,
) -> AsyncChat:
    """The same for an event loop."""
    limits = limits or Limits()
    note = on_note or _to_stderr
    callers = [
        AsyncCaller(
            endpoint,
            timeout=settings.timeout,
            concurrency=settings.concurrency,
            on_note=note,
            patience=WAITED_FOR,
        )
        for endpoint in _endpoints(settings, model, limits)
    ]
    return AsyncChat(callers, cache=cache, budget=Budget(limits), on_note=note)


def _endpoints(settings: Settings, model: str, limits: Limits) -> list[Endpoint]:
    """The model's endpoint and the fallbacks', each of which may be asked."""
    if not settings.timeout > 0 or settings.concurrency < 1:
        raise UsageError("the settings timeout and concurrency must be positive")
    endpoints = [
        allowed_endpoint(name, settings) for name in dict.fromkeys((model, *settings.fallbacks))
    ]
    for endpoint in endpoints:
        _prepare(endpoint, limits)
    return endpoints


def build_offline(
    settings: Settings,
    requests: Path | None,
    answers: Sequence[Path],
    limits: Limits | None,
    on_note: Callable[[str], None] | None,
    *,
    cache: AnswerCache | None,
) -> Offline:
    """The LLM with answers of files; where ``requests`` is named, nobody is asked.

    Without requests to make no key is needed. UsageError where the answer cache is off.
    """
    if cache is None:
        raise UsageError(
            "answers made elsewhere need the answer cache, and it is off",
            hint="`hydra-pers config set cache true`",
        )
    endpoint = allowed_endpoint(settings.model, settings)
    note = on_note or _to_stderr
    chat: ChatModel
    recorder = None
    if requests is None:
        chat = build_chat(settings, settings.model, limits, on_note, cache=cache)
    else:
        if endpoint.provider == LOCAL:
            find_model(endpoint.model.removeprefix(f"{LOCAL}/"))
        caller = Caller(endpoint, timeout=settings.timeout, concurrency=1, on_note=note)
        chat = recorder = Recorder(caller, cache)
    supply = Supply(answers, cache, endpoint)
    return Offline(Supplied(chat, supply), supply, recorder, requests, note)


def allowed_endpoint(model: str, settings: Settings) -> Endpoint:
    """The model's endpoint, where the store isn't pinned to other providers."""
    endpoint = resolve(model)
    check_allowed(endpoint, settings.providers)
    return endpoint


def _prepare(endpoint: Endpoint, limits: Limits) -> None:
    if endpoint.provider == LOCAL:
        # NotFound for a name that can't be a model's; it is loaded by the first call.
        find_model(endpoint.model.removeprefix(f"{LOCAL}/"))
    if limits.max_calls != 0:
        check_key(endpoint)
    if limits.max_cost is not None and pricing.price(endpoint) is None:
        raise UsageError(
            f"the price of {endpoint.model} is unknown, so --max-cost can't be kept",
            hint="limit it with --max-calls or --max-tokens instead",
        )


def _to_stderr(text: str) -> None:
    sys.stderr.write(f"note: {text}\n")
