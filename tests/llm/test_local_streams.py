"""The embedded LLM, token by token: what comes, what is held back, who ends the work."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from hydra_cli.config import Settings
from hydra_cli.core.errors import ProviderError
from hydra_cli.core.protocols import AsyncChatModel, Sampling
from hydra_cli.llm.local_batching import BatchingChat
from hydra_cli.llm.local_chat import LocalChat
from hydra_cli.llm.local_decoding import Part, _settled
from hydra_cli.wiring import open_async_chat
from tests.llm.tiny_llm import TEMPLATE, save_tiny_llm

MESSAGES = [{"role": "user", "content": "green"}]
BODY: dict[str, Any] = {"messages": MESSAGES, "temperature": 1.0, "max_tokens": 10, "seed": 5}
LONG = Sampling(temperature=0.0, max_tokens=60)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_llm(tmp_path_factory.mktemp("llm"))


@pytest.fixture(scope="module")
def chat(folder: Path) -> LocalChat:
    return LocalChat.open(str(folder), device="cpu")


@pytest.fixture
def edge(folder: Path, tmp_path: Path) -> AsyncChatModel:
    return open_async_chat(Settings(store=tmp_path, model=f"local/{folder}", cache=False))


def asked(edge: AsyncChatModel, **fields: Any) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The whole answer to a body, and the chunks of the same as a stream."""

    async def run() -> tuple[dict[str, Any], list[dict[str, Any]]]:
        body = {**BODY, **fields}
        return await edge.forward(body), [chunk async for chunk in edge.forward_stream(body)]

    return asyncio.run(run())


def of_choice(chunks: list[dict[str, Any]], index: int) -> list[dict[str, Any]]:
    return [c for chunk in chunks for c in chunk["choices"] if c["index"] == index]


@pytest.mark.parametrize(
    "fields",
    [{}, {"n": 6}, {"n": 3, "temperature": 0}, {"n": 6, "stop": ["auser", "userred", "twoX"]}],
    ids=["one", "several", "copies", "stops"],
)
def test_a_stream_is_the_whole_answer_in_its_tokens(
    edge: AsyncChatModel, fields: dict[str, Any]
) -> None:
    whole, chunks = asked(edge, **fields)
    assert len(whole["choices"]) == fields.get("n", 1)
    for choice in whole["choices"]:
        *parts, last = of_choice(chunks, choice["index"])
        text = choice["message"]["content"]
        assert "".join(part["delta"].get("content", "") for part in parts) == text
        assert [part["finish_reason"] for part in parts] == [None] * len(parts)
        assert last["finish_reason"] == choice["finish_reason"]
        assert [("role" in part["delta"]) for part in (*parts, last)].count(True) == 1
    assert max(len(of_choice(chunks, c["index"])) for c in whole["choices"]) > 3
    assert not any("usage" in chunk for chunk in chunks)
    assert len({chunk["id"] for chunk in chunks}) == 1


def test_log_probabilities_and_usage_come_where_they_are_asked_for(edge: AsyncChatModel) -> None:
    whole, chunks = asked(edge)
    assert not any(choice.get("logprobs") for choice in whole["choices"])
    assert not any(part.get("logprobs") for part in of_choice(chunks, 0))
    more = {"logprobs": True, "stream_options": {"include_usage": True}}
    whole, chunks = asked(edge, n=2, **more)
    for choice in whole["choices"]:
        parts = of_choice(chunks, choice["index"])
        told = [t for part in parts for t in (part.get("logprobs") or {"content": []})["content"]]
        assert told == choice["logprobs"]["content"]
    assert whole["choices"][0]["logprobs"]["content"]
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"]["total_tokens"] == whole["usage"]["total_tokens"]


class Slow:
    """A model that never ends by itself, and stands still at its third step until it is let go."""

    def __init__(self, chat: LocalChat, monkeypatch: pytest.MonkeyPatch) -> None:
        self.steps = 0
        self.go = threading.Event()
        forward = chat.model.forward

        def stepping(*rest: Any, **options: Any) -> Any:
            self.steps += 1
            if self.steps == 3:
                assert self.go.wait(60)
            return forward(*rest, **options)

        monkeypatch.setattr(chat.model, "forward", stepping)
        monkeypatch.setattr(chat._decoder, "_ends", set())


def test_whoever_stops_reading_ends_the_work(
    edge: AsyncChatModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hydra_cli.llm.local_provider import _PROVIDER

    async def left(how: str) -> int:
        body = {**BODY, "temperature": 0, "max_tokens": 60}
        (batching,) = [c for c in _PROVIDER._chats.values() if f"local/{c.chat.name}" == edge.name]
        with monkeypatch.context() as patch:
            slow = Slow(batching.chat, patch)
            if how == "stream":
                chunks: AsyncGenerator[Any, None] = edge.forward_stream(body)
                await anext(chunks)
                await chunks.aclose()
            else:
                task = asyncio.ensure_future(edge.forward(body))
                while slow.steps < 3:
                    await asyncio.sleep(0.01)
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
            slow.go.set()
            after = await asyncio.to_thread(batching.ask, MESSAGES, Sampling(max_tokens=1))
            assert after.answers[0].finish == "length"
            return slow.steps

    async def run() -> None:
        await edge.forward({**BODY, "max_tokens": 1})
        for how in ("stream", "whole"):
            # Two tokens, the one that was under way, and the prompt of the next request.
            assert await left(how) <= 5

    asyncio.run(run())


def test_whoever_leaves_a_batch_leaves_the_others_in_it(
    chat: LocalChat, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(chat._decoder, "_ends", set())
        alone = chat.generate_batch([(MESSAGES, LONG)])[0].answers[0].text
    batching = BatchingChat(chat)
    heard: list[Part] = []
    try:
        prompts = [chat.prompt(MESSAGES, LONG) for _ in range(3)]
        with monkeypatch.context() as patch:
            slow = Slow(chat, patch)
            gone, stays, early = (batching.submit(prompt, heard.append) for prompt in prompts)
            assert early.cancel()
            with ThreadPoolExecutor(1) as pool:
                waiting = pool.submit(stays.result)
                while slow.steps < 3:
                    threading.Event().wait(0.01)
                assert gone.cancel()
                slow.go.set()
                assert waiting.result(60).answers[0].text == alone
    finally:
        batching.close()
    assert "".join(part.text for part in heard).startswith(alone[:4])


def test_parts_of_text_are_read_and_other_parts_refused(edge: AsyncChatModel) -> None:
    def said(*parts: dict[str, Any]) -> list[dict[str, Any]]:
        return [{"role": "user", "content": list(parts)}]

    words = [{"type": "text", "text": "green"}, {"type": "text", "text": "blue"}]
    in_parts, _ = asked(edge, messages=said(*words))
    at_once, _ = asked(edge, messages=[{"role": "user", "content": "green\nblue"}])
    assert in_parts["usage"] == at_once["usage"]
    assert in_parts["choices"] == at_once["choices"]
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
    body = {**BODY, "messages": said(image)}

    async def streamed() -> None:
        async for _ in edge.forward_stream(body):
            pass

    for work in (lambda: edge.forward(body), streamed):
        with pytest.raises(ProviderError, match="reads text alone") as refused:
            asyncio.run(work())
        assert getattr(refused.value, "kind", None) == "request"


TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"response_format": {"type": "json_object"}}, "plain text, not in a response_format"),
        ({"tools": [TOOL], "tool_choice": "required"}, "none can be required of it"),
    ],
)
def test_what_it_can_not_be_held_to_is_refused(
    edge: AsyncChatModel, fields: dict[str, Any], told: str
) -> None:
    with pytest.raises(ProviderError, match=told) as refused:
        asked(edge, **fields)
    assert getattr(refused.value, "kind", None) == "request"


def test_tools_that_may_be_left_alone_are(edge: AsyncChatModel) -> None:
    with_tools, _ = asked(edge, tools=[TOOL], tool_choice="auto")
    without, _ = asked(edge)
    assert with_tools["choices"] == without["choices"]


def test_thinking_that_the_prompt_begins_is_marked_in_the_answer(tmp_path: Path) -> None:
    template = TEMPLATE.replace("assistant {% endif", "assistant <think>\n{% endif")
    chat = LocalChat.open(str(save_tiny_llm(tmp_path, template=template)), device="cpu")
    heard: list[Part] = []
    batching = BatchingChat(chat)
    try:
        (answer,) = batching.submit(chat.prompt(MESSAGES, LONG), heard.append).result(60).answers
    finally:
        batching.close()
    assert answer.text.startswith("<think>\n")
    assert "".join(part.text for part in heard) == answer.text


@pytest.mark.parametrize(
    ("text", "settled"),
    [
        ("It is", "It is"),
        ("It is\n", "It is"),
        ("It is\nE", "It is"),
        ("It is\nEN so", "It is\nEN so"),
        ("It is caf\N{REPLACEMENT CHARACTER}", "It is caf"),
        ("It is.\n\n", "It is.\n"),
        ("", ""),
    ],
)
def test_half_a_stop_string_is_held_back(text: str, settled: str) -> None:
    assert _settled(text, ("\nEND", "X")) == settled
