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
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import litellm
import orjson
from litellm.llms import custom_llm

from hydra_cli.api import Hydra
from hydra_cli.core.errors import HydraError
from hydra_cli.core.records import Answer
from hydra_cli.integrations.shared import shared_hydra
from hydra_cli.llm.litellm_loading import adopt_litellm
from hydra_cli.pipeline.answering import Draft
from hydra_cli.serving import bodies, replies
from hydra_cli.serving.asker import Asker
from hydra_cli.serving.errors import ApiError, api_error
from hydra_cli.serving.service import ServeOptions, Service
from hydra_cli.serving.whose import Whose, whose
from hydra_cli.workflows.ask import Stopwatch

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
        with _told_as_litellm():
            body = _body(model, messages, given)
            service, found = self._found(body, given)
            if isinstance(found, str):
                chat = service.hydra.async_chat(body.target.model)
                response = self._loop.call(chat.forward(body.raw))
                return litellm.ModelResponse(**response, hydra=replies.plain(found))
            draft, answer = _answered(service.hydra, body, found)
            return _filled(model_response, body, draft, answer)

    async def acompletion(  # type: ignore[override]  # litellm passes all by keyword
        self, model: str, messages: list[Any], model_response: Any, **given: Any
    ) -> Any:
        return await asyncio.to_thread(self.completion, model, messages, model_response, **given)

    def streaming(  # type: ignore[override]  # litellm passes all by keyword
        self, model: str, messages: list[Any], model_response: Any, **given: Any
    ) -> Iterator[Any]:
        """litellm's hook for chunks: the LLM's own as they come, a chosen answer at its end."""
        with _told_as_litellm():
            body = _body(model, messages, given)
            service, found = self._found(body, given)
            if isinstance(found, str):
                chunks = service.hydra.async_chat(body.target.model).forward_stream(body.raw)
                while (chunk := self._loop.call(_next(chunks))) is not _END:
                    yield litellm.ModelResponseStream(**chunk)
                return
            draft, answer = _answered(service.hydra, body, found)
            yield from _chunks(draft, answer)

    async def astreaming(  # type: ignore[override]  # litellm passes all by keyword
        self, model: str, messages: list[Any], model_response: Any, **given: Any
    ) -> AsyncIterator[Any]:
        chunks = self.streaming(model, messages, model_response, **given)
        while (chunk := await asyncio.to_thread(next, chunks, _END)) is not _END:
            yield chunk

    def _found(
        self, body: bodies.ChatBody, given: Mapping[str, Any]
    ) -> tuple[Service, Whose | str]:
        """Whose answer it is, or why it is the LLM's own."""
        service = Service(self._open_store(), ServeOptions())
        headers = {str(k).lower(): str(v) for k, v in (given.get("headers") or {}).items()}
        found = whose(service, Asker(), headers, body.raw, body.target.task)
        why_not = body.why_not or found.why_not
        return service, found if why_not is None else why_not


class _Loop:
    """One event loop for all calls, in a thread: the clients that litellm keeps belong to it."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lock = threading.Lock()

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(
                    target=self._loop.run_forever, name="hydra-pers", daemon=True
                ).start()
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()


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


def _answered(hydra: Hydra, body: bodies.ChatBody, found: Whose) -> tuple[Draft, Answer]:
    said, watch = body.conversation(), Stopwatch()
    draft = hydra.draft(
        said.query, user=found.user, task=found.task, conversation=said, watch=watch
    ).wished(body.wishes)
    return draft, hydra.complete(draft, model=body.target.model, watch=watch)


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


def _chunks(draft: Draft, answer: Answer) -> Iterator[dict[str, Any]]:
    """The winner, known only once all answers were there, as litellm's generic chunks."""
    ((text, finish),) = replies.choices_of(draft, answer, 1)
    told = replies.personal(draft, answer)
    yield _chunk(text, hydra=told)
    yield _chunk("", finish=finish, usage=replies.usage_of(answer.usage))


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
