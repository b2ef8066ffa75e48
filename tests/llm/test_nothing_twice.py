"""No call is paid twice, and none beyond what the user allows."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from hydra_cli.config import Settings
from hydra_cli.core.errors import BudgetExceeded, UsageError
from hydra_cli.core.protocols import Completion
from hydra_cli.core.records import Usage
from hydra_cli.llm.answer_cache import AnswerCache
from hydra_cli.llm.budget import Limits
from hydra_cli.store.folder import StoreFolder
from tests.llm.chat_tools import Open, ask, chat, notes, quick_retries
from tests.llm.fault_server import (
    FaultServer,
)

__all__ = ["chat", "notes", "quick_retries"]  # fixtures

SECRET = "sk-test-4f9a8b7c6d5e4f3a2b1c"


def test_the_cache_answers_a_rerun(chat: Open, tmp_path: Path) -> None:
    requests = [ask(f"q{i}", 2) for i in range(5)]
    with FaultServer() as server:
        first = dict(chat(server).complete_many(requests))
        second = dict(chat(server).complete_many(requests))
    assert len(server.calls) == 5
    assert [second[i].texts for i in range(5)] == [first[i].texts for i in range(5)]
    total = sum((done.usage for done in second.values()), Usage())
    assert (total.calls, total.cached_calls, total.cost, total.seconds) == (0, 5, 0.0, 0.0)
    assert (total.prompt_tokens, total.completion_tokens) == (50, 30)
    assert AnswerCache(StoreFolder(tmp_path / "store").answers).size() == 5


def test_more_answers_add_to_those_there(chat: Open) -> None:
    with FaultServer() as server:
        model = chat(server)
        few = model.complete(ask("q", 3, seed=7))
        many = model.complete(ask("q", 8, seed=7))
        fewer = model.complete(ask("q", 2, seed=7))
    assert [(call.n, call.body["seed"]) for call in server.calls] == [(3, 7), (5, 10)]
    assert many.texts[:3] == few.texts
    assert (many.usage.calls, many.usage.cached_calls) == (1, 1)
    assert fewer.texts == few.texts[:2]


def test_other_settings_are_other_answers(chat: Open) -> None:
    with FaultServer() as server:
        model = chat(server)
        for request in (
            ask("q"),
            ask("q", temperature=0.8),
            ask("q", seed=1),
            ask("q", max_tokens=9),
            ask("q", stop=["x"]),
            ask("p"),
        ):
            model.complete(request)
            model.complete(request)
        chat(server, model="openai/other").complete(ask("q"))
    assert len(server.calls) == 7


def test_without_cache_every_run_asks(chat: Open, tmp_path: Path) -> None:
    with FaultServer() as server:
        for _ in range(2):
            chat(server, cache=False).complete(ask("q"))
    assert len(server.calls) == 2
    assert not StoreFolder(tmp_path / "store").answers.exists()


@pytest.mark.parametrize("cache", [True, False])
def test_equal_requests_of_one_batch_are_made_once(chat: Open, cache: bool) -> None:
    with FaultServer(delay=0.05) as server:
        got = dict(chat(server, cache=cache).complete_many([ask("q", 2), ask("q", 3), ask("q", 1)]))
    assert [len(got[i].texts) for i in range(3)] == [2, 3, 1]
    assert len(server.calls) == 1
    total = sum((done.usage for done in got.values()), Usage())
    assert total.calls == 1


@pytest.mark.parametrize("cache", [True, False])
def test_equal_requests_of_two_threads_are_made_once(chat: Open, cache: bool) -> None:
    got: list[Completion] = []
    with FaultServer(delay=0.3) as server:
        model = chat(server, cache=cache)
        threads = [
            threading.Thread(target=lambda: got.append(model.complete(ask("q", 2))))
            for _ in range(6)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
    assert len(server.calls) == 1
    assert {done.texts for done in got} == {("q / 0", "q / 1")}
    assert len(got) == 6


def test_asking_inside_the_loop_over_a_run_does_not_hang(chat: Open) -> None:
    with FaultServer() as server:
        model = chat(server, concurrency=1)
        for _ in model.complete_many([ask("a"), ask("b")]):
            model.complete(ask("b"))


def test_a_run_that_is_left_early_keeps_what_came(chat: Open) -> None:
    with FaultServer() as server:
        run = chat(server, concurrency=1).complete_many([ask(f"q{i}") for i in range(50)])
        first = next(run)
        run.close()
        time.sleep(0.2)
        before = len(server.calls)
        assert before < 10
        assert first[1].texts
        chat(server).complete(ask("q0"))
        assert len(server.calls) == before


@pytest.mark.parametrize("concurrency", [1, 8])
def test_max_calls_is_kept_and_so_are_the_answers(chat: Open, concurrency: int) -> None:
    requests = [ask(f"q{i}") for i in range(20)]
    got: dict[int, Completion] = {}
    with FaultServer(delay=0.01) as server:
        model = chat(server, limits=Limits(max_calls=7), concurrency=concurrency)
        with pytest.raises(BudgetExceeded, match="--max-calls 7"):
            got.update(model.complete_many(requests))
        assert len(server.calls) == len(got) == 7
        rest = dict(chat(server).complete_many(requests))
    assert len(rest) == 20
    assert len(server.calls) == 20


def test_max_tokens_is_never_passed(chat: Open) -> None:
    # A call takes 10 + 3 tokens, at worst about 12 + 64.
    with FaultServer() as server:
        model = chat(server, limits=Limits(max_tokens=200), concurrency=4)
        with pytest.raises(BudgetExceeded, match="--max-tokens 200"):
            list(model.complete_many([ask(f"q{i}") for i in range(50)]))
        used = model.used
    assert used.prompt_tokens + used.completion_tokens <= 200
    assert used.calls >= 9


def test_max_cost_wants_a_known_price(
    chat: Open, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from hydra_cli.wiring import open_chat

    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    settings = Settings(store=tmp_path)
    with pytest.raises(UsageError, match="price of openai/nobodys-model is unknown"):
        open_chat(settings, model="openai/nobodys-model", limits=Limits(max_cost=1.0))
    open_chat(settings, model="openai/gpt-4o-mini", limits=Limits(max_cost=1.0))


def test_cached_answers_cost_no_budget(chat: Open) -> None:
    with FaultServer() as server:
        chat(server).complete(ask("q"))
        assert chat(server, limits=Limits(max_calls=0)).complete(ask("q")).texts == ("q / 0",)


@pytest.mark.parametrize("value", [-1, float("nan")])
def test_senseless_limits_are_refused(value: float) -> None:
    with pytest.raises(UsageError, match="--max-cost"):
        Limits(max_cost=value)
