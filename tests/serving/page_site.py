"""A running server with its page, over a store of two people and an LLM on this machine."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from hydra_cli import Hydra
from hydra_cli.llm.litellm_loading import load_litellm
from hydra_cli.models.hash_encoder import HashEncoder
from hydra_cli.serving.app import build
from hydra_cli.serving.service import ServeOptions, Service
from tests.serving.listening import listening

load_litellm()  # once, outside every test's time limit

HOSTILE = "<script>window.hit = 1</script><img src=x onerror='window.hit = 1'>"
FIRST = date(2025, 3, 3)
PLAIN = "It is dishwasher safe."
REPLIES = [
    "Hi Ann!\nIt is! Up to 65 degrees, and the lid, too.\nMia",
    "Hello Ann,\nYes, the mug is dishwasher safe.\nMia",
    "Dear Ms Webb,\nThe mug may be washed in a dishwasher.",
    "Yes.",
]


def rows() -> list[dict[str, str]]:
    """Mia's 34 records, the third of them hostile, and one of Ole's."""
    given = [
        ("Where is my parcel? Jo Reed", "Hi Jo!\nIt left us on Monday. Sorry for the wait!\nMia"),
        ("The mug came without its lid. Eva Lind", "Hi Eva!\nOh no! A new lid is coming.\nMia"),
        (f"Is a mug {HOSTILE} safe in a dishwasher? Ann Webb", f"Hi!\n{HOSTILE}\nMia"),
        ("Do you ship to Norway? Nils Moe", "Hi Nils!\nWe do! It takes five days.\nMia"),
        *((f"Question {n} about plates", f"Hi!\nAnswer {n}.\nMia") for n in range(30)),
    ]
    mia = [
        {
            "user": "mia",
            "input": text,
            "output": reply,
            "time": f"2025-0{1 + i // 28}-{1 + i % 28:02}",
        }
        for i, (text, reply) in enumerate(given)
    ]
    return [*mia, {"user": "ole", "input": "Do you ship to Norway?", "output": "Yes. 9 EUR."}]


async def _chat(request: Request) -> Response:
    body = await request.json()
    if "nobody" in body["messages"][-1]["content"]:
        return JSONResponse({"error": {"message": "no such account", "type": "x"}}, 401)
    head = {"id": "chatcmpl-1", "created": 1, "model": "stub"}
    usage = {"prompt_tokens": 1204, "completion_tokens": 96, "total_tokens": 1300}
    if body.get("stream"):
        return StreamingResponse(_streamed(head, usage), media_type="text/event-stream")
    replies = request.app.state.replies
    choices = [
        {
            "index": i,
            "message": {"role": "assistant", "content": replies[i % len(replies)]},
            "finish_reason": "stop",
        }
        for i in range(int(body.get("n") or 1))
    ]
    done = {**head, "object": "chat.completion", "choices": choices, "usage": usage}
    return JSONResponse(done)


async def _streamed(head: dict[str, Any], usage: dict[str, int]) -> AsyncIterator[str]:
    def line(choices: list[Any], **more: Any) -> str:
        chunk = {**head, "object": "chat.completion.chunk", "choices": choices, **more}
        return f"data: {json.dumps(chunk)}\n\n"

    def choice(delta: dict[str, str], finish: str | None = None) -> list[Any]:
        return [{"index": 0, "delta": delta, "finish_reason": finish}]

    yield line(choice({"role": "assistant", "content": ""}))
    for word in re.findall(r"\s*\S+", PLAIN):
        await asyncio.sleep(0.02)
        yield line(choice({"content": word}))
    yield line(choice({}, "stop"))
    yield line([], usage=usage)
    yield "data: [DONE]\n\n"


@dataclass(slots=True)
class Site:
    url: str
    hydra: Hydra


@contextmanager
def provider(replies: Sequence[str] = REPLIES) -> Iterator[str]:
    """The base URL of an LLM that answers so."""
    app = Starlette(routes=[Route("/v1/chat/completions", _chat, methods=["POST"])])
    app.state.replies = replies
    with listening(app) as url:
        yield f"{url}/v1"


@contextmanager
def site(folder: Path, *, feedback: bool = True) -> Iterator[Site]:
    """The server. The environment must name the LLM, as it does for users."""
    settings = {"encoder": HashEncoder(), "model": "openai/stub", "n": len(REPLIES), "k": 4}
    with Hydra.open(folder, **settings) as hydra:  # type: ignore[arg-type]
        hydra.ingest(*rows(), task="replies")
        with serving(hydra, feedback=feedback) as found:
            yield found


@contextmanager
def serving(hydra: Hydra, *, feedback: bool = True) -> Iterator[Site]:
    """The server of an open ``Hydra``; without ``feedback`` it doesn't speak of it."""
    app = build(Service(hydra, ServeOptions(per_minute=0)))
    table = app.state.endpoints
    app.state.endpoints = tuple(one for one in table if feedback or one.path != "/v1/feedback")
    with listening(app) as url:
        yield Site(url, hydra)
