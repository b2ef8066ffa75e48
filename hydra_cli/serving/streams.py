"""Answers as server-sent events: one JSON object each, comments while there is nothing to say."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from typing import Any

import orjson
from sse_starlette import EventSourceResponse, ServerSentEvent
from sse_starlette.sse import AppStatus

from hydra_cli.core.errors import HydraError
from hydra_cli.serving.errors import ApiError
from hydra_cli.serving.failures import logged, told

# A server that is told to stop lets its streams end; uvicorn limits how long that may take.
AppStatus.enable_automatic_graceful_drain = False

DONE = "[DONE]"
_WORDS = re.compile(r"\S+\s*|\s+")
_WORDS_A_PIECE = 4


def streamed(
    events: AsyncIterator[Mapping[str, Any]],
    *,
    route: str,
    ping_seconds: float,
    headers: Mapping[str, str] | None = None,
) -> EventSourceResponse:
    """The events as a response. What fails on the way is the last event, as OpenAI has it."""
    return EventSourceResponse(
        _lines(events, route),
        headers={"cache-control": "private, no-store", **(headers or {})},
        ping=ping_seconds,
        ping_message_factory=lambda: ServerSentEvent(comment="waiting", sep="\n"),
        sep="\n",
    )


def pieces(text: str) -> list[str]:
    """A finished text in parts of a few words, which together are the text."""
    words = _WORDS.findall(text)
    return [
        "".join(words[place : place + _WORDS_A_PIECE])
        for place in range(0, len(words), _WORDS_A_PIECE)
    ]


async def _lines(
    events: AsyncIterator[Mapping[str, Any]], route: str
) -> AsyncIterator[dict[str, str]]:
    async with aclosing(events):  # type: ignore[type-var]  # all of ours are generators
        try:
            async for event in events:
                yield {"data": orjson.dumps(event).decode()}
        except (ApiError, HydraError, Exception) as error:
            answer = told(error)
            logged(error, answer.status, route)
            yield {"data": orjson.dumps(answer.body).decode()}
            return
    yield {"data": DONE}
