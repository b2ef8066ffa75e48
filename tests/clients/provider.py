"""An obliging LLM behind the server: streams, calls tools, writes JSON, tells its tokens."""

from __future__ import annotations

import json
from typing import Any

from tests.llm.fault_server import Call, Reply, completion, tokens

HEAD = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "served"}


def obliging(call: Call) -> Reply:
    """Numbered answers that repeat the last message's text."""
    if call.body.get("tools"):
        return _streamed_call() if call.body.get("stream") else _tool_call()
    text = "the LLM says: " + said(call)
    if (call.body.get("response_format") or {}).get("type") in ("json_object", "json_schema"):
        text = json.dumps({"said": said(call)})
    if call.body.get("stream"):
        return _streamed(text, bool((call.body.get("stream_options") or {}).get("include_usage")))
    texts: list[str | None] = [f"{text} #{i}" if call.n > 1 else text for i in range(call.n)]
    return completion(texts, usage=tokens(10, 5 * call.n))


def said(call: Call) -> str:
    content: Any = call.body["messages"][-1]["content"]
    if isinstance(content, list):
        return " ".join(part.get("text") or f"<{part['type']}>" for part in content)
    return str(content)


def _streamed(text: str, usage: bool) -> Reply:
    words = text.split(" ")
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
    deltas += [{"content": word + " " * (i < len(words) - 1)} for i, word in enumerate(words)]
    chunks = [_chunk(delta) for delta in deltas] + [_chunk({}, "stop")]
    if usage:
        chunks.append({**HEAD, "choices": [], "usage": tokens(10, 5)})
    return _events(chunks)


CALL = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}


def _tool_call() -> Reply:
    message = {"role": "assistant", "content": None, "tool_calls": [CALL]}
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls"}
    body = {**HEAD, "object": "chat.completion", "choices": [choice], "usage": tokens(10, 5)}
    return Reply(body=json.dumps(body).encode())


def _streamed_call() -> Reply:
    delta = {"role": "assistant", "content": None, "tool_calls": [{"index": 0, **CALL}]}
    return _events([_chunk(delta), _chunk({}, "tool_calls")])


def _chunk(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    return {**HEAD, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


def _events(chunks: list[dict[str, Any]]) -> Reply:
    lines = [*(json.dumps(chunk) for chunk in chunks), "[DONE]"]
    body = "".join(f"data: {line}\n\n" for line in lines).encode()
    return Reply(body=body, headers={"Content-Type": "text/event-stream"})
