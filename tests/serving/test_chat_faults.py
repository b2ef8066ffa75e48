"""Providers that hang, die, refuse or have had enough: the client reads OpenAI's errors."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from hydra_cli.llm import provider_calls
from hydra_cli.llm.setup import WAITED_FOR
from tests.llm.fault_server import Call, FaultServer, Plan, Reply, answers, error, streamed
from tests.serving.serve_tools import MODEL, PATH, QUERY, Serve, as_user, body
from tests.serving.test_nothing_lost import TOOL

BODIES = pytest.mark.parametrize("asked", [body(), body(model=MODEL)], ids=["personal", "through"])


@pytest.fixture(autouse=True)
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provider_calls, "FIRST_WAIT", 0.01)


FAULTS: dict[str, tuple[Plan, int, str]] = {
    "busy": (lambda _: error(429, "slow down", headers={"Retry-After": "30"}), 429, "rate limit"),
    "quota": (lambda _: error(429, "insufficient_quota"), 429, "quota"),
    "broken": (lambda _: error(500), 502, "provider failed"),
    "no json": (lambda _: Reply(body=b"<html>"), 502, "can't be read"),
    "hangs up": (lambda _: Reply(drop="before"), 502, "can't reach"),
    "cut off": (lambda call: Reply(body=answers(call).body, drop="within"), 502, ""),
    "key": (lambda _: error(401, "bad key"), 502, "refused the API key"),
    "filter": (lambda _: error(400, "violates the content_policy"), 400, "content filter"),
    "context": (lambda _: error(400, "maximum context length is 10"), 400, "context window"),
    "refused": (lambda _: error(400, "colour can't be red"), 400, "colour can't be red"),
}


@BODIES
@pytest.mark.parametrize("name", FAULTS)
def test_a_faulty_provider(served: Serve, asked: dict[str, object], name: str) -> None:
    plan, status, words = FAULTS[name]
    with FaultServer(plan) as provider:
        got = served(provider).post(PATH, json=asked, headers=as_user("mia"))
    assert got.status_code == status, got.text
    told = got.json()["error"]
    assert set(told) == {"message", "type", "param", "code"}
    assert words in told["message"]
    assert "mia says" not in got.text
    if name == "busy":
        assert got.headers["retry-after"] == "30"


@BODIES
def test_a_provider_that_hangs(served: Serve, asked: dict[str, object]) -> None:
    with FaultServer(delay=30.0) as provider:
        server = served(provider, timeout=0.5)
        got = server.post(PATH, json=asked, headers=as_user("mia"))
        streamed = server.post(PATH, json={**asked, "stream": True}, headers=as_user("mia"))
    assert got.status_code == 504
    assert "no answer in time" in got.json()["error"]["message"]
    assert "no answer in time" in streamed.text
    assert len(provider.calls) == 2


def test_a_short_fault_is_asked_again(served: Serve) -> None:
    def plan(call: Call) -> Reply:
        return error(500) if call.number == 0 else answers(call)

    with FaultServer(plan) as provider:
        got = served(provider).post(PATH, json=body(), headers=as_user("mia"))
    assert got.status_code == 200
    assert len(provider.calls) == 2 <= WAITED_FOR.attempts


def test_a_parameter_that_the_model_rejects_is_left_out(served: Serve) -> None:
    def plan(call: Call) -> Reply:
        if "logprobs" in call.body:
            return error(400, "Unsupported parameter: 'logprobs'")
        return answers(call)

    with FaultServer(plan) as provider:
        server = served(provider, n=1, cache=False)
        streamed = server.post(PATH, json=body(stream=True), headers=as_user("mia"))
        got = server.post(PATH, json=body(), headers=as_user("mia"))
    assert got.status_code == 200
    assert "[DONE]" in streamed.text
    assert len(provider.calls) == 3  # it is tried once


def test_another_model_answers_where_one_fails(served: Serve) -> None:
    def plan(call: Call) -> Reply:
        return error(401) if call.body["model"] == "x" else answers(call)

    with FaultServer(plan) as provider:
        server = served(provider, fallbacks=["openai/y"])
        for more in ({}, {"stream": True}):
            got = server.post(PATH, json=body(**more), headers=as_user("mia"))
            assert got.status_code == 200
            assert "error" not in got.text
    assert [call.body["model"] for call in provider.calls][:2] == ["x", "y"]


def failing(reply: Reply) -> Callable[[Call], Reply]:
    """The model ``x`` fails like that, every other one answers."""
    return lambda call: reply if call.body["model"] == "x" else answers(call)


PLAIN = [body(model=MODEL), body(model=MODEL, stream=True), body(tools=[TOOL])]


@pytest.mark.parametrize("asked", PLAIN, ids=["whole", "stream", "tools"])
@pytest.mark.parametrize("fault", [error(401), error(500), error(429), Reply(drop="before")])
def test_another_model_answers_what_passes_through(
    served: Serve, fault: Reply, asked: dict[str, object]
) -> None:
    with FaultServer(failing(fault)) as provider:
        server = served(provider, fallbacks=["openai/y"])
        got = server.post(PATH, json=asked, headers=as_user("mia"))
    assert got.status_code == 200, got.text
    assert QUERY.split()[0] in got.text
    assert [call.body["model"] for call in provider.calls] == ["x", "y"]
    first, second = (call.body for call in provider.calls)
    assert {**first, "model": "y"} == second


@pytest.mark.parametrize("stream", [False, True])
def test_a_body_at_fault_is_told_by_the_model_that_was_asked(served: Serve, stream: bool) -> None:
    with FaultServer(failing(error(400, "no such tool choice"))) as provider:
        server = served(provider, fallbacks=["openai/y"])
        got = server.post(PATH, json=body(model=MODEL, stream=stream))
    assert got.status_code == 400
    assert len(provider.calls) == 1


@pytest.mark.parametrize("stream", [False, True])
def test_where_all_models_fail_the_one_that_was_asked_says_why(served: Serve, stream: bool) -> None:
    def plan(call: Call) -> Reply:
        if call.body["model"] == "x":
            return error(429, "slow down", headers={"Retry-After": "7"})
        return error(400, "y takes no such thing")

    with FaultServer(plan) as provider:
        server = served(provider, fallbacks=["openai/y"])
        got = server.post(PATH, json=body(model=MODEL, stream=stream))
    assert (got.status_code, got.headers["retry-after"]) == (429, "7")
    assert len(provider.calls) == 2


def test_a_stream_that_has_begun_is_nobody_elses(served: Serve) -> None:
    with FaultServer(failing(streamed(["one two three four"], drop="within"))) as provider:
        server = served(provider, fallbacks=["openai/y"])
        got = server.post(PATH, json=body(model=MODEL, stream=True))
    assert '"error"' in got.text
    assert len(provider.calls) == 1
