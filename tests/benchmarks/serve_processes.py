"""The processes that ``bench_serve`` measures between: a stub LLM, a bare proxy, the server.

    python -m tests.benchmarks.serve_processes stub | bare URL_OF_THE_LLM

Each says on which port of 127.0.0.1 it listens, and goes on until it is killed. The server
is ``hydra-pers serve`` itself.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import psutil


class StubLLM(asyncio.Protocol):
    """OpenAI's chat completions, answered at once; what a client pays for it is next to nothing."""

    counter = itertools.count()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._out = transport
        self._read = b""

    def data_received(self, data: bytes) -> None:
        self._read += data
        while (end := self._read.find(b"\r\n\r\n")) >= 0:
            head = self._read[:end].lower()
            _, _, rest = head.partition(b"content-length:")
            whole = end + 4 + int(rest.split(b"\r\n", 1)[0] or 0)
            if len(self._read) < whole:
                return
            body, self._read = self._read[end + 4 : whole], self._read[whole:]
            self._answer(json.loads(body or b"{}"))

    def _answer(self, body: dict[str, Any]) -> None:
        texts = [self._text(i) for i in range(int(body.get("n") or 1))]
        head = {"id": "chatcmpl-1", "created": 1, "model": "stub"}
        if body.get("stream"):
            chunks = _chunks(head, texts[0])
            self._send("text/event-stream", b"".join(chunks))
            return
        choices = [
            {
                "index": i,
                "message": {"role": "assistant", "content": text},
                "finish_reason": "stop",
            }
            for i, text in enumerate(texts)
        ]
        usage = {"prompt_tokens": 400, "completion_tokens": 12, "total_tokens": 412}
        done = {**head, "object": "chat.completion", "choices": choices, "usage": usage}
        self._send("application/json", json.dumps(done).encode())

    def _text(self, i: int) -> str:
        number = next(self.counter)
        return f"the answer number {number} of the stub with word{i} and word{number % 97}"

    def _send(self, kind: str, content: bytes) -> None:
        head = f"HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {len(content)}\r\n\r\n"
        self._out.write(head.encode() + content)


def _chunks(head: dict[str, Any], text: str) -> Iterator[bytes]:
    deltas: list[dict[str, str]] = [
        {"role": "assistant"},
        *({"content": f"{word} "} for word in text.split()),
        {},
    ]
    for delta in deltas:
        choice = {"index": 0, "delta": delta, "finish_reason": None if delta else "stop"}
        chunk = {**head, "object": "chat.completion.chunk", "choices": [choice]}
        yield f"data: {json.dumps(chunk)}\n\n".encode()
    yield b"data: [DONE]\n\n"


def tell(port: int) -> None:
    print(port, flush=True)


def stub() -> None:

    async def serve() -> None:
        server = await asyncio.get_running_loop().create_server(StubLLM, "127.0.0.1", 0)
        tell(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(serve())


def bare(llm: str) -> None:
    """A pass-through in the fewest lines that serve: Starlette, httpx, nothing in between."""
    import httpx
    import uvicorn
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response, StreamingResponse
    from starlette.routing import Route

    limits = httpx.Limits(max_connections=100, max_keepalive_connections=100)
    client = httpx.AsyncClient(timeout=60.0, limits=limits)

    async def chat(request: Request) -> Response:
        body = await request.body()
        headers = {"content-type": "application/json", "authorization": "Bearer none"}
        asked = client.build_request("POST", llm, content=body, headers=headers)
        streamed = bool(json.loads(body).get("stream"))
        answer = await client.send(asked, stream=streamed)
        kind = answer.headers["content-type"]
        if streamed:
            return StreamingResponse(answer.aiter_raw(), media_type=kind)
        return Response(answer.content, answer.status_code, media_type=kind)

    app = Starlette(routes=[Route("/v1/chat/completions", chat, methods=["POST"])])
    listener = _listener()
    tell(listener.getsockname()[1])
    uvicorn.Server(uvicorn.Config(app, log_level="error", access_log=False)).run(sockets=[listener])


def _listener() -> socket.socket:
    """A socket that says that it speaks TCP.

    asyncio lets connections of no other send small packets at once; without that, a header
    waits 40 ms for the other side's delayed acknowledgement before the body goes.
    """
    made = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    made.bind(("127.0.0.1", 0))
    made.listen(256)
    return made


class Running:
    """A process of these, its address and what it has used."""

    def __init__(self, process: psutil.Process, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}/v1/chat/completions"
        self.port = port
        self._process = process

    def processor(self) -> float:
        """Seconds of user and system time so far."""
        used = self._process.cpu_times()
        return float(used.user + used.system)

    def memory(self) -> float:
        """MiB that are its own in memory."""
        return float(self._process.memory_info().rss / 2**20)


@contextmanager
def running(*what: str) -> Iterator[Running]:
    """One of the processes above, from when it listens until the block ends."""
    command = [sys.executable, "-m", "tests.benchmarks.serve_processes", *what]
    with _process(command, {}) as (process, said):
        yield Running(psutil.Process(process), int(said.readline()))


@contextmanager
def served(store: Path, encoder: str, llm: Running) -> Iterator[Running]:
    """``hydra-pers serve`` of a store, without its limit of requests a minute."""
    options = ("--port", "0", "--rate", "0", "--model", "openai/stub", "--encoder", encoder)
    command = [sys.executable, "-m", "hydra_cli", "serve", "--json", *options]
    with _process(command, home_of(store, llm.port)) as (process, said):
        told = ""
        while not told.endswith("}\n"):
            line = said.readline()
            if not line:
                raise RuntimeError("the server ended before it listened")
            told += line
        port = json.loads(told)["base_url"].removesuffix("/v1").rpartition(":")[2]
        yield Running(psutil.Process(process), int(port))


@contextmanager
def _process(command: list[str], environment: dict[str, str]) -> Iterator[tuple[int, IO[str]]]:
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, env={**os.environ, **environment}, text=True
    )
    try:
        assert process.stdout is not None
        yield process.pid, process.stdout
    finally:
        process.kill()
        process.wait()


def home_of(folder: Path, llm_port: int) -> dict[str, str]:
    """The environment of a server whose LLM is the stub."""
    return {
        "HYDRA_PERS_HOME": str(folder),
        "OPENAI_API_BASE": f"http://127.0.0.1:{llm_port}/v1",
        "OPENAI_API_KEY": "none",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "HF_HUB_OFFLINE": "1",
    }


if __name__ == "__main__":
    {"stub": stub, "bare": bare}[sys.argv[1]](*sys.argv[2:])
