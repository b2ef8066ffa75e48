"""Requests as Open WebUI and LibreChat send them; each file says how it was recorded."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.clients.provider import obliging
from tests.llm.fault_server import FaultServer
from tests.serving.serve_tools import Serve, served

__all__ = ["served"]

PATH = "/v1/chat/completions"
QUERY = "Is the lamp safe?"
SHAPES = {
    f"{path.stem}: {shape['name']}": shape
    for path in sorted((Path(__file__).parent / "fixtures").glob("*.json"))
    for shape in json.loads(path.read_text("utf-8"))["requests"]
}


def asks(shape: dict[str, Any]) -> bool:
    """Whether a person asks here, and nothing but a text."""
    last = shape["body"]["messages"][-1]["content"]
    return last in (QUERY, [{"type": "text", "text": QUERY}])


PERSONAL = [name for name, shape in SHAPES.items() if asks(shape)]
OTHERS = [name for name in SHAPES if name not in PERSONAL]


@pytest.fixture
def provider() -> Iterator[FaultServer]:
    with FaultServer(obliging) as server:
        yield server


class Got:
    """What a front-end reads of a response, streamed or whole."""

    def __init__(self, served: Serve, provider: FaultServer, name: str) -> None:
        shape = SHAPES[name]
        self.body: dict[str, Any] = shape["body"]
        response = served(provider).post(PATH, json=self.body, headers=shape["headers"])
        assert response.status_code == 200, response.text
        if self.body.get("stream"):
            assert response.headers["content-type"].startswith("text/event-stream")
            lines = [line for line in response.text.splitlines() if line.startswith("data: ")]
            assert lines[-1] == "data: [DONE]"
            self.parts = [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]
        else:
            self.parts = [response.json()]
        choices = [part["choices"][0] for part in self.parts if part["choices"]]
        said = [choice.get("delta") or choice.get("message") or {} for choice in choices]
        self.text = "".join(one.get("content") or "" for one in said)
        self.calls = [call for one in said for call in one.get("tool_calls") or ()]
        self.finishes = [choice["finish_reason"] for choice in choices if choice["finish_reason"]]
        (self.hydra,) = [part["hydra"] for part in self.parts if part.get("hydra")]
        self.usages = [part["usage"] for part in self.parts if part.get("usage")]


def test_there_are_requests_of_both_kinds() -> None:
    assert len(PERSONAL) == 9
    assert len(OTHERS) == 15


@pytest.mark.parametrize("name", PERSONAL)
def test_a_chats_question_is_answered_as_the_user(
    served: Serve, provider: FaultServer, name: str
) -> None:
    got = Got(served, provider, name)
    assert got.hydra["personal"] is True
    assert got.hydra["user"] == "mia"
    assert got.text.startswith(f"the LLM says: {QUERY}")
    assert got.finishes == ["stop"]
    assert len(got.usages) == (not got.body.get("stream") or "stream_options" in got.body)
    sent = provider.calls[0].body["messages"]
    assert sent[-1]["content"] == QUERY
    assert "mia says" in str(sent)
    earlier = [m for m in got.body["messages"][:-1] if m["role"] != "system"]
    assert len(sent) >= len(got.body["messages"]) + 2
    for theirs, ours in zip(reversed(earlier), reversed(sent[:-1]), strict=False):
        assert theirs["role"] == ours["role"]
        assert ours["content"] in str(theirs["content"])
    systems = [m["content"] for m in got.body["messages"] if m["role"] == "system"]
    assert [m["content"] for m in sent if m["role"] == "system"][: len(systems)] == systems


@pytest.mark.parametrize("name", OTHERS)
def test_everything_else_is_the_llms_own_and_reaches_it_whole(
    served: Serve, provider: FaultServer, name: str
) -> None:
    got = Got(served, provider, name)
    assert got.hydra["personal"] is False
    assert got.hydra["why_not"]
    assert got.hydra["user"] in ("mia", None)
    (call,) = provider.calls
    assert call.body["messages"] == got.body["messages"]
    for field in ("tools", "response_format", "max_completion_tokens"):
        assert call.body.get(field) == got.body.get(field)
    assert "mia says" not in str(call.body)
    if got.body.get("tools"):
        assert [made["function"]["name"] for made in got.calls] == ["weather"]
        assert got.finishes == ["tool_calls"]
    else:
        assert got.text
        assert got.finishes == ["stop"]


def test_the_list_of_models_is_what_a_front_end_reads(served: Serve, provider: FaultServer) -> None:
    listed = served(provider).get("/v1/models").json()
    assert listed["object"] == "list"
    assert "hydra/openai/x" in [model["id"] for model in listed["data"]]
    assert all(model["object"] == "model" for model in listed["data"])
