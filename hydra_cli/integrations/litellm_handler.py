"""``hydra/<model>[@<task>]`` for litellm: completions as one user would write them.

In a program::

    import litellm
    from hydra_cli.integrations.litellm_handler import register

    register()
    litellm.completion(model="hydra/openai/gpt-4o-mini", messages=[...], user="u42")

In the config of litellm's proxy::

    litellm_settings:
      custom_provider_map:
        - provider: hydra
          custom_handler: hydra_cli.integrations.litellm_handler.handler

What can't be personal (tools, images, an unknown user ...) is the LLM's own answer, and the
field ``hydra`` of the response says why, as ``hydra-pers serve`` does.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Iterator, Mapping
from concurrent.futures import Future
from contextlib import aclosing, contextmanager
from dataclasses import replace
from typing import Any, TypeVar

import litellm
import orjson
from litellm.llms import custom_llm

from hydra_cli.api import Hydra
from hydra_cli.core.errors import HydraError
from hydra_cli.core.protocols import AsyncChatModel
from hydra_cli.core.records import Answer
from hydra_cli.integrations.shared import shared_hydra
from hydra_cli.llm.litellm_loading import adopt_litellm
from hydra_cli.pipeline.answering import Draft
from hydra_cli.serving import bodies, replies
from hydra_cli.serving.asker import Asker
from hydra_cli.serving.errors import ApiError, api_error
from hydra_cli.serving.personal_ask import PersonalAsk
from hydra_cli.serving.service import ServeOptions, Service
from hydra_cli.serving.whose import Whose, whose

PROVIDER = "hydra"
_END = object()
T = TypeVar("T")

# The host's litellm: its callbacks and logs are the host's to choose.
adopt_litellm(litellm)


class HydraProvider(custom_llm.CustomLLM):
    """Answers litellm's completion calls from a store, opened at the first of them."""

    def __init__(self, open_store: Callable[[], Hydra] = shared_hydra) -> None:
        super().__init__()
        self._open_store = open_store
        self._loop = _Loop()

    def completion(  # type: ignore[override]  # litellm passes all by keyword
        self, model: str, messages: list[Any], model_response: Any, **given: Any
    ) -> Any:
        """litellm's hook for an answer as a whole."""
        return self._loop.call(self._completed(model, messages, model_response, given))

    async def acompletion(  # type: ignore[override]  # litellm passes all by keyword
        self, model: str, messages: list[Any], model_response: Any, **given: Any
    ) -> Any:
        """The same for a task; where that is cancelled, the calls hang up."""
        return await self._loop.acall(self._completed(model, messages, model_response, given))

    def streaming(  # type: ignore[override]  # litellm passes all by keyword
        self, model: str, messages: list[Any], model_response: Any, **given: Any
    ) -> Iterator[Any]:
        """litellm's hook for chunks: a lone answer as it comes, a chosen one at its end."""
        chunks = self._chunks(model, messages, given)
        try:
            while (chunk := self._loop.call(_next(chunks))) is not _END:
                yield chunk
        finally:
            self._loop.call(chunks.aclose())

    async def astreaming(  # type: ignore[override]  # litellm passes all by keyword
        self, model: str, messages: list[Any], model_response: Any, **given: Any
    ) -> AsyncIterator[Any]:
        """The same for a task; whoever stops reading hangs up."""
        chunks = self._chunks(model, messages, given)
        try:
            while (chunk := await self._loop.acall(_next(chunks))) is not _END:
                yield chunk
        finally:
            await self._loop.acall(chunks.aclose())

    async def _completed(
        self, model: str, messages: list[Any], response: Any, given: Mapping[str, Any]
    ) -> Any:
        with _told_as_litellm():
            body = _body(model, messages, given)
            service, found, chat = await asyncio.to_thread(self._found, body, given)
            if isinstance(found, str):
                made = await chat.forward(body.raw)
                return litellm.ModelResponse(**made, hydra=replies.plain(found))
            draft, answer = await PersonalAsk(service, body, found, chat).answered()
            return _filled(response, body, draft, answer)

    async def _chunks(
        self, model: str, messages: list[Any], given: Mapping[str, Any]
    ) -> AsyncGenerator[Any, None]:
        with _told_as_litellm():
            body = _body(model, messages, given)
            service, found, chat = await asyncio.to_thread(self._found, body, given)
            if isinstance(found, str):
                async with aclosing(chat.forward_stream(body.raw)) as coming:
                    async for chunk in coming:
                        yield litellm.ModelResponseStream(**chunk)
                return
            ask = PersonalAsk(service, replace(body, include_usage=True), found, chat)
            async with aclosing(ask.events(explain=False)) as events:
                async for chunk in _generic(events):
                    yield chunk

    def _found(
        self, body: bodies.ChatBody, given: Mapping[str, Any]
    ) -> tuple[Service, Whose | str, AsyncChatModel]:
        """Whose answer it is, or why it is the LLM's own; and the LLM."""
        service = Service(self._open_store(), ServeOptions())
        headers = {str(k).lower(): str(v) for k, v in (given.get("headers") or {}).items()}
        found = whose(service, Asker(), headers, body.raw, body.target.task)
        why_not = body.why_not or found.why_not
        chat = service.hydra.async_chat(body.target.model)
        return service, found if why_not is None else why_not, chat


class _Loop:
    """One event loop for all calls, in a thread: the clients that litellm keeps belong to it."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lock = threading.Lock()

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        return self._started(work).result()

    async def acall(self, work: Coroutine[Any, Any, T]) -> T:
        """The same for another loop's task; where that is cancelled, so is the work."""
        return await asyncio.wrap_future(self._started(work))

    def _started(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(
                    target=self._loop.run_forever, name="hydra-pers", daemon=True
                ).start()
        return asyncio.run_coroutine_threadsafe(work, self._loop)


handler = HydraProvider()
"""For ``custom_handler`` in the config of litellm's proxy."""


def register(provider: custom_llm.CustomLLM = handler) -> None:
    """Make ``hydra/...`` a litellm provider of this process; a second call changes nothing."""
    if all(item["provider"] != PROVIDER for item in litellm.custom_provider_map):
        litellm.custom_provider_map.append({"provider": PROVIDER, "custom_handler": provider})
        untyped: Any = litellm.utils
        untyped.custom_llm_setup()


def _body(model: str, messages: list[Any], given: Mapping[str, Any]) -> bodies.ChatBody:
    """The call as the body of a chat completion."""
    named = getattr(given.get("logging_obj"), "model_call_details", {}).get("user")
    raw = {**(given.get("optional_params") or {}), "messages": messages}
    if named and "user" not in raw:
        raw["user"] = named
    raw["model"] = f"{bodies.PERSONAL}/{model}"
    return bodies.read(orjson.dumps(raw, default=_plain))


def _plain(value: Any) -> Any:
    """litellm's own messages, which a conversation may go on with, as JSON."""
    if hasattr(value, "model_dump"):
        return value.model_dump(exclude_none=True)
    raise TypeError(f"{type(value).__name__} in the call")


def _filled(response: Any, body: bodies.ChatBody, draft: Draft, answer: Answer) -> Any:
    """litellm's response object."""
    response.choices = [
        litellm.Choices(
            index=index,
            finish_reason=finish,
            message=litellm.Message(role="assistant", content=text),
        )
        for index, (text, finish) in enumerate(replies.choices_of(draft, answer, body.wishes.n))
    ]
    response.model = body.raw["model"]
    response.usage = litellm.Usage(**replies.usage_of(answer.usage))
    response.hydra = replies.personal(draft, answer)
    response._hidden_params["response_cost"] = answer.usage.cost  # of every call made
    return response


async def _generic(
    events: AsyncGenerator[Mapping[str, Any], None],
) -> AsyncIterator[dict[str, Any]]:
    """A stream's first answer as litellm's generic chunks: it streams no second one."""
    finish = "stop"
    async for event in events:
        for choice in event["choices"][:1]:
            if choice["index"] == 0:
                finish = choice["finish_reason"] or finish
                if text := choice["delta"].get("content"):
                    yield _chunk(text)
        if "hydra" in event:
            yield _chunk("", hydra=event["hydra"])
        if "usage" in event:
            yield _chunk("", finish=finish, usage=event["usage"])


def _chunk(
    text: str,
    *,
    finish: str | None = None,
    usage: Mapping[str, int] | None = None,
    hydra: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    return {
        "text": text,
        "is_finished": finish is not None,
        "finish_reason": finish,
        "usage": usage,
        "index": 0,
        "tool_use": None,
        "provider_specific_fields": {"hydra": hydra} if hydra else None,
    }


async def _next(chunks: AsyncIterator[Any]) -> Any:
    return await anext(chunks, _END)


@contextmanager
def _told_as_litellm() -> Iterator[None]:
    """Our errors with the status that litellm makes its own exceptions of."""
    try:
        yield
    except (ApiError, HydraError) as error:
        told = error if isinstance(error, ApiError) else api_error(error)
        untyped: Any = custom_llm.CustomLLMError
        raise untyped(told.status, told.message) from error
