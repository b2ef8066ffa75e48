"""Providers that fail: what is tried again, what is told, what is never shown."""

from __future__ import annotations

import threading
import time
import traceback
from pathlib import Path

import pytest

from hydra_cli.core.errors import ProviderError
from hydra_cli.core.protocols import Completion
from hydra_cli.llm import provider_calls
from hydra_cli.llm.provider_errors import ProviderFailure
from tests.llm.chat_tools import Open, ask, chat, notes, quick_retries
from tests.llm.fault_server import (
    Call,
    FaultServer,
    Plan,
    Reply,
    answers,
    completion,
    error,
)

__all__ = ["chat", "notes", "quick_retries"]  # fixtures

SECRET = "sk-test-4f9a8b7c6d5e4f3a2b1c"
PRIVATE = "my landlord Mr. Abernathy owes me 1,250 pounds since spring"


def in_turn(*plans: Plan) -> Plan:
    """The first call gets the first plan, later ones the last."""
    return lambda call: plans[min(call.number, len(plans) - 1)](call)


PASSING: dict[str, Plan] = {
    "429": lambda call: error(429, "slow down"),
    "429 with Retry-After": lambda call: error(429, "slow", headers={"Retry-After": "1"}),
    "500": lambda call: error(500),
    "502": lambda call: error(502),
    "503": lambda call: error(503, "overloaded"),
    "529": lambda call: error(529, "overloaded"),
    "broken JSON": lambda call: Reply(body=b'{"id": "x", "choi'),
    "a web page": lambda call: Reply(body=b"<html>maintenance</html>"),
    "an empty body": lambda call: Reply(),
    "no choices": lambda call: completion([]),
    "an empty object": lambda call: Reply(body=b"{}"),
    "a list": lambda call: Reply(body=b"[1]"),
    "an error in a 200": lambda call: Reply(body=b'{"error": {"message": "no", "code": 502}}'),
    "a dropped connection": lambda call: Reply(drop="before"),
    "half an answer": lambda call: Reply(body=answers(call).body, drop="within"),
}


@pytest.mark.parametrize("name", PASSING)
def test_a_passing_fault_is_tried_again(chat: Open, name: str) -> None:
    with FaultServer(in_turn(PASSING[name], answers)) as server:
        began = time.monotonic()
        got = chat(server).complete(ask("q"))
        took = time.monotonic() - began
    assert got.texts == ("q / 0",)
    assert got.usage.calls == 1
    assert len(server.calls) == 2
    assert took >= 1.0 or name != "429 with Retry-After"


@pytest.mark.parametrize("name", ["429", "500", "broken JSON", "no choices", "half an answer"])
def test_a_lasting_fault_ends_in_one_line(chat: Open, name: str) -> None:
    with FaultServer(PASSING[name]) as server, pytest.raises(ProviderError) as caught:
        chat(server).complete(ask(PRIVATE))
    assert 3 <= len(server.calls) <= 6
    assert caught.value.hint
    assert "\n" not in caught.value.message


FINAL: dict[str, tuple[Plan, str, str]] = {
    "401": (lambda call: error(401, f"Incorrect API key: {SECRET}"), "API key", "OPENAI_API_KEY"),
    "403": (lambda call: error(403, "no"), "may not use", "rights"),
    "unknown model": (
        lambda call: error(404, "The model `x` does not exist", code="model_not_found"),
        "has no model 'openai/tiny-chit'",
        "did you mean openai/tiny-chat?",
    ),
    "context": (
        lambda call: error(400, "This model's maximum context length is 4097 tokens."),
        "doesn't fit the model's context window (about ",
        "lower --k",
    ),
    "llama.cpp context": (
        lambda call: error(400, "the request exceeds the available context size. try again"),
        "doesn't fit",
        "lower --k",
    ),
    "filter": (
        lambda call: error(400, "triggering content management policy", code="content_filter"),
        "content filter",
        "rephrase",
    ),
    "quota": (
        lambda call: error(429, "You exceeded your current quota", code="insufficient_quota"),
        "quota or credit is used up",
        "kept",
    ),
    "402": (lambda call: error(402, "pay"), "quota or credit is used up", "kept"),
    "413": (lambda call: error(413, "too large"), "doesn't fit", "lower --k"),
    "422": (lambda call: error(422, "bad"), "refused the request: bad", ""),
}


@pytest.mark.parametrize("name", FINAL)
def test_what_repeating_can_not_mend_fails_at_once(chat: Open, name: str) -> None:
    plan, message, hint = FINAL[name]
    with FaultServer(plan) as server, pytest.raises(ProviderError) as caught:
        chat(server, model="openai/tiny-chit").complete(ask(PRIVATE))
    assert len(server.calls) == 1
    assert message in caught.value.message
    assert hint in (caught.value.hint or "")


def test_a_slow_answer_times_out(chat: Open) -> None:
    with FaultServer(delay=1.0) as server, pytest.raises(ProviderError, match="no answer in time"):
        chat(server, timeout=0.2).complete(ask())
    assert len(server.calls) == provider_calls.Patience().slow_attempts


def test_nobody_listens(chat: Open) -> None:
    with FaultServer() as server:
        pass
    with pytest.raises(ProviderError, match="can't reach http://127"):
        chat(server).complete(ask())


def test_a_very_long_retry_after_is_not_waited_for(chat: Open) -> None:
    plan: Plan = lambda call: error(429, "tomorrow", headers={"Retry-After": "86400"})  # noqa: E731
    with FaultServer(plan) as server, pytest.raises(ProviderError, match="rate limit"):
        chat(server).complete(ask())
    assert len(server.calls) == 1


def test_many_429s_lower_the_number_in_flight(chat: Open) -> None:
    busy = threading.Semaphore(2)

    def two_at_once(call: Call) -> Reply:
        if not busy.acquire(blocking=False):
            return error(429, "too many")
        time.sleep(0.02)
        busy.release()
        return answers(call)

    with FaultServer(two_at_once) as server:
        got = dict(chat(server, concurrency=16).complete_many([ask(f"q{i}") for i in range(40)]))
    assert len(got) == 40
    # 16 workers that never slowed down would be refused far more often.
    assert len(server.calls) < 40 * 3


def test_a_refused_prompt_does_not_end_a_run(chat: Open, notes: list[str]) -> None:
    def some(call: Call) -> Reply:
        return FINAL["filter"][0](call) if call.prompt == "bad" else answers(call)

    with FaultServer(some) as server:
        got = dict(chat(server).complete_many([ask("good"), ask("bad", 2), ask("fine")]))
    assert got[0].texts == ("good / 0",)
    assert got[1].texts == ("", "")
    assert got[2].texts == ("fine / 0",)
    assert len(notes) == 1
    assert "content filter" in notes[0]


def test_one_failure_ends_a_run_with_the_rest_kept(chat: Open) -> None:
    def sixth_fails(call: Call) -> Reply:
        return error(401) if call.prompt == "q5" else answers(call)

    requests = [ask(f"q{i}") for i in range(60)]
    got: dict[int, Completion] = {}
    with FaultServer(sixth_fails) as server:
        run = chat(server, concurrency=1).complete_many(requests)
        with pytest.raises(ProviderError):
            got.update(run)
    # Calls may overtake each other; whatever was answered by the end is kept.
    asked = {int(call.prompt[1:]) for call in server.calls}
    assert set(got) == asked - {5}
    assert len(got) >= 4
    assert len(asked) < 30  # those that were under way until the failure was seen


def test_a_fallback_takes_over_with_one_note(chat: Open, notes: list[str]) -> None:
    def first_is_down(call: Call) -> Reply:
        return error(401) if call.body["model"] == "x" else answers(call)

    with FaultServer(first_is_down) as server:
        model = chat(server, fallbacks=("openai/y",), concurrency=1)
        got = dict(model.complete_many([ask("a"), ask("b")]))
        assert model.complete(ask("c")).texts == ("c / 0",)
    assert [got[i].texts for i in (0, 1)] == [("a / 0",), ("b / 0",)]
    assert [call.body["model"] for call in server.calls].count("x") <= 2
    assert len(notes) == 1
    assert "going on with openai/y" in notes[0]
    assert model.name == "openai/x"


def test_the_last_fallback_s_error_is_told(chat: Open) -> None:
    plan: Plan = lambda call: error(401 if call.body["model"] == "x" else 403)  # noqa: E731
    with FaultServer(plan) as server, pytest.raises(ProviderError, match=r"openai/y: .* may not"):
        chat(server, fallbacks=("openai/y",)).complete(ask())


@pytest.mark.parametrize("name", [*PASSING, *FINAL])
def test_no_key_and_no_prompt_in_any_error_or_log(
    chat: Open,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    notes: list[str],
    name: str,
) -> None:
    """Servers that quote key and prompt back: neither is shown, not even in a traceback."""
    plan = PASSING.get(name) or FINAL[name][0]

    def quoting(call: Call) -> Reply:
        reply = plan(call)
        if reply.status == 200:
            return reply
        words = f"key {call.headers.get('Authorization', '')} said: {call.prompt}. It failed."
        return error(reply.status, words)

    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    once = provider_calls.Patience(1, 1)
    monkeypatch.setattr(provider_calls, "Patience", lambda: once)
    with (
        caplog.at_level(0),
        FaultServer(quoting) as server,
        pytest.raises(ProviderFailure) as caught,
    ):
        chat(server).complete(ask(PRIVATE))
    assert server.calls[0].headers["Authorization"] == f"Bearer {SECRET}"
    shown = "".join(traceback.format_exception(caught.value)) + str(caught.value.hint)
    logged = "\n".join(f"{r.getMessage()} {r.exc_text}" for r in caplog.records)
    printed = capfd.readouterr()
    everything = "\n".join([shown, logged, printed.out, printed.err, *notes])
    assert SECRET not in everything
    assert "Abernathy" not in everything


def test_the_store_keeps_no_prompt_and_no_key(
    chat: Open, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    with FaultServer(lambda call: completion(["fine"])) as server:
        chat(server).complete(ask(PRIVATE, user="dora"))
    kept = b"".join(p.read_bytes() for p in (tmp_path / "store").rglob("*") if p.is_file())
    assert b"fine" in kept
    assert b"Abernathy" not in kept
    assert SECRET.encode() not in kept
    assert b"dora" not in kept
