"""A server that plays the routes that the page asks, with made-up people."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from hydra_cli.serving import page

HOSTILE = "<script>window.hit = 1</script><img src=x onerror='window.hit = 1'>"
RECORDS = {
    "mia": [
        {
            "id": f"m{i}",
            "task": "replies",
            "input": text,
            "output": reply,
            "time": f"2025-03-{10 + i}T09:00:00Z",
        }
        for i, (text, reply) in enumerate(
            [
                (
                    "Where is my parcel? Jo Reed",
                    "Hi Jo!\nIt left us on Monday. Sorry for the wait!\nMia",
                ),
                (
                    "The mug came without its lid. Eva Lind",
                    "Hi Eva!\nOh no! A new lid is on its way.\nMia",
                ),
                ("Do you ship to Norway? Nils Moe", "Hi Nils!\nWe do! It takes five days.\nMia"),
                (f"A hostile message {HOSTILE}", f"Hi!\n{HOSTILE}\nMia"),
                *((f"Question {n} about mugs", f"Hi!\nAnswer {n}.\nMia") for n in range(30)),
            ]
        )
    ],
    "ole": [
        {"id": "o0", "task": "replies", "input": "Do you ship to Norway?", "output": "Yes. 9 EUR."}
    ],
}
CLOSE = "close to what they really wrote"
ANSWER = "Hi Ann!\nIt is! Up to 65 degrees, and the lid, too.\nMia"


async def users(request: Request) -> Response:
    if (
        request.app.state.key
        and request.headers.get("authorization") != f"Bearer {request.app.state.key}"
    ):
        return failed(401, "no key")
    data = [
        {"id": name, "records": len(found), "tasks": ["replies"]} for name, found in RECORDS.items()
    ]
    return JSONResponse({"object": "list", "data": data, "has_more": False})


def failed(status: int, message: str) -> Response:
    return JSONResponse({"error": {"message": message, "type": "x", "code": None}}, status)


async def models(request: Request) -> Response:
    names = ["hydra/openai/stub", "hydra/openai/stub@replies", "openai/stub"]
    return JSONResponse({"object": "list", "data": [{"id": name} for name in names]})


async def records(request: Request) -> Response:
    found = RECORDS[request.path_params["user"]][::-1]
    words = request.query_params.get("q", "").lower()
    found = [one for one in found if words in f"{one['input']} {one['output']}".lower()]
    total = len(found)
    ids = [one["id"] for one in found]
    if after := request.query_params.get("after"):
        found = found[ids.index(after) + 1 :]
    limit = int(request.query_params.get("limit", 20))
    return JSONResponse({"data": found[:limit], "has_more": len(found) > limit, "total": total})


async def chat(request: Request) -> Response:
    body = await request.json()
    if "nobody" in body["messages"][-1]["content"]:
        return failed(502, "the provider hung up")
    return StreamingResponse(chunks(body), media_type="text/event-stream")


async def chunks(body: dict[str, Any]) -> AsyncIterator[bytes]:
    def chunk(delta: dict[str, str], **more: Any) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": None}
        return f"data: {json.dumps({'choices': [choice], **more})}\r\n\r\n".encode()

    yield chunk({"role": "assistant"})
    yield b": ping\r\n\r\n"
    if body["model"].startswith("hydra/"):
        for word in re.findall(r"\s*\S+", ANSWER):
            await asyncio.sleep(0.01)
            yield chunk({"content": word})
        yield chunk({}, hydra=explained(body))
    else:
        yield chunk({"content": "It is dishwasher safe."})
        yield chunk({}, hydra={"personal": False, "why_not": None, "answer_id": None})
    usage = {"prompt_tokens": 1204, "completion_tokens": 96}
    yield f"data: {json.dumps({'choices': [], 'usage': usage})}\r\n\r\n".encode()
    yield b"data: [DONE]\r\n\r\n"


def explained(body: dict[str, Any]) -> dict[str, Any]:
    user = body["user"]
    own = RECORDS[user]
    return {
        "answer_id": "ans_1",
        "user": user,
        "task": "replies",
        "personal": True,
        "why_not": None,
        "stages": {"records": True, "rerank": False, "adapt": True},
        "answers": 4,
        "told": {
            "records": f"on: 2.1 times as {CLOSE} (8 held-out records and 40 of others: certain)",
            "rerank": f"off: no clear gain: as {CLOSE} (8 held-out records: could be luck)",
            "adapt": f"on: 3 times as {CLOSE} (8 held-out records: probably not luck)",
        },
        "explain": {
            "records": [{**one, "score": 0.83 - 0.07 * i} for i, one in enumerate(own[:4])],
            "candidates": [
                {"text": ANSWER, "score": 1.84, "sample": 2, "logprob": None},
                {
                    "text": "Hello Ann,\nYes, the mug is dishwasher safe.\nMia",
                    "score": 1.31,
                    "sample": 0,
                    "logprob": None,
                },
                {
                    "text": "Dear Ms Webb,\nThe mug may be washed in a dishwasher.",
                    "score": -0.4,
                    "sample": 1,
                    "logprob": None,
                },
                {"text": "Yes.", "score": -0.92, "sample": 3, "logprob": None},
            ],
            "messages": [
                {
                    "role": "system",
                    "content": "Reply to the customer's message. Answer with the reply alone.",
                },
                {"role": "user", "content": own[0]["input"]},
                {"role": "assistant", "content": own[0]["output"]},
                {"role": "user", "content": body["messages"][-1]["content"]},
            ],
            "seconds": {"retrieve": 0.012, "adapt": 0.03},
        },
    }


async def feedback(request: Request) -> Response:
    request.app.state.given.append(await request.json())
    return JSONResponse({})


async def openapi(request: Request) -> Response:
    paths = {"/v1/feedback": {"post": {}}} if request.app.state.feedback else {}
    return JSONResponse({"paths": paths})


def build(*, key: str = "", feedback_there: bool = True) -> Starlette:
    app = Starlette(
        routes=[
            Route("/", page.index),
            Route("/page/{name}", page.part),
            Route("/v1/users", users),
            Route("/v1/models", models),
            Route("/v1/users/{user:path}/records", records),
            Route("/v1/chat/completions", chat, methods=["POST"]),
            Route("/v1/feedback", feedback, methods=["POST"]),
            Route("/openapi.json", openapi),
        ]
    )
    app.state.key, app.state.feedback, app.state.given = key, feedback_there, []
    return app
