"""Any ChatModel for an event loop: asked in threads, answered in one piece."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from typing import Any

from hydra_cli.core.errors import UsageError
from hydra_cli.core.protocols import ChatModel, ChatRequest, Completion, Piece, Sampling
from hydra_cli.llm.openai_fields import texts

_MAX_TOKENS = 256


class ThreadedChat:
    """What a ChatModel can answer: texts to texts."""

    def __init__(self, chat: ChatModel) -> None:
        self._chat = chat

    @property
    def name(self) -> str:
        return self._chat.name

    async def complete(self, request: ChatRequest) -> Completion:
        return await asyncio.to_thread(self._chat.complete, request)

    async def stream(self, request: ChatRequest) -> AsyncGenerator[Piece, None]:
        completion = await self.complete(request)
        yield Piece(completion.texts[0])
        yield Piece("", completion)

    async def forward(self, body: Mapping[str, Any]) -> dict[str, Any]:
        completion = await self.complete(_request(body))
        return {
            "object": "chat.completion",
            "model": self.name,
            "choices": [
                {
                    "index": index,
                    "message": {"role": "assistant", "content": text},
                    "finish_reason": "stop",
                }
                for index, text in enumerate(completion.texts)
            ],
            "usage": {
                "prompt_tokens": completion.usage.prompt_tokens,
                "completion_tokens": completion.usage.completion_tokens,
                "total_tokens": completion.usage.prompt_tokens + completion.usage.completion_tokens,
            },
        }

    async def forward_stream(self, body: Mapping[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
        whole = await self.forward(body)
        for choice in whole["choices"]:
            delta = choice.pop("message")
            yield {
                **whole,
                "object": "chat.completion.chunk",
                "choices": [{**choice, "delta": delta}],
            }


def _request(body: Mapping[str, Any]) -> ChatRequest:
    if body.get("tools") or body.get("functions"):
        raise UsageError("this LLM takes no tools")
    stop = body.get("stop") or ()
    sampling = Sampling(
        n=int(body.get("n") or 1),
        temperature=float(body.get("temperature") or 0.0),
        max_tokens=int(body.get("max_completion_tokens") or body.get("max_tokens") or _MAX_TOKENS),
        stop=(stop,) if isinstance(stop, str) else tuple(stop),
    )
    return ChatRequest(texts(body["messages"]), sampling)
