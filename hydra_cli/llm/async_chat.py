"""The LLM's edge for an event loop: many requests at once, each cancelled with its task.

Which parameters a model takes, how it is asked again and what its errors mean is
``Caller``'s to know, answers are kept as ``LiteLLMChat`` keeps them.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Mapping,
    Sequence,
)
from contextlib import aclosing, asynccontextmanager
from typing import Any, TypeVar
from weakref import WeakValueDictionary

from hydra_cli.core.errors import ProviderError
from hydra_cli.core.protocols import ChatRequest, Completion, Piece
from hydra_cli.core.records import Usage
from hydra_cli.llm.answer_cache import AnswerCache, cache_key
from hydra_cli.llm.async_calls import AsyncCaller
from hydra_cli.llm.budget import Budget
from hydra_cli.llm.flights import Flight, Job, distinct_answers
from hydra_cli.llm.provider_calls import Batch

T = TypeVar("T")
OF_THE_BODY = frozenset({"request", "parameter", "filter", "context", "model"})
"""Kinds of failures that whoever sent the body must hear of: they named it so."""
_NEVER = threading.Event()


class AsyncChat:
    """Asks the first of ``callers``; the next one where that fails for good.

    Equal requests wait for each other, so that with a cache none is paid twice.
    """

    def __init__(
        self,
        callers: Sequence[AsyncCaller],
        *,
        cache: AnswerCache | None,
        budget: Budget,
        on_note: Callable[[str], None],
    ) -> None:
        self._callers = tuple(callers)
        self._cache = cache
        self._budget = budget
        self._on_note = on_note
        self._asking: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @property
    def name(self) -> str:
        return self._callers[0].endpoint.model

    @property
    def used(self) -> Usage:
        """What calls used so far; cached answers don't count."""
        return self._budget.used

    async def complete(self, request: ChatRequest) -> Completion:
        """Exactly ``request.sampling.n`` answers, in parallel where one call gives fewer."""
        async with self._alone(request):
            flight = Flight(request, distinct_answers(request))
            flight.users.update([request.user] if request.user else [])
            for place, caller in enumerate(self._callers):
                try:
                    await self._fly(flight, caller)
                except ProviderError as error:
                    self._next(error, place)
                    flight.restart(place + 1)
                else:
                    break
        return flight.completion(request.sampling.n, first=True)

    async def stream(self, request: ChatRequest) -> AsyncGenerator[Piece, None]:
        """One answer token by token, raw; kept as ``complete`` would keep it."""
        flight = Flight(request, 1)
        flight.users.update([request.user] if request.user else [])
        for place, caller in enumerate(self._callers):
            begun = False
            try:
                async with aclosing(self._flow(flight, caller)) as coming:
                    async for piece in coming:
                        begun = True
                        yield piece
            except ProviderError as error:
                if begun:  # half an answer can't be taken back
                    raise
                self._next(error, place)
                flight.restart(place + 1)
            else:
                break
        yield Piece("", flight.completion(1, first=True))

    async def _flow(self, flight: Flight, caller: AsyncCaller) -> AsyncGenerator[Piece, None]:
        """The pieces of one model's answer, kept or as they come."""
        await self._resume(flight, caller)
        if flight.complete:
            yield Piece(flight.stored[0].answers[0][0])
            return
        job = flight.promise(1)
        await caller.ready()
        async with (
            self._paid(caller.worst_case, flight.request, 1) as used,
            aclosing(caller.stream(flight.request, job.start)) as coming,
        ):
            async for piece in coming:
                if isinstance(piece, Batch):
                    used.append(piece.usage)
                    await self._take(job, piece, caller)
                else:
                    yield Piece(piece)

    async def forward(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """The answer to any body of OpenAI's chat completions, as it came.

        The next model answers in place of one that failed, but for a body that is at fault.
        """
        return await self._first_to(lambda caller: self._forward(body, caller))

    async def forward_stream(self, body: Mapping[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
        """The same, chunk by chunk, as they came."""
        chunks, first = await self._first_to(lambda caller: self._begun(body, caller))
        async with aclosing(chunks):
            if first is not None:
                yield first
            async for chunk in chunks:
                yield chunk

    async def _first_to(self, work: Callable[[AsyncCaller], Awaitable[T]]) -> T:
        """What the first model gives that doesn't fail; else the failure of the one asked for."""
        failure: ProviderError | None = None
        for place, caller in enumerate(self._callers):
            try:
                return await work(caller)
            except ProviderError as error:
                failure = failure or error
                if getattr(error, "kind", None) in OF_THE_BODY:
                    break
                if place + 1 < len(self._callers):
                    self._next(error, place)
        assert failure is not None
        raise failure

    async def _forward(self, body: Mapping[str, Any], caller: AsyncCaller) -> dict[str, Any]:
        await caller.ready()
        async with self._paid(caller.worst_case_of, body) as used:
            response = await caller.forward(body)
            used.append(caller.usage_of(response))
        return plain(response)

    async def _begun(
        self, body: Mapping[str, Any], caller: AsyncCaller
    ) -> tuple[AsyncGenerator[dict[str, Any], None], dict[str, Any] | None]:
        """The stream of one model, and its first chunk: what fails later fails for good."""
        chunks = self._forward_stream(body, caller)
        try:
            return chunks, await anext(chunks, None)
        except BaseException:
            await chunks.aclose()
            raise

    async def _forward_stream(
        self, body: Mapping[str, Any], caller: AsyncCaller
    ) -> AsyncGenerator[dict[str, Any], None]:
        await caller.ready()
        async with (
            self._paid(caller.worst_case_of, body) as used,
            aclosing(caller.forward_stream(body)) as coming,
        ):
            async for chunk in coming:
                if getattr(chunk, "usage", None):
                    used[:] = [caller.usage_of(chunk)]
                yield plain(chunk)

    @asynccontextmanager
    async def _alone(self, request: ChatRequest) -> AsyncIterator[None]:
        """No other task asks the same meanwhile: it finds the answers in the cache."""
        if self._cache is None:
            yield
            return
        key = cache_key(self.name, request)
        lock = self._asking.setdefault(key, asyncio.Lock())
        async with lock:
            yield

    async def _fly(self, flight: Flight, caller: AsyncCaller) -> None:
        """All answers of a flight that one model still owes."""
        await self._resume(flight, caller)
        if flight.missing:
            await caller.ready()
        while not flight.complete:
            jobs = []
            while flight.missing:
                jobs.append(flight.promise(caller.answers_in_one_call(flight.missing)))
            await _together([self._call(job, caller) for job in jobs])

    async def _resume(self, flight: Flight, caller: AsyncCaller) -> None:
        if self._cache is not None:
            key = cache_key(caller.endpoint.identity, flight.request)
            flight.resume(await asyncio.to_thread(self._cache.get, key, users=flight.users))

    async def _call(self, job: Job, caller: AsyncCaller) -> None:
        request = job.flight.request
        async with self._paid(caller.worst_case, request, job.count) as used:
            batch = await caller.acall(request, job.count, job.start)
            used.append(batch.usage)
        await self._take(job, batch, caller)

    async def _take(self, job: Job, batch: Batch, caller: AsyncCaller) -> None:
        """The answers are kept before anybody sees them."""
        flight = job.flight
        call = batch.kept(job.start)
        if self._cache is not None:
            identity = caller.endpoint.identity
            await asyncio.to_thread(
                self._cache.put,
                cache_key(identity, flight.request),
                call,
                model=identity,
                max_tokens=flight.request.sampling.max_tokens,
                users=flight.users,
            )
        flight.used = flight.used + batch.usage
        flight.arrive(job, call)

    @asynccontextmanager
    async def _paid(self, worst: Callable[..., Usage], *about: Any) -> AsyncIterator[list[Usage]]:
        """A call within the budget; what it used is put into the list."""
        used: list[Usage] = []
        if self._budget.limited:  # counting tokens takes its time, and so may waiting for room
            ticket = await asyncio.to_thread(
                lambda: self._budget.reserve(worst(*about), stop=_NEVER)
            )
        else:
            ticket = self._budget.reserve(Usage(calls=1), stop=_NEVER)
        try:
            yield used
        finally:
            self._budget.settle(ticket, sum(used, Usage()))

    def _next(self, error: ProviderError, place: int) -> None:
        """Tell which model is asked in place of one that failed; raises where none is left."""
        if place + 1 == len(self._callers):
            raise error
        name = self._callers[place + 1].endpoint.model
        self._on_note(f"{error.message}; going on with {name}")


def plain(response: Any) -> dict[str, Any]:
    """litellm's response as the provider's JSON: without the empty fields that litellm adds.

    What it set aside as ``provider_specific_fields`` stands again where it came from.
    """
    found: dict[str, Any] = json.loads(response.model_dump_json(exclude_none=True))
    for part in (found, *found.get("choices", ())):
        for holder in (part, part.get("message"), part.get("delta")):
            if isinstance(holder, dict):
                aside = holder.pop("provider_specific_fields", None) or {}
                known = {k: v for k, v in aside.items() if v is not None}
                holder.update({**known, **holder})
    if found.get("usage") and not any(map(_says_something, found["choices"])):
        found["choices"] = []  # the last chunk of a stream: litellm adds a choice to it
    for choice in found.get("choices", ()):
        choice.setdefault("finish_reason", None)
        if "message" in choice:
            choice["message"].setdefault("content", None)
    return found


def _says_something(choice: Mapping[str, Any]) -> bool:
    return bool(choice.get("finish_reason") or choice.get("message") or choice.get("delta"))


async def _together(calls: Sequence[Coroutine[Any, Any, None]]) -> None:
    """All of them at once; where one fails or the task is cancelled, the others hang up."""
    tasks = [asyncio.ensure_future(call) for call in calls]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
