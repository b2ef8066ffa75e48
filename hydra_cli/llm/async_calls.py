"""A provider's calls for an event loop: what ``Caller`` knows of a model, without its threads."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from tenacity import AsyncRetrying, retry_if_exception

from hydra_cli.core.protocols import ChatRequest, Sampling
from hydra_cli.core.records import Usage
from hydra_cli.llm import pricing
from hydra_cli.llm.answer_text import AfterThinking
from hydra_cli.llm.litellm_loading import load_litellm
from hydra_cli.llm.openai_fields import as_arguments, texts
from hydra_cli.llm.provider_calls import Batch, Caller
from hydra_cli.llm.provider_errors import ProviderFailure, foreign_errors
from hydra_cli.llm.providers import LOCAL

LONG_ANSWER = 4096
"""Tokens of an answer whose length nobody limits, as a budget reckons with it."""


class AsyncCaller(Caller):
    """Asks one model without holding a thread; a task that is cancelled hangs up."""

    counting = False

    async def ready(self) -> None:
        """What ``prepare`` does, where it may take its time."""
        if not self._prepared:
            await asyncio.to_thread(self.prepare)
            self._prepared = True

    _prepared = False

    async def acall(self, request: ChatRequest, count: int, start: int) -> Batch:
        """``call``, for a task."""
        spent = Usage()
        while True:
            attempt: tuple[Batch, bool] = await self._retrying()(self._try, request, count, start)
            batch, starved = attempt
            spent = spent + batch.usage
            if not starved:
                break
        self.learn_count(count, len(batch.answers))
        return replace(batch, usage=spent)

    async def stream(self, request: ChatRequest, start: int) -> AsyncGenerator[str | Batch, None]:
        """One answer as it comes, raw, and at the end all of it; ProviderError at any piece.

        Thinking is left out, and so is what may be some.
        """
        async with self.throttle.place():
            began = time.monotonic()
            sent, opened = await self._opened(request, start)
            chunks: list[Any] = []
            shown = AfterThinking(unopened=self.may_think_unopened)
            try:
                async with aclosing(opened) as coming:
                    async for chunk in coming:
                        chunks.append(chunk)
                        if text := shown.feed(_text(chunk)):
                            yield text
                response = load_litellm().stream_chunk_builder(chunks)
                batch, _ = self.understood(response, request, time.monotonic() - began)
            except foreign_errors() as error:
                raise self.explained(error, request, sent) from None
        yield batch

    async def _opened(self, request: ChatRequest, start: int) -> tuple[dict[str, Any], Any]:
        """What was sent for a stream, and litellm's stream, parameters left out that it rejects."""
        while True:
            streaming = {"stream": True, "stream_options": {"include_usage": True}}
            sent = {**self.arguments(request, 1, start), **streaming}
            try:
                return sent, await self._asked(sent)
            except foreign_errors() as error:
                failure = self.explained(error, request, sent)
                if not isinstance(failure, ProviderFailure):
                    raise failure from None
                self.without_rejected(failure, 1)

    async def forward(self, body: Mapping[str, Any]) -> Any:
        """litellm's response to any body of OpenAI's chat completions, tried once.

        Whoever sent it waits, and decides how many it sends: it takes no place of the throttle.
        """
        return await self._sent(body)

    async def forward_stream(self, body: Mapping[str, Any]) -> AsyncGenerator[Any, None]:
        """The same, chunk by chunk."""
        try:
            async with aclosing(await self._sent({**body, "stream": True})) as coming:
                async for chunk in coming:
                    yield chunk
        except foreign_errors() as error:
            raise self._failed(error, body) from None

    def worst_case_of(self, body: Mapping[str, Any]) -> Usage:
        """The most that one call with a client's body can use; answers without a limit are long."""
        most = body.get("max_completion_tokens") or body.get("max_tokens") or LONG_ANSWER
        sampling = Sampling(max_tokens=int(most))
        return self.worst_case(
            ChatRequest(texts(body["messages"]), sampling), int(body.get("n") or 1)
        )

    def usage_of(self, response: Any) -> Usage:
        """What the provider says that a call used."""
        told = getattr(response, "usage", None)
        prompt = getattr(told, "prompt_tokens", None) or 0
        completion = getattr(told, "completion_tokens", None) or 0
        return Usage(
            calls=1,
            prompt_tokens=prompt,
            completion_tokens=completion,
            cost=pricing.cost(self.endpoint, prompt, completion),
        )

    async def _sent(self, body: Mapping[str, Any]) -> Any:
        fields = {name: value for name, value in body.items() if name not in ("model", "messages")}
        sent = {
            "messages": body["messages"],
            **self.calling(),
            **as_arguments(fields, self.endpoint.provider),
        }
        try:
            response = await self._asked(sent)
        except foreign_errors() as error:
            raise self._failed(error, body) from None
        self.throttle.succeeded()
        return response

    async def _asked(self, sent: Mapping[str, Any]) -> Any:
        """litellm's response or stream; an embedded LLM streams by itself."""
        if self.endpoint.provider == LOCAL and sent.get("stream"):
            from hydra_cli.llm.local_provider import stream

            return stream(sent)
        return await load_litellm().acompletion(**sent)

    def _failed(self, error: Exception, body: Mapping[str, Any]) -> Exception:
        request = ChatRequest(texts(body["messages"]), Sampling())
        failure = self.explained(error, request, {})
        self._learn(failure)
        return failure

    def _retrying(self) -> AsyncRetrying:
        return AsyncRetrying(
            retry=retry_if_exception(
                lambda error: isinstance(error, ProviderFailure) and error.retryable
            ),
            stop=self.patience.over,
            wait=self.wait,
            reraise=True,
        )

    async def _try(self, request: ChatRequest, count: int, start: int) -> tuple[Batch, bool]:
        while True:
            sent = self.arguments(request, count, start)
            try:
                async with self.throttle.place():
                    began = time.monotonic()
                    response = await load_litellm().acompletion(**sent)
                return self.understood(response, request, time.monotonic() - began)
            except foreign_errors() as error:
                failure = self.explained(error, request, sent)
                if not isinstance(failure, ProviderFailure):
                    raise failure from None
                count = self.without_rejected(failure, count)

    def _learn(self, failure: Exception) -> None:
        if isinstance(failure, ProviderFailure) and failure.kind == "rate":
            self.throttle.limited(failure.retry_after)


def _text(chunk: Any) -> str:
    choices = getattr(chunk, "choices", None) or ()
    return "".join(getattr(choice.delta, "content", None) or "" for choice in choices)
