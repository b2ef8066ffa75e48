"""Bodies that can't be used: the field at fault is named, nothing is sent to the LLM."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from starlette.testclient import TestClient

from hydra_cli.serving import bodies, chat_schemas
from hydra_cli.serving.bodies import Target, target_of
from hydra_cli.serving.errors import ApiError

GOOD: dict[str, Any] = {"model": "hydra", "messages": [{"role": "user", "content": "hi"}]}

FIRST = "messages[0].content[0]"
BAD: list[tuple[dict[str, Any], str]] = [
    ({"model": None}, "model"),
    ({"model": 3}, "model"),
    ({"model": " "}, "model"),
    ({"messages": None}, "messages"),
    ({"messages": []}, "messages"),
    ({"messages": "hi"}, "messages"),
    ({"messages": ["hi"]}, "messages[0]"),
    ({"messages": [{"content": "hi"}]}, "messages[0].role"),
    ({"messages": [{"role": "boss", "content": "hi"}]}, "messages[0].role"),
    ({"messages": [{"role": "user", "content": 3}]}, "messages[0].content"),
    ({"messages": [{"role": "user", "content": ["hi"]}]}, FIRST),
    ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, f"{FIRST}.text"),
    ({"messages": [{"role": "user", "content": [{"type": "input_text"}]}]}, FIRST),
    ({"messages": [{"role": "user", "content": [{"type": "tool_result"}]}]}, FIRST),
    ({"messages": [{"role": "user", "content": "hi", "name": 3}]}, "messages[0].name"),
    ({"n": 0}, "n"),
    ({"n": 1000}, "n"),
    ({"n": "2"}, "n"),
    ({"n": True}, "n"),
    ({"temperature": "warm"}, "temperature"),
    ({"temperature": -1}, "temperature"),
    ({"temperature": 3}, "temperature"),
    ({"top_p": 2}, "top_p"),
    ({"max_tokens": 0}, "max_tokens"),
    ({"max_completion_tokens": 1.5}, "max_completion_tokens"),
    ({"max_completion_tokens": 9, "max_tokens": "9"}, "max_tokens"),
    ({"seed": "x"}, "seed"),
    ({"stop": 3}, "stop"),
    ({"stop": [3]}, "stop"),
    ({"stream": "yes"}, "stream"),
    ({"stream_options": []}, "stream_options"),
    ({"stream_options": {"include_usage": "yes"}}, "include_usage"),
    ({"user": 3}, "user"),
    ({"safety_identifier": {"id": "mia"}}, "safety_identifier"),
    ({"tools": {}}, "tools"),
    ({"tools": ["weather"]}, "tools[0]"),
    ({"functions": [3]}, "functions[0]"),
    ({"modalities": [3]}, "modalities[0]"),
    ({"logprobs": 3}, "logprobs"),
    ({"top_logprobs": -1}, "top_logprobs"),
    ({"messages": [{"role": "assistant", "tool_calls": "x"}]}, "messages[0].tool_calls"),
    ({"messages": [{"role": "assistant", "tool_calls": [3]}]}, "messages[0].tool_calls[0]"),
    ({"response_format": "json"}, "response_format"),
    ({"system": "Be kind."}, "system"),
]  # fmt: skip


@pytest.mark.parametrize(("wrong", "param"), BAD)
def test_a_wrong_field_is_named(wrong: dict[str, Any], param: str) -> None:
    with pytest.raises(ApiError) as refused:
        bodies.read(orjson.dumps({**GOOD, **wrong}))
    assert (refused.value.status, refused.value.param) == (400, param)
    assert param in refused.value.message


SCHEMA = Draft202012Validator(chat_schemas.REQUEST)


@pytest.mark.parametrize(("wrong", "param"), BAD)
def test_the_description_refuses_what_the_server_refuses(wrong: dict[str, Any], param: str) -> None:
    assert not SCHEMA.is_valid({**GOOD, **wrong})


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"3", b'{"a": NaN}', b"\xff", b"null"])
def test_no_json_object(content: bytes) -> None:
    with pytest.raises(ApiError) as refused:
        bodies.read(content)
    assert (refused.value.status, refused.value.code) == (400, "invalid_json")


def test_nulls_are_as_if_they_were_absent() -> None:
    nulls = dict.fromkeys(("n", "temperature", "stop", "seed", "stream", "tools"))
    assert bodies.read(orjson.dumps({**GOOD, **nulls})).wishes == bodies.read(
        orjson.dumps(GOOD)
    ).wishes  # fmt: skip


def test_a_whole_number_may_be_written_with_a_point() -> None:
    wishes = bodies.read(orjson.dumps({**GOOD, "n": 2.0, "seed": -3.0, "max_tokens": 5.0})).wishes
    assert (wishes.n, wishes.seed, wishes.max_tokens) == (2, -3, 5)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.just(2.0) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=6,
)
NAMES = st.sampled_from(sorted(chat_schemas.REQUEST["properties"]))


@given(fields=st.dictionaries(NAMES, JSON, max_size=4))
def test_any_json_is_read_or_refused_as_the_description_says(fields: dict[str, Any]) -> None:
    body = {**GOOD, **fields}
    try:
        read = bodies.read(orjson.dumps(body))
    except ApiError:
        assert not SCHEMA.is_valid(body)
        return
    assert SCHEMA.is_valid(body)
    if read.why_not is None:
        assert read.conversation().query.strip()


@pytest.mark.parametrize(
    ("model", "target"),
    [
        ("openai/x", Target("openai/x")),
        ("hydrangea", Target("hydrangea")),
        ("hydra", Target(None, True)),
        ("hydra/", Target(None, True)),
        ("hydra@replies", Target(None, True, "replies")),
        ("hydra/openai/x", Target("openai/x", True)),
        ("hydra/openai/x@replies", Target("openai/x", True, "replies")),
        ("hydra/a/b@2024@replies", Target("a/b@2024", True, "replies")),
    ],
)
def test_names_of_models(model: str, target: Target) -> None:
    assert target_of(model) == target


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/responses"])
def test_other_protocols_are_told_where_to_go(client: TestClient, path: str) -> None:
    got = client.post(path, json={"model": "x", "input": "hi"})
    assert got.status_code == 404
    assert "/v1/chat/completions" in got.json()["error"]["message"]


def test_a_body_of_the_responses_api(client: TestClient) -> None:
    got = client.post("/v1/chat/completions", json={"model": "x", "input": "hi"})
    assert got.status_code == 400
    assert "Responses API" in got.json()["error"]["message"]
