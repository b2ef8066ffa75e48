"""Run with the official ``openai`` package alone: what its user gets, as JSON."""

from __future__ import annotations

import asyncio
import json
import os

import openai

MODEL = os.environ["MODEL"]
PERSONAL = f"hydra/{MODEL}"
ASKED = [
    {"role": "system", "content": "Be kind."},
    {"role": "user", "content": "Is the lamp safe?"},
]
IMAGE = {"url": "data:image/png;base64,iVBORw0KGgo="}
TOOL = {
    "type": "function",
    "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}},
}
client = openai.OpenAI()
chat = client.chat.completions


def create(**options):
    return chat.create(**{"model": PERSONAL, "messages": ASKED, "user": "mia", **options})


def streamed(**options):
    chunks = list(create(stream=True, **options))
    choices = [chunk.choices[0] for chunk in chunks if chunk.choices]
    calls = [choice.delta.tool_calls for choice in choices if choice.delta.tool_calls]
    return {
        "text": "".join(choice.delta.content or "" for choice in choices),
        "roles": [choice.delta.role for choice in choices if choice.delta.role],
        "finishes": [choice.finish_reason for choice in choices],
        "usage": [chunk.usage.total_tokens for chunk in chunks if chunk.usage],
        "hydra": [c.model_extra["hydra"] for c in chunks if (c.model_extra or {}).get("hydra")],
        "calls": [call.function.name for found in calls for call in found],
        "ids": len({chunk.id for chunk in chunks}),
    }


def error(work):
    try:
        work()
    except openai.APIStatusError as error:
        return {
            "type": type(error).__name__,
            "status": error.status_code,
            "param": error.param,
            "message": str(error.body and error.body.get("message")),
        }
    return None


async def left_early():
    """A client that closes its stream; the server must go on."""
    async with openai.AsyncOpenAI() as asking:
        stream = await asking.chat.completions.create(
            model=PERSONAL, messages=ASKED, user="mia", stream=True
        )
        await anext(aiter(stream))
        await stream.close()
    return True


raw = chat.with_raw_response.create(
    model=PERSONAL, messages=ASKED, user="mia", extra_headers={"x-hydra-explain": "1"}
)
explained = raw.parse()
plain = create()
tool = create(tools=[TOOL])
parts = [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": IMAGE}]
shaped = create(response_format={"type": "json_object"})
embedded = client.embeddings.create(model=os.environ["ENCODER"], input=["Is the lamp safe?", "mug"])

print(
    json.dumps(
        {
            "version": openai.__version__,
            "plain": plain.model_dump(),
            "explained": {"headers": dict(raw.headers), "body": explained.model_dump()},
            "several": create(n=2).model_dump(),
            "stream": streamed(),
            "stream_usage": streamed(stream_options={"include_usage": True}),
            "passed": create(model=MODEL).model_dump(),
            "passed_stream": streamed(model=MODEL),
            "unknown_user": create(user="nobody").model_dump(),
            "tool": tool.model_dump(),
            "tool_stream": streamed(tools=[TOOL]),
            "tool_result": create(
                tools=[TOOL],
                messages=[
                    *ASKED,
                    tool.choices[0].message.model_dump(exclude_none=True),
                    {"role": "tool", "tool_call_id": "call_1", "content": "sunny"},
                ],
                tool_choice="none",
            ).model_dump(),
            "image": create(messages=[{"role": "user", "content": parts}]).model_dump(),
            "json": shaped.model_dump(),
            "models": [model.id for model in client.models.list()],
            "model": client.models.retrieve(PERSONAL).id,
            "embeddings": [len(one.embedding) for one in embedded.data],
            "records": client.get("/users/mia/records", cast_to=object),
            "left": asyncio.run(left_early()),
            "after": create().choices[0].message.content,
            "errors": {
                "temperature": error(lambda: create(temperature=9)),
                "messages": error(lambda: create(messages=[])),
                "task": error(lambda: create(model=f"{PERSONAL}@nosuch")),
                "responses": error(lambda: client.responses.create(model=PERSONAL, input="hi")),
                "records": error(lambda: client.get("/users/nobody/records", cast_to=object)),
            },
        }
    )
)
