"""``POST /v1/chat/completions``: personal for ``hydra/<model>``, passed through for all others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

import orjson
from starlette.requests import Request
from starlette.responses import Response

from hydra_cli.core.protocols import AsyncChatModel
from hydra_cli.core.records import Answer
from hydra_cli.core.sortable_ids import ANSWER_ID, new_id
from hydra_cli.pipeline.answering import Draft
from hydra_cli.serving import bodies, replies
from hydra_cli.serving.bodies import ChatBody
from hydra_cli.serving.endpoints import Endpoint, service_of
from hydra_cli.serving.errors import ApiError
from hydra_cli.serving.replies import ANSWER_HEADER, EXPLAIN_HEADER, Reply
from hydra_cli.serving.service import Service
from hydra_cli.serving.streams import pieces, streamed
from hydra_cli.serving.whose import Whose, whose
from hydra_cli.workflows.ask import Answering, Stopwatch

T = TypeVar("T")
ROUTE = "POST /v1/chat/completions"
PRIVATE = {"cache-control": "private, no-store"}


async def chat_completions(request: Request) -> Response:
    """One chat completion, plain or streamed; ApiError or HydraError where there is none."""
    service = service_of(request)
    body = bodies.read(await request.body())
    if not body.target.personal:
        return await _passed_through(request, service, body, None)
    found = await service.in_thread(
        lambda: whose(
            service, request.state.asker, request.headers, body.raw, body.target.task
        )
    )  # fmt: skip
    why_not = body.why_not or found.why_not
    if why_not is not None or found.user is None:
        told = replies.plain(why_not or "unknown user", found.user, found.task)
        return await _passed_through(request, service, body, told)
    ask = PersonalAsk(service, body, found)
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


class PersonalAsk:
    """One request for one user, from the draft to the answer."""

    def __init__(self, service: Service, body: ChatBody, found: Whose) -> None:
        self.answer_id = new_id(ANSWER_ID)
        self.reply = Reply(body.raw["model"])
        self._service = service
        self._body = body
        self._found = found
        self._watch = Stopwatch()

    async def answered(self) -> tuple[Draft, Answer]:
        """The draft and its answer."""
        draft = await self._drafted()
        return draft, await self._answer(draft)

    async def events(self, explain: bool) -> AsyncIterator[Mapping[str, Any]]:
        """The answer's chunks: the role at once, then texts, then why they ended."""
        wanted = self._body.wishes.n
        for index in range(wanted):
            yield self.reply.chunk(index, {"role": "assistant", "content": ""})
        draft = await self._drafted()
        answer = await self._answer(draft)
        chosen = replies.choices_of(draft, answer, wanted)
        for index, (text, _) in enumerate(chosen):
            for piece in pieces(text):
                yield self.reply.chunk(index, {"content": piece})
        for index, (_, finish) in enumerate(chosen):
            last = self.reply.chunk(index, {}, finish)
            if index == len(chosen) - 1:
                last.update(self.told(draft, answer, explain))
            yield last
        if self._body.include_usage:
            yield self.reply.usage_chunk(answer.usage)

    def told(self, draft: Draft, answer: Answer, explain: bool) -> dict[str, Any]:
        """The field ``hydra``, with all that led to the answer where that is asked for."""
        told = replies.personal(draft, answer)
        if explain:
            told["explain"] = replies.explanation(draft, answer)
        return {"hydra": told}

    async def _drafted(self) -> Draft:
        conversation = self._body.conversation()

        def work() -> Draft:
            return self._service.hydra.draft(
                conversation.query,
                user=self._found.user,
                task=self._found.task,
                conversation=conversation,
                watch=self._watch,
            ).wished(self._body.wishes)

        return await self._service.in_thread(work)

    async def _answer(self, draft: Draft) -> Answer:
        chat = _chat(self._service, self._body) if draft.request else None
        name = chat.name if chat else ""
        steps = await self._service.in_thread(lambda: Answering(draft, name, self._watch))
        while (request := steps.request) is not None and chat is not None:
            with self._watch.stage("generate"):
                completion = await chat.complete(request)
            await self._service.in_thread(partial(steps.take, completion))
        return await self._service.in_thread(partial(self._kept, steps))

    def _kept(self, steps: Answering) -> Answer:
        """The answer under the id that the response's header may have told already."""
        answer = replace(steps.answer, id=self.answer_id)
        self._service.hydra.keep(answer)
        self._service.metrics.answered(personal=True, usage=answer.usage)
        return answer


def _chat(service: Service, body: ChatBody) -> AsyncChatModel:
    return service.hydra.async_chat(body.target.model)


async def _passed_through(
    request: Request, service: Service, body: ChatBody, told: Mapping[str, Any] | None
) -> Response:
    """The LLM's own answer; ``told`` is what becomes the field ``hydra`` of it."""
    chat = await service.in_thread(lambda: _chat(service, body))
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
        bodies={"application/json": {"type": "object", "required": ["model", "messages"]}},
        answers={"application/json": {"type": "object"}, "text/event-stream": {"type": "string"}},
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
