"""The LLM's edge for an event loop: parallel, kept, within the budget, cancelled with its task."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hydra_cli.config import Settings
from hydra_cli.core.errors import BudgetExceeded
from hydra_cli.core.protocols import Piece
from hydra_cli.llm.async_chat import AsyncChat
from hydra_cli.llm.budget import Limits
from hydra_cli.llm.provider_errors import ProviderFailure
from hydra_cli.llm.throttle import Throttle
from hydra_cli.wiring import open_async_chat
from tests.llm.chat_tools import Open, ask, chat, notes, quick_retries
from tests.llm.fault_server import Call, FaultServer, Reply, answers, error, ignores_n
from tests.llm.tiny_llm import save_tiny_llm

__all__ = ["chat", "notes", "quick_retries"]

OpenAsync = Callable[..., AsyncChat]


@pytest.fixture
def opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, notes: list[str]) -> OpenAsync:
    """``opened(server, limits=..., **settings)`` by the real door."""

    def open_it(server: FaultServer, *, limits: Limits | None = None, **more: Any) -> AsyncChat:
        monkeypatch.setenv("OPENAI_API_BASE", server.url)
        settings = Settings(store=tmp_path / "store").override(**{"timeout": 5.0, **more})
        made = open_async_chat(settings, model="openai/x", limits=limits, on_note=notes.append)
        assert isinstance(made, AsyncChat)
        return made

    return open_it


async def until(true: Callable[[], bool]) -> None:
    for _ in range(6_000):
        if true():
            return
        await asyncio.sleep(0.01)
    pytest.fail("it didn't happen within a minute")


def test_it_answers_as_the_threaded_edge_does(chat: Open, opened: OpenAsync) -> None:
    """And what one of them paid for, the other reads from the cache."""
    with FaultServer(ignores_n) as server:
        one = asyncio.run(opened(server).complete(ask(n=4, seed=1)))
        asked = len(server.calls)
        other = chat(server).complete(ask(n=4, seed=1))
    assert one.texts == other.texts
    assert asked == len(server.calls) == 4
    assert (one.usage.calls, other.usage.cached_calls) == (4, 4)
    assert server.calls[0].body["messages"] == [{"role": "user", "content": "hello"}]


def test_calls_go_side_by_side_up_to_the_limit(opened: OpenAsync) -> None:
    with FaultServer(ignores_n, delay=0.1) as server:
        asyncio.run(opened(server, concurrency=3).complete(ask(n=8, seed=1)))
    assert len(server.calls) == 8
    assert 1 < server.most_at_once <= 3


def test_what_passes_through_takes_nobodys_place(opened: OpenAsync) -> None:
    async def run(edge: AsyncChat) -> None:
        body = {"messages": [{"role": "user", "content": "long"}], "stream": True}
        stream = edge.forward_stream(body)
        await anext(stream)
        await edge.complete(ask())  # while the stream is under way
        await stream.aclose()

    with FaultServer() as server:
        asyncio.run(run(opened(server, concurrency=1)))
    assert len(server.calls) == 2


def test_equal_requests_wait_for_each_other(opened: OpenAsync) -> None:
    async def both(edge: AsyncChat) -> list[Any]:
        return await asyncio.gather(edge.complete(ask(n=2)), edge.complete(ask(n=2)))

    with FaultServer(delay=0.1) as server:
        one, other = asyncio.run(both(opened(server)))
    assert one.texts == other.texts
    assert len(server.calls) == 1


def test_a_cancelled_task_hangs_up_every_call(opened: OpenAsync) -> None:
    async def leave(edge: AsyncChat) -> None:
        first = asyncio.ensure_future(edge.complete(ask("learn", n=2, seed=1)))
        await first
        task = asyncio.ensure_future(edge.complete(ask(n=3, seed=1)))
        await until(lambda: len(server.calls) == 5)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        await until(lambda: server.hung_up == 3)

    def plan(call: Call) -> Reply:
        made = ignores_n(call)
        return made if call.number < 2 else Reply(body=made.body, delay=60.0)

    with FaultServer(plan) as server:
        asyncio.run(leave(opened(server)))


def test_a_failed_call_takes_the_others_along(opened: OpenAsync) -> None:
    all_there = threading.Event()

    def plan(call: Call) -> Reply:
        if call.number == 4:
            all_there.set()
        if call.number == 2:  # before the others are there, they would never be sent
            assert all_there.wait(60.0)
            return error(400, "this very prompt is refused")
        made = ignores_n(call)
        return made if call.number < 2 else Reply(body=made.body, delay=60.0)

    async def fail(edge: AsyncChat) -> None:
        await edge.complete(ask("learn", n=2, seed=1))
        with pytest.raises(ProviderFailure):
            await edge.complete(ask(n=3, seed=1))
        await until(lambda: server.hung_up == 2)

    with FaultServer(plan) as server:
        asyncio.run(fail(opened(server)))


def test_the_budget_holds(opened: OpenAsync) -> None:
    async def spend(edge: AsyncChat) -> None:
        await edge.complete(ask("one"))
        body = {"messages": [{"role": "user", "content": "two"}]}
        await edge.forward(body)
        assert edge.used.calls == 2
        with pytest.raises(BudgetExceeded):
            await edge.forward(body)
        with pytest.raises(BudgetExceeded):
            await edge.complete(ask("three"))
        assert (await edge.complete(ask("one"))).usage.cached_calls == 1

    with FaultServer() as server:
        asyncio.run(spend(opened(server, limits=Limits(max_calls=2))))
    assert len(server.calls) == 2


def test_a_stream_is_kept_like_any_answer(opened: OpenAsync) -> None:
    async def read(edge: AsyncChat) -> list[Piece]:
        return [piece async for piece in edge.stream(ask(temperature=0.0))]

    with FaultServer() as server:
        edge = opened(server)
        asyncio.run(edge.complete(ask("hi")))  # from now on the model is known not to think
        first, again = asyncio.run(read(edge)), asyncio.run(read(edge))
    assert "".join(piece.text for piece in first) == "hello / 0"
    assert len(first) > 2
    completion = first[-1].completion
    assert completion is not None
    assert (completion.texts, completion.finishes) == (("hello / 0",), ("stop",))
    assert (completion.usage.prompt_tokens, completion.usage.completion_tokens) == (10, 3)
    assert [piece.text for piece in again] == ["hello / 0", ""]
    assert len(server.calls) == 2


def test_a_busy_provider_slows_the_next_calls_down(opened: OpenAsync) -> None:
    def plan(call: Call) -> Reply:
        if call.number == 0:
            return error(429, "slow down", headers={"Retry-After": "1"})
        return answers(call)

    with FaultServer(plan) as server:
        edge = opened(server)
        found = asyncio.run(edge.complete(ask()))
    assert found.texts == ("hello / 0",)
    assert len(server.calls) == 2


def test_a_place_that_was_given_up_goes_to_the_next() -> None:
    async def run() -> None:
        throttle = Throttle(1)
        order: list[str] = []

        async def work(name: str) -> None:
            async with throttle.place():
                order.append(name)

        async with throttle.place():
            gone, stays = (asyncio.ensure_future(work(name)) for name in ("gone", "stays"))
            await asyncio.sleep(0)
            gone.cancel()
        await stays
        assert order == ["stays"]
        assert throttle._active == 0

    asyncio.run(run())


def test_the_embedded_llm_answers_and_streams(tmp_path: Path) -> None:
    model = save_tiny_llm(tmp_path / "tiny")
    settings = Settings(store=tmp_path / "store", model=f"local/{model}", cache=False)
    edge = open_async_chat(settings)
    body = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 4, "temperature": 0}

    async def run() -> None:
        whole = await edge.forward(body)
        chunks = [chunk async for chunk in edge.forward_stream(body)]
        text = whole["choices"][0]["message"]["content"]
        deltas = [c["delta"].get("content") or "" for chunk in chunks for c in chunk["choices"]]
        assert "".join(deltas) == text
        request = ask("hi", temperature=0.0, max_tokens=4)
        pieces = [piece async for piece in edge.stream(request)]
        completion = await edge.complete(request)
        assert pieces[-1].completion is not None
        assert pieces[-1].completion.texts == completion.texts

    asyncio.run(run())


def test_time_is_not_wasted_on_counting(opened: OpenAsync, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the provider says what it used and no limit is set, nothing is tokenized here."""
    from hydra_cli.llm import pricing

    monkeypatch.setattr(pricing, "_count_chat", lambda *_: pytest.fail("tokens were counted"))
    with FaultServer() as server:
        found = asyncio.run(opened(server).complete(ask()))
    assert found.usage.prompt_tokens == 10
