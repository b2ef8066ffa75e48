"""``POST /v1/chat/completions``: personal for ``hydra/<model>``, passed through for all others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Mapping
from typing import Any, TypeVar

import orjson
from starlette.requests import Request
from starlette.responses import Response

from hydra_cli.core.errors import ProviderError
from hydra_cli.core.protocols import AsyncChatModel
from hydra_cli.serving import bodies, chat_schemas, replies
from hydra_cli.serving.asker import Asker
from hydra_cli.serving.bodies import ChatBody
from hydra_cli.serving.endpoints import Endpoint, service_of
from hydra_cli.serving.errors import ApiError
from hydra_cli.serving.personal_ask import PersonalAsk
from hydra_cli.serving.replies import ANSWER_HEADER, EXPLAIN_HEADER
from hydra_cli.serving.schemas import EVENTS, JSON
from hydra_cli.serving.service import Service
from hydra_cli.serving.streams import streamed
from hydra_cli.serving.whose import whose

T = TypeVar("T")
ROUTE = "POST /v1/chat/completions"
PRIVATE = {"cache-control": "private, no-store"}


async def chat_completions(request: Request) -> Response:
    """One chat completion, plain or streamed; ApiError or HydraError where there is none."""
    service = service_of(request)
    body = bodies.read(await request.body())
    if not body.target.personal:
        chat = service.hydra.opened_chat(body.target.model)
        if chat is None:
            chat = await service.in_thread(lambda: _opened(service, body))
        return await _passed_through(request, chat, body, None)
    asker = request.state.asker
    ask = await service.in_thread(lambda: _asked(service, asker, request.headers, body))
    if not isinstance(ask, PersonalAsk):
        chat, told = ask
        return await _passed_through(request, chat, body, told)
    explain = request.headers.get(EXPLAIN_HEADER) == "1"
    if body.stream:
        return streamed(
            ask.events(explain),
            route=ROUTE,
            ping_seconds=service.options.ping_seconds,
            headers={ANSWER_HEADER: ask.answer_id},
        )
    draft, answer = await while_here(request, ask.answered())
    chosen = replies.choices_of(draft, answer, body.wishes.n)
    whole = ask.reply.whole(chosen, answer.usage)
    return _json(
        {**whole, **ask.told(draft, answer, explain)}, {**PRIVATE, ANSWER_HEADER: ask.answer_id}
    )


def _asked(
    service: Service, asker: Asker, headers: Mapping[str, str], body: ChatBody
) -> PersonalAsk | tuple[AsyncChatModel, Mapping[str, Any]]:
    """The personal request, its draft made where nothing is streamed before; or who else answers.

    With the LLM alone stands what is told of it. Computes and reads: not for the event loop.
    """
    found = whose(service, asker, headers, body.raw, body.target.task)
    chat = _opened(service, body)
    why_not = body.why_not or found.why_not
    if why_not is not None or found.user is None:
        return chat, replies.plain(why_not or "unknown user", found.user, found.task)
    ask = PersonalAsk(service, body, found, chat)
    if not body.stream:
        ask.begin()
    return ask


def _opened(service: Service, body: ChatBody) -> AsyncChatModel:
    """The LLM that the body names, which may be none that can be asked here."""
    try:
        return service.hydra.async_chat(body.target.model)
    except ProviderError as error:
        told = f"{error.message} ({error.hint})" if error.hint else error.message
        raise ApiError(404, told, code="model_not_found", param="model") from error


async def _passed_through(
    request: Request, chat: AsyncChatModel, body: ChatBody, told: Mapping[str, Any] | None
) -> Response:
    """The LLM's own answer; ``told`` is what becomes the field ``hydra`` of it."""
    service = service_of(request)
    fields = {"hydra": told} if told is not None else {}
    if not body.stream:
        answer = await while_here(request, chat.forward(body.raw))
        service.metrics.forwarded(answer.get("usage"))
        return _json({**answer, **fields})
    chunks = chat.forward_stream(body.raw)
    # What fails before the first chunk has a status of its own.
    first = await while_here(request, anext(chunks, None))

    async def events() -> AsyncIterator[Mapping[str, Any]]:
        if first is None:
            return
        usage = first.get("usage")
        yield _ended(first, fields)
        async for chunk in chunks:
            usage = chunk.get("usage") or usage
            yield _ended(chunk, fields)
        service.metrics.forwarded(usage)

    return streamed(events(), route=ROUTE, ping_seconds=service.options.ping_seconds)


def _ended(chunk: Mapping[str, Any], fields: Mapping[str, Any]) -> Mapping[str, Any]:
    """The chunk, with the fields where it is a choice's last one."""
    over = any(choice.get("finish_reason") for choice in chunk.get("choices") or ())
    return {**chunk, **fields} if over else chunk


async def while_here(request: Request, work: Awaitable[T]) -> T:
    """The work's result; it is cancelled where the client leaves meanwhile."""
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait((task, gone), return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise ApiError(499, "the client left", code="client_left")
    finally:
        for waiting in (task, gone):
            waiting.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _json(content: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> Response:
    return Response(
        orjson.dumps(content), media_type="application/json", headers=dict(headers or {})
    )


async def other_protocols(request: Request) -> Response:
    """Anthropic's and the Responses API: told where to go."""
    raise ApiError(
        404,
        f"{request.url.path} isn't served: send chat completions to /v1/chat/completions",
        code="unsupported_endpoint",
    )


ENDPOINTS = (
    Endpoint(
        method="POST",
        path="/v1/chat/completions",
        handler=chat_completions,
        summary="A chat completion: personal for hydra/<model>, passed through for all others.",
        bodies={JSON: chat_schemas.REQUEST},
        answers={
            JSON: chat_schemas.COMPLETION,
            EVENTS: {
                "type": "string",
                "description": "Lines `data: ...` of chunks, the last one [DONE].",
                "contentMediaType": JSON,
                "contentSchema": chat_schemas.CHUNK,
            },
        },
    ),
    *(
        Endpoint(
            method="POST",
            path=path,
            handler=other_protocols,
            summary="Not served: a 404 that says what is.",
        )
        for path in ("/v1/messages", "/v1/responses")
    ),
)
