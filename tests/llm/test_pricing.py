"""Prices known, unknown and nothing; estimates before a request is sent."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hydra_cli.core.protocols import ChatRequest, Sampling
from hydra_cli.llm import estimates, pricing
from hydra_cli.llm.answer_cache import AnswerCache, StoredCall, cache_key
from hydra_cli.llm.litellm_loading import load_litellm
from hydra_cli.llm.providers import Endpoint, is_loopback, resolve

litellm = load_litellm()
MINI = Endpoint("openai/gpt-4o-mini", "openai")


def request(text: str = "a question about cats", **sampling: object) -> ChatRequest:
    settings = {"n": 8, "temperature": 0.8, "max_tokens": 32, **sampling}
    return ChatRequest(({"role": "user", "content": text},), Sampling(**settings), "u")  # type: ignore[arg-type]  # any setting


def test_a_listed_price() -> None:
    table = litellm.model_cost["gpt-4o-mini"]
    expected = 1000 * table["input_cost_per_token"] + 10 * table["output_cost_per_token"]
    assert pricing.cost(MINI, 1000, 10) == pytest.approx(expected)
    assert pricing.cost(replace(MINI, model="gpt-4o-mini"), 1000, 10) == pytest.approx(expected)


@pytest.mark.parametrize(
    "endpoint",
    [
        Endpoint("openai/nobodys-model", "openai"),
        Endpoint("groq/gpt-4o-mini", "groq"),
        Endpoint("openai/nobodys-model", "openai", "https://llm.example.org/v1"),
        Endpoint("ollama/llama3", "ollama", "http://10.0.0.7:11434"),
    ],
)
def test_an_unknown_price_is_not_zero(endpoint: Endpoint) -> None:
    assert pricing.price(endpoint) is None
    assert pricing.cost(endpoint, 1000, 10) is None


def test_a_table_s_zero_is_no_price(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = {"litellm_provider": "openai", "mode": "chat", "input_cost_per_token": 0.0}
    monkeypatch.setitem(litellm.model_cost, "openai/gap", entry)
    assert pricing.price(Endpoint("openai/gap", "openai")) is None


@pytest.mark.parametrize(
    "endpoint",
    [
        Endpoint("local/smollm2-135m-instruct", "local"),
        Endpoint("openai/gpt-4o-mini", "openai", "http://127.0.0.1:8801/v1"),
        Endpoint("ollama/llama3", "ollama", "http://localhost:11434"),
    ],
)
def test_local_models_cost_nothing(endpoint: Endpoint) -> None:
    assert endpoint.local
    assert pricing.cost(endpoint, 1000, 10) == 0.0


@pytest.mark.parametrize(
    ("base", "loopback"),
    [
        ("http://127.0.0.1:1/v1", True),
        ("http://127.9.9.9", True),
        ("http://[::1]:8080", True),
        ("localhost:11434", True),
        ("http://localhost.evil.com", False),
        ("http://127.0.0.1.evil.com", False),
        ("http://evil.com/127.0.0.1", False),
        ("http://localhost@evil.com", False),
        ("http://0.0.0.0", False),
        ("", False),
    ],
)
def test_is_loopback(base: str, loopback: bool) -> None:
    assert is_loopback(base) is loopback


def test_resolve_reads_the_address_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert resolve("gpt-4o-mini") == Endpoint("gpt-4o-mini", "openai", None)
    assert resolve("ollama/x").local
    monkeypatch.setenv("OLLAMA_API_BASE", "http://gpu.example.org:11434")
    assert not resolve("ollama/x").local
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1/")
    assert resolve("gpt-4o-mini").base == "http://127.0.0.1:9/v1"


def test_estimate_of_a_provider_that_knows_n() -> None:
    one = pricing.count_prompt_tokens(MINI, request().messages)
    got = estimates.estimate([request()], "openai/gpt-4o-mini")
    assert (got.calls, got.prompt_tokens) == (1, one)
    assert got.completion_tokens == round(8 * 32 * estimates.ANSWER_SHARE)
    assert got.cost == pytest.approx(pricing.cost(MINI, one, got.completion_tokens))


def test_estimate_of_one_that_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    got = estimates.estimate([request()], "anthropic/claude-sonnet-4-5")
    assert got.calls == 8
    monkeypatch.setenv("OPENAI_API_BASE", "http://127.0.0.1:9/v1")
    assert estimates.estimate([request()], "openai/any").calls == 8


def test_equal_and_greedy_requests_are_asked_once() -> None:
    greedy = request(temperature=0.0)
    assert estimates.estimate([greedy, greedy], "anthropic/claude-sonnet-4-5").calls == 1
    many = estimates.estimate([request(n=2), request(n=8), request(n=3)], "gpt-4o-mini")
    assert many.completion_tokens == round(2 * 19.2) + round(6 * 19.2)


def test_an_unknown_price_stays_unknown() -> None:
    assert estimates.estimate([request()], "openai/nobodys-model").cost is None


def test_the_cache_is_free_and_teaches(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    from pathlib import Path

    monkeypatch.setenv("OPENAI_API_BASE", "http://127.0.0.1:9/v1")
    endpoint = resolve("openai/any")
    cache = AnswerCache(Path(str(tmp_path)) / "answers.sqlite")
    known = request("known")
    for start in range(8):
        cache.put(
            cache_key(endpoint.identity, known),
            StoredCall(start, (("x", None),), 150, 7, 100),
            model=endpoint.identity,
            max_tokens=32,
        )
    assert estimates.estimate([known], "openai/any", cache=cache).calls == 0
    assert estimates.estimate([known], "openai/any", cache=cache).cached_calls == 8
    new = request("new")
    counted = pricing.count_prompt_tokens(endpoint, new.messages)
    got = estimates.estimate([new], "openai/any", cache=cache)
    assert got.calls == 8  # the server gave one answer a call
    assert got.prompt_tokens == round(counted * 1.5) * 8
    assert got.completion_tokens == 7 * 8


def test_context_window() -> None:
    assert pricing.context_tokens(MINI) == 128_000
    assert pricing.context_tokens(Endpoint("openai/nobodys-model", "openai")) is None
