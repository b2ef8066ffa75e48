"""An OpenAI-compatible server on this machine that fails in every way that providers do.

``FaultServer(plan)`` calls ``plan(call)`` for every chat request; the plan
returns what to do: ``answer()``, ``status()``, ``garbage()``, ``drop()``, ...
Every request body is kept in ``calls``.
"""

from __future__ import annotations

import json
import re
import select
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Call:
    """One request as the server saw it. ``number`` counts from 0."""

    number: int
    body: Mapping[str, Any]
    headers: Mapping[str, str]

    @property
    def prompt(self) -> str:
        return str(self.body["messages"][-1]["content"])

    @property
    def n(self) -> int:
        return int(self.body.get("n") or 1)


@dataclass(frozen=True)
class Reply:
    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    delay: float = 0.0
    drop: str = ""
    """``before``: hang up without a word; ``within``: in the middle of the body."""
    events: tuple[str, ...] = ()
    """Server-sent events in place of the body, ``pause`` seconds apart."""
    pause: float = 0.0


Plan = Callable[[Call], Reply]


def completion(
    texts: list[str | None],
    *,
    usage: Mapping[str, Any] | None = None,
    finish: str = "stop",
    logprob: float | None = None,
    reasoning: str | None = None,
) -> Reply:
    """A well-formed chat completion with these answers."""
    choices = []
    for index, text in enumerate(texts):
        message: dict[str, Any] = {"role": "assistant", "content": text}
        if reasoning is not None:
            message["reasoning_content"] = reasoning
        choice: dict[str, Any] = {"index": index, "message": message, "finish_reason": finish}
        if logprob is not None:
            token = {"token": "x", "logprob": logprob, "bytes": None, "top_logprobs": []}
            choice["logprobs"] = {"content": [token, {**token, "logprob": 0.0}]}
        choices.append(choice)
    body = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "served",
        "choices": choices,
    }
    if usage is not None:
        body["usage"] = usage
    return Reply(body=json.dumps(body).encode())


def streamed(
    texts: list[str],
    *,
    usage: Mapping[str, Any] | None = None,
    finish: str = "stop",
    pause: float = 0.0,
    drop: str = "",
) -> Reply:
    """The same in chunks of a word each."""

    def chunk(index: int, delta: Mapping[str, Any], end: str | None = None) -> dict[str, Any]:
        choice = {"index": index, "delta": delta, "finish_reason": end}
        head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1}
        return {**head, "model": "served", "choices": [choice]}

    chunks = []
    for index, text in enumerate(texts):
        chunks.append(chunk(index, {"role": "assistant", "content": ""}))
        chunks += [chunk(index, {"content": word}) for word in re.findall(r"\s*\S+\s*?", text)]
        chunks.append(chunk(index, {}, finish))
    if usage is not None:
        chunks.append({**chunk(0, {}), "choices": [], "usage": usage})
    lines = tuple(json.dumps(item) for item in chunks)
    return Reply(events=(*lines, "[DONE]"), pause=pause, drop=drop)


def tokens(prompt: Any, answers: Any) -> dict[str, Any]:
    total = prompt + answers if isinstance(prompt, int) and isinstance(answers, int) else 0
    return {"prompt_tokens": prompt, "completion_tokens": answers, "total_tokens": total}


def answers(call: Call) -> Reply:
    """What a faultless server says: n numbered answers to the prompt."""
    texts = [f"{call.prompt} / {i}" for i in range(call.n)]
    if call.body.get("stream"):
        asked = (call.body.get("stream_options") or {}).get("include_usage")
        return streamed(texts, usage=tokens(10, 3 * call.n) if asked else None)
    return completion([*texts], usage=tokens(10, 3 * call.n))


def ignores_n(call: Call) -> Reply:
    """One answer a call, whatever n says; it differs by the seed, or by the call."""
    return completion([f"answer {call.body.get('seed', call.number)}"], usage=tokens(10, 3))


def error(
    status: int,
    message: str = "it broke",
    *,
    code: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Reply:
    body = {"error": {"message": message, "type": "error", "param": None, "code": code}}
    return Reply(status=status, body=json.dumps(body).encode(), headers=headers or {})


class FaultServer:
    """Listens on a free port of 127.0.0.1 while its ``with`` block runs."""

    def __init__(self, plan: Plan = answers, *, delay: float = 0.0) -> None:
        self.calls: list[Call] = []
        self.most_at_once = 0
        self.hung_up = 0
        """Requests whose client left before it was answered."""
        self._at_once = 0
        self._lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                outer._serve(self, plan, delay)

            def do_GET(self) -> None:
                models = {"object": "list", "data": [{"id": "tiny-chat", "object": "model"}]}
                _send(self, Reply(body=json.dumps(models).encode()))

            def log_message(self, format: str, *args: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def __enter__(self) -> FaultServer:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _serve(self, handler: BaseHTTPRequestHandler, plan: Plan, delay: float) -> None:
        body = json.loads(handler.rfile.read(int(handler.headers["Content-Length"])))
        with self._lock:
            call = Call(len(self.calls), body, dict(handler.headers))
            self.calls.append(call)
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            reply = plan(call)
            if not self._wait(handler, delay + reply.delay):
                return
        finally:
            with self._lock:
                self._at_once -= 1
        if not _send(handler, reply):
            self._left()

    def _wait(self, handler: BaseHTTPRequestHandler, seconds: float) -> bool:
        """Whether the client was still there when the time was over."""
        if seconds and select.select([handler.connection], [], [], seconds)[0]:
            handler.close_connection = True
            self._left()
            return False
        return True

    def _left(self) -> None:
        with self._lock:
            self.hung_up += 1


def _send(handler: BaseHTTPRequestHandler, reply: Reply) -> bool:
    """Whether the client took it all."""
    handler.close_connection = bool(reply.drop)
    if reply.drop == "before":
        return True
    if reply.events:
        return _send_events(handler, reply)
    try:
        handler.send_response(reply.status)
        for name, value in {"Content-Type": "application/json", **reply.headers}.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(reply.body)))
        handler.end_headers()
        half = len(reply.body) // 2
        handler.wfile.write(reply.body[:half] if reply.drop else reply.body)
    except (BrokenPipeError, ConnectionResetError):
        return False  # the client gave up waiting
    return True


def _send_events(handler: BaseHTTPRequestHandler, reply: Reply) -> bool:
    events = reply.events[: len(reply.events) // 2] if reply.drop else reply.events
    try:
        handler.send_response(200)
        handler.send_header("Content-Type", "text/event-stream")
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        for event in events:
            line = f"data: {event}\n\n".encode()
            handler.wfile.write(f"{len(line):x}\r\n".encode() + line + b"\r\n")
            handler.wfile.flush()
            if reply.pause and select.select([handler.connection], [], [], reply.pause)[0]:
                handler.close_connection = True
                return False
        if not reply.drop:
            handler.wfile.write(b"0\r\n\r\n")
    except (BrokenPipeError, ConnectionResetError):
        return False
    return True
