"""Streamed chat completions: what comes, in which order, and who hangs up."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hydra_cli.core.protocols import Completion
from hydra_cli.core.records import Usage
from hydra_cli.core.tasks import TaskSpec
from hydra_cli.llm.answer_text import clean_answer
from hydra_cli.serving.token_flow import TokenFlow
from tests.llm.fault_server import (
    Call,
    FaultServer,
    Plan,
    Reply,
    answers,
    error,
    streamed,
    tokens,
)
from tests.serving.serve_tools import MODEL, PATH, QUERY, Client, Serve, as_user, body


def events(got: httpx.Response) -> list[Any]:
    """The JSON of each event; the last one of a good end is ``[DONE]``."""
    assert got.status_code == 200, got.text
    assert got.headers["content-type"].startswith("text/event-stream")
    lines = [line for line in got.text.split("\n\n") if line.startswith("data: ")]
    texts = [line.removeprefix("data: ") for line in lines]
    return [text if text == "[DONE]" else json.loads(text) for text in texts]


def text_in(chunks: list[Any], index: int = 0) -> str:
    found = [c for chunk in chunks[:-1] for c in chunk["choices"] if c["index"] == index]
    return "".join(choice["delta"].get("content") or "" for choice in found)


def until(true: Callable[[], bool]) -> None:
    """Wait for what another thread does, however long a busy machine takes."""
    for _ in range(6_000):
        if true():
            return
        time.sleep(0.01)
    pytest.fail("it didn't happen within a minute")


def test_the_winner_comes_in_chunks(served: Serve) -> None:
    asked = body(stream=True, stream_options={"include_usage": True})
    with FaultServer() as provider:
        server = served(provider)
        plain = server.post(PATH, json=body(), headers=as_user("mia")).json()
        got = server.post(PATH, json=asked, headers=as_user("mia"))
    chunks = events(got)
    assert chunks[0]["choices"] == [
        {
            "index": 0,
            "delta": {"role": "assistant", "content": ""},
            "logprobs": None,
            "finish_reason": None,
        }
    ]
    assert text_in(chunks) == plain["choices"][0]["message"]["content"]
    *before, last, usage, done = chunks
    assert [c["choices"][0]["finish_reason"] for c in before] == [None] * len(before)
    assert last["choices"][0]["finish_reason"] == "stop"
    assert last["hydra"]["answer_id"] == got.headers["x-hydra-answer-id"]
    assert last["hydra"]["user"] == "mia"
    assert (usage["choices"], usage["usage"]) == ([], plain["usage"])
    assert done == "[DONE]"
    assert {chunk["id"] for chunk in chunks[:-1]} == {chunks[0]["id"]}
    assert got.headers["cache-control"] == "private, no-store"


def known(server: Client, **settings: Any) -> Client:
    """The server, once the LLM behind has answered: from then on it is known not to think."""
    if settings.get("n") == 1:
        first = server.post(PATH, json=body(("user", "Is the vase safe?")), headers=as_user("mia"))
        assert first.status_code == 200, first.text
    return server


def once_plain(plan: Plan) -> Plan:
    """What is streamed goes by the plan, what isn't is answered."""
    return lambda call: plan(call) if call.body.get("stream") else answers(call)


def test_one_greedy_answer_streams_as_it_comes(served: Serve) -> None:
    def plan(call: Call) -> Reply:
        usage = tokens(10, 5)
        return streamed(["It is, says the maker."], usage=usage, pause=0.05)

    with FaultServer(once_plain(plan)) as provider:
        server = known(served(provider, n=1), n=1)
        got = server.post(PATH, json=body(stream=True), headers=as_user("mia"))
        again = server.post(PATH, json=body(), headers=as_user("mia")).json()
    chunks = events(got)
    assert text_in(chunks) == "It is, says the maker."
    assert len(chunks) > 6
    assert provider.calls[1].body["stream"] is True
    # Kept like any other answer: nobody pays for it twice.
    assert len(provider.calls) == 2
    assert again["choices"][0]["message"]["content"] == "It is, says the maker."
    assert again["hydra"]["calls"] == {"made": 0, "cached": 1}


def test_several_choices_stream_side_by_side(served: Serve) -> None:
    with FaultServer() as provider:
        server = served(provider)
        plain = server.post(PATH, json=body(n=2), headers=as_user("mia")).json()
        got = server.post(PATH, json=body(n=2, stream=True), headers=as_user("mia"))
    chunks = events(got)
    for index in range(2):
        assert text_in(chunks, index) == plain["choices"][index]["message"]["content"]
    ends = [c["index"] for chunk in chunks[:-1] for c in chunk["choices"] if c["finish_reason"]]
    assert ends == [0, 1]


def test_a_stream_passes_through(served: Serve) -> None:
    asked = body(model=MODEL, stream=True, stream_options={"include_usage": True})
    with FaultServer() as provider:
        got = served(provider).post(PATH, json=asked)
    chunks = events(got)
    assert text_in(chunks) == f"{QUERY} / 0"
    assert (chunks[-2]["choices"], chunks[-2]["usage"]["total_tokens"]) == ([], 13)
    assert chunks[-1] == "[DONE]"
    assert not any("hydra" in chunk for chunk in chunks[:-1])
    assert provider.calls[0].body == {**asked, "model": "x"}


def test_a_stream_that_isnt_personal_says_so_at_its_end(served: Serve) -> None:
    with FaultServer() as provider:
        got = served(provider).post(PATH, json=body(stream=True), headers=as_user("nobody"))
    ends = [chunk for chunk in events(got)[:-1] if "hydra" in chunk]
    assert [end["hydra"]["why_not"] for end in ends] == ["unknown user"]
    assert ends[0]["choices"][0]["finish_reason"] == "stop"


def test_comments_keep_a_waiting_client(served: Serve) -> None:
    with FaultServer(delay=0.7) as provider:
        got = served(provider).post(PATH, json=body(stream=True), headers=as_user("mia"))
    assert got.text.count(": waiting") >= 2
    assert got.text.index("assistant") < got.text.index(": waiting")
    assert events(got)[-1] == "[DONE]"


@pytest.mark.parametrize("asked", [body(), body(model=MODEL)])
def test_a_client_that_leaves_hangs_up_at_the_provider(
    served: Serve, asked: dict[str, Any]
) -> None:
    with FaultServer(delay=60.0) as provider:
        server = served(provider)
        with pytest.raises(httpx.ReadTimeout):
            server.post(PATH, json=asked, headers=as_user("mia"), timeout=2.0)
        until(lambda: provider.hung_up == 1)
    assert len(provider.calls) == 1


def test_a_client_that_leaves_a_waiting_stream_hangs_up_at_the_provider(served: Serve) -> None:
    with FaultServer(delay=60.0) as provider:
        server = served(provider)
        sent = body(stream=True)
        with server.stream("POST", PATH, json=sent, headers=as_user("mia")):
            until(lambda: bool(provider.calls))
        until(lambda: provider.hung_up == 1)


def test_a_client_that_leaves_a_flowing_stream_ends_it(served: Serve) -> None:
    def plan(call: Call) -> Reply:
        return streamed(["word " * 500], pause=0.05)

    for settings, asked in (({"n": 1}, body()), ({}, body(model=MODEL))):
        with FaultServer(once_plain(plan)) as provider:
            server = known(served(provider, cache=False, **settings), **settings)
            sent = {**asked, "stream": True}
            with server.stream("POST", PATH, json=sent, headers=as_user("mia")) as got:
                next(line for line in got.iter_lines() if "word" in line)
            until(lambda: provider.hung_up == 1)


@pytest.mark.parametrize("asked", [body(), body(model=MODEL)])
def test_a_provider_that_dies_mid_stream_ends_in_an_error(
    served: Serve, asked: dict[str, Any]
) -> None:
    def plan(call: Call) -> Reply:
        # Paused: what was sent is lost where the end comes before anybody has read it.
        return streamed(["one two three four five six"], drop="within", pause=0.3)

    with FaultServer(once_plain(plan)) as provider:
        got = known(served(provider, n=1), n=1).post(
            PATH, json={**asked, "stream": True}, headers=as_user("mia")
        )
    *chunks, last = events(got)
    assert any("one" in json.dumps(chunk) for chunk in chunks)
    assert last["error"]["type"] == "api_error"
    assert set(last["error"]) == {"message", "type", "param", "code"}
    assert "Traceback" not in got.text


def test_a_refusal_before_the_first_chunk_has_its_status(served: Serve) -> None:
    def busy(call: Call) -> Reply:
        return error(429, "slow down", headers={"Retry-After": "7"})

    with FaultServer(busy) as provider:
        server = served(provider)
        through = server.post(PATH, json=body(model=MODEL, stream=True))
        personal = server.post(PATH, json=body(stream=True), headers=as_user("mia"))
    assert (through.status_code, through.headers["retry-after"]) == (429, "7")
    # The role was sent at once: the refusal is an event.
    assert events(personal)[-1]["error"]["type"] == "rate_limit_error"


def test_the_stub_streams_what_it_says() -> None:
    assert "".join(
        json.loads(event)["choices"][0]["delta"].get("content") or ""
        for event in answers(Call(0, {"stream": True, "messages": [{"content": "a b"}]}, {})).events
        if event != "[DONE]"
    ) == "a b / 0"  # fmt: skip


THOUGHT = "They want the truth.\nIs it safe?\n</think>\n\nIt is, says the maker of it."


@pytest.mark.parametrize("opening", ["", "<think>\n"])
def test_thinking_is_never_shown_however_it_begins(served: Serve, opening: str) -> None:
    """The first answer tells how the model thinks, and is shown as a whole; later ones flow."""

    def plan(call: Call) -> Reply:
        return streamed([f"{opening}{THOUGHT}"], pause=0.02)

    with FaultServer(plan) as provider:
        server = served(provider, n=1)
        for thing in ("lamp", "bowl"):
            asked = body(("user", f"Is the {thing} safe?"), stream=True)
            chunks = events(server.post(PATH, json=asked, headers=as_user("mia")))
            assert text_in(chunks) == "It is, says the maker of it."
            assert "truth" not in json.dumps(chunks[:-2])
    # A word a chunk, not four: it came as the LLM wrote it.
    assert len([c for c in chunks[:-1] if c["choices"][0]["delta"].get("content")]) > 5


def test_a_model_that_begins_to_think_still_gives_its_answer(served: Serve) -> None:
    with FaultServer(once_plain(lambda call: streamed([THOUGHT]))) as provider:
        server = known(served(provider, n=1), n=1)
        got = server.post(PATH, json=body(stream=True), headers=as_user("mia"))
    assert text_in(events(got)).endswith("\n\nIt is, says the maker of it.")


RAW = st.text(alphabet="ab \"'`*\n<>/think“”«».", max_size=40)


@given(raw=RAW, cuts=st.lists(st.integers(0, 40), max_size=6), multiline=st.booleans())
def test_what_flows_is_the_beginning_of_the_answer(
    raw: str, cuts: list[int], multiline: bool
) -> None:
    task = TaskSpec("t", "generation", "Answer.", multiline=multiline)
    stop = ("END",) if multiline else ("\n",)
    edges = sorted({0, len(raw), *(cut for cut in cuts if cut < len(raw))})
    flow = TokenFlow(task, stop)
    shown = "".join(flow.feed(raw[a:b]) for a, b in pairwise(edges))
    cleaned = clean_answer(raw, stop)
    final = task.parse(cleaned) or cleaned
    assert (shown + flow.rest(final)).endswith(final)
    if "</" not in raw:  # thinking whose beginning is in the prompt can't be foreseen
        assert final.startswith(shown)
        assert shown + flow.rest(final) == final


def test_nothing_follows_what_was_cut_back_to_whole_sentences() -> None:
    flow = TokenFlow(TaskSpec("t", "generation", "Answer."), ())
    cut = "It is safe in a dishwasher. It has been te"
    assert flow.feed(cut) == cut
    (kept,) = Completion((cut,), (None,), Usage(), ("length",)).candidates
    assert kept.text == "It is safe in a dishwasher."
    assert flow.rest(kept.text) == ""


def test_plain_words_flow_at_once() -> None:
    flow = TokenFlow(TaskSpec("t", "generation", "Answer.", multiline=True), ())
    assert [flow.feed(piece) for piece in ("Dear", " Ann,\n\n", "yes", ".")] == [
        *("Dear", " Ann,", "\n\nyes", "."),
    ]
    held = TokenFlow(TaskSpec("t", "generation", "Answer.", multiline=True), ())
    assert held.feed('"It is') == ""
    assert held.rest("It is") == "It is"
