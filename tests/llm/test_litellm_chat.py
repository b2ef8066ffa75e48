"""How many answers come back, which parameters go out, what is refused before."""

from __future__ import annotations

from pathlib import Path

import pytest

from hydra_cli.config import Settings
from hydra_cli.core.errors import HydraError, ProviderError
from hydra_cli.core.protocols import ChatRequest, Sampling
from tests.llm.chat_tools import Open, ask, chat, notes, quick_retries
from tests.llm.fault_server import (
    Call,
    FaultServer,
    Plan,
    Reply,
    answers,
    completion,
    error,
    ignores_n,
    tokens,
)

__all__ = ["chat", "notes", "quick_retries"]  # fixtures

SECRET = "sk-test-4f9a8b7c6d5e4f3a2b1c"


# -- how many answers ---------------------------------------------------------------------


def test_n_answers_in_one_call(chat: Open) -> None:
    with FaultServer() as server:
        got = chat(server).complete(ask("q", 8))
    assert got.texts == tuple(f"q / {i}" for i in range(8))
    assert got.usage.calls == len(server.calls) == 1
    assert (got.usage.prompt_tokens, got.usage.completion_tokens) == (10, 24)
    assert got.usage.cost == 0.0  # a server on this machine


def test_ignored_n_becomes_repeated_calls_and_is_remembered(chat: Open) -> None:
    with FaultServer(ignores_n) as server:
        model = chat(server)
        got = model.complete(ask("q", 4, seed=100))
        again = model.complete(ask("other", 3, seed=100))
    assert got.texts == ("answer 100", "answer 101", "answer 102", "answer 103")
    assert got.usage.calls == 4
    assert got.usage.prompt_tokens == 40
    assert again.usage.calls == 3
    assert [call.n for call in server.calls] == [4, 1, 1, 1, 1, 1, 1]


def test_an_answer_that_the_limit_of_tokens_ended_is_known_as_cut(chat: Open) -> None:
    """Also from the cache; not where it ends at a stop string that the server ignored."""

    def plan(call: Call) -> Reply:
        text = "one line\nand more" if call.prompt == "ignored" else "and so on and"
        return completion([text], usage=tokens(5, 9), finish="length" if call.number else "stop")

    with FaultServer(plan) as server:
        whole = chat(server).complete(ask("whole"))
        cut = chat(server).complete(ask("long"))
        kept = chat(server).complete(ask("long"))
        ignored = chat(server).complete(ask("ignored", stop=["\n"]))
    assert len(server.calls) == 3
    assert [found.finishes for found in (whole, cut, kept)] == [("stop",), ("length",), ("length",)]
    assert [found.candidates[0].cut for found in (whole, cut, kept)] == [False, True, True]
    assert (ignored.texts, ignored.finishes) == (("one line",), ("stop",))


def test_fewer_choices_than_n_are_topped_up(chat: Open) -> None:
    def at_most_three(call: Call) -> Reply:
        return completion([f"{call.number}.{i}" for i in range(min(3, call.n))], usage=tokens(5, 9))

    with FaultServer(at_most_three) as server:
        got = chat(server).complete(ask("q", 8))
    assert len(got.texts) == len(set(got.texts)) == 8
    assert sorted(call.n for call in server.calls) == [2, 3, 8]


def test_rejected_n_is_learned(chat: Open) -> None:
    plan: Plan = lambda call: error(400, "n must be 1") if call.n > 1 else ignores_n(call)  # noqa: E731
    with FaultServer(plan) as server:
        got = chat(server).complete(ask("q", 3))
    assert len(got.texts) == 3
    assert [call.n for call in server.calls] == [3, 1, 1, 1]


def test_a_greedy_answer_is_asked_for_once(chat: Open) -> None:
    with FaultServer(ignores_n) as server:
        got = chat(server).complete(ask("q", 5, temperature=0.0))
    assert got.texts == ("answer 0",) * 5
    assert got.usage.calls == len(server.calls) == 1


def test_no_answers_wanted_none_asked(chat: Open) -> None:
    with FaultServer() as server:
        assert chat(server).complete(ask("q", 0)).texts == ()
    assert not server.calls


# -- parameters -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["temperature", "stop", "seed", "top_p", "max_tokens"])
def test_a_rejected_parameter_is_dropped_with_one_note(
    chat: Open, notes: list[str], name: str
) -> None:
    def picky(call: Call) -> Reply:
        if name in call.body:
            return error(400, f"Unsupported parameter: '{name}' is not supported with this model.")
        return answers(call)

    sampling = Sampling(1, 0.7, 0.9, 16, ("END",), 3)
    request = ChatRequest(({"role": "user", "content": "q"},), sampling)
    other = ChatRequest(({"role": "user", "content": "r"},), sampling)
    with FaultServer(picky) as server:
        model = chat(server)
        assert model.complete(request).texts == ("q / 0",)
        assert model.complete(other).texts == ("r / 0",)
    assert len(server.calls) == 3
    assert notes == [f"openai/x doesn't take {name}; going on without it"]


def test_logprobs_are_asked_for_and_averaged(chat: Open) -> None:
    with FaultServer(lambda call: completion(["a"], logprob=-1.0)) as server:
        got = chat(server).complete(ask())
    assert server.calls[0].body["logprobs"] is True
    assert got.logprobs == (-0.5,)  # of the tokens -1 and 0


def test_rejected_logprobs_go_silently(chat: Open, notes: list[str]) -> None:
    plan: Plan = lambda call: (  # noqa: E731
        error(400, "logprobs are not supported") if "logprobs" in call.body else answers(call)
    )
    with FaultServer(plan) as server:
        got = chat(server).complete(ask("q"))
    assert got.texts == ("q / 0",)
    assert got.logprobs == (None,)
    assert notes == []


# -- cleaning ------------------------------------------------------------------------------


def test_reasoning_is_stripped(chat: Open) -> None:
    plan: Plan = lambda call: completion(["<think>hm, 3?</think>\n 4 "], reasoning="long")  # noqa: E731
    with FaultServer(plan) as server:
        assert chat(server).complete(ask()).texts == ("4",)


def test_thinking_that_ate_all_tokens_gets_room(chat: Open, notes: list[str]) -> None:
    def thinker(call: Call) -> Reply:
        if call.body["max_tokens"] < 100:
            return completion([""], reasoning="so", finish="length", usage=tokens(10, 64))
        return completion(["4"], reasoning="so so", usage=tokens(10, 200))

    with FaultServer(thinker) as server:
        got = chat(server).complete(ask())
    assert got.texts == ("4",)
    assert got.usage.calls == len(server.calls) == 2  # the first one was paid, too
    assert got.usage.completion_tokens == 264
    assert len(notes) == 1
    assert "thinks" in notes[0]


def test_stop_is_kept_where_the_server_ignores_it(chat: Open) -> None:
    with FaultServer(lambda call: completion(["one\nUser: two"])) as server:
        assert chat(server).complete(ask(stop=["\nUser:"])).texts == ("one",)


# -- wrong usage numbers --------------------------------------------------------------------


@pytest.mark.parametrize(
    "usage",
    [
        tokens(-5, 3),
        tokens(10**9, 3),
        tokens(9, -1),
        tokens(9, 10**8),
        tokens(9, 0),
        {"prompt_tokens": 0, "completion_tokens": 2, "total_tokens": 2},
    ],
)
def test_impossible_usage_is_counted_anew(
    chat: Open, notes: list[str], usage: dict[str, int]
) -> None:
    with FaultServer(lambda call: completion(["one two three"], usage=usage)) as server:
        got = chat(server).complete(ask("hello there")).usage
    assert 5 <= got.prompt_tokens <= 15
    assert 2 <= got.completion_tokens <= 4
    assert notes == ["openai/x reports impossible token counts; using our own"]


@pytest.mark.parametrize("usage", [None, tokens(0, 0)])
def test_missing_usage_is_counted_without_a_word(
    chat: Open, notes: list[str], usage: dict[str, int] | None
) -> None:
    with FaultServer(lambda call: completion(["one two three"], usage=usage)) as server:
        got = chat(server).complete(ask("hello there")).usage
    assert 5 <= got.prompt_tokens <= 15
    assert 2 <= got.completion_tokens <= 4
    assert notes == []


# -- before any request -----------------------------------------------------------------------


def test_a_provider_outside_the_list_is_refused(chat: Open) -> None:
    with FaultServer() as server:
        with pytest.raises(ProviderError, match="'openai' is not allowed"):
            chat(server, providers=("local", "ollama"))
        with pytest.raises(ProviderError, match="openai/y: provider 'openai' is not allowed"):
            chat(server, model="ollama/x", providers=("ollama",), fallbacks=("openai/y",))
        chat(server, providers=("openai",)).complete(ask())
    assert len(server.calls) == 1


def test_a_missing_key_names_its_variable(tmp_path: Path) -> None:
    from hydra_cli.wiring import open_chat

    with pytest.raises(ProviderError, match="no API key for anthropic") as caught:
        open_chat(Settings(store=tmp_path), model="anthropic/claude-sonnet-4-5")
    assert "ANTHROPIC_API_KEY" in str(caught.value.hint)


@pytest.mark.parametrize("model", ["gpt-4o-minni", "nonesuch/gpt-4o-mini", ""])
def test_an_unknown_model_is_told_apart(tmp_path: Path, model: str) -> None:
    from hydra_cli.wiring import open_chat

    with pytest.raises(HydraError) as caught:
        open_chat(Settings(store=tmp_path, model=model or " "))
    if model == "gpt-4o-minni":
        assert "gpt-4o-mini" in str(caught.value.hint)
