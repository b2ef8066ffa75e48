"""``hydra/...`` as a litellm provider, called as litellm's users and its proxy call it."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hydra_cli import Hydra
from hydra_cli.core.protocols import ChatRequest, Completion
from hydra_cli.integrations.litellm_handler import PROVIDER, HydraProvider, litellm, register
from hydra_cli.llm.scripted import ScriptedChat
from hydra_cli.models.hash_encoder import HashEncoder
from tests.clients.provider import obliging
from tests.llm.fault_server import FaultServer
from tests.test_api import rows

QUERY = "Is the lamp safe?"
SAID = f"the LLM says: {QUERY}"
TOOL = {
    "type": "function",
    "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}},
}


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultServer]:
    with FaultServer(obliging) as server:
        monkeypatch.setenv("OPENAI_API_BASE", server.url)
        monkeypatch.setenv("OPENAI_API_KEY", "sk-stub")
        yield server


@pytest.fixture
def hydra(provider: FaultServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hydra]:
    monkeypatch.setattr(litellm, "custom_provider_map", [])
    with Hydra.in_memory(encoder=HashEncoder(), model="openai/x") as opened:
        opened.ingest(*rows("mia"), *rows("tom"), task="replies")
        register(HydraProvider(lambda: opened))
        register()  # the second changes nothing
        yield opened


def call(**options: Any) -> dict[str, Any]:
    messages = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": QUERY}]
    return {"model": "hydra/openai/x", "messages": messages, "user": "mia", **options}


def complete(**options: Any) -> Any:
    return litellm.completion(**call(**options))


def streamed(chunks: list[Any]) -> tuple[str, list[Any], list[Any]]:
    choices = [chunk.choices[0] for chunk in chunks if chunk.choices]
    text = "".join(choice.delta.content or "" for choice in choices)
    return text, [choice.finish_reason for choice in choices], choices


@pytest.mark.usefixtures("hydra")
def test_a_completion_is_the_users(provider: FaultServer) -> None:
    answer = complete()
    assert answer.choices[0].message.content.startswith(SAID)
    assert answer.choices[0].finish_reason == "stop"
    assert answer.hydra["personal"] is True
    assert answer.hydra["user"] == "mia"
    assert answer.usage.total_tokens == 10 + 5 * 8
    (sent,) = [call.body for call in provider.calls]
    assert sent["messages"][0]["content"] == "Be kind."
    assert "mia says" in str(sent["messages"])
    assert "tom says" not in str(sent["messages"])


def test_its_answer_is_kept_for_feedback(hydra: Hydra) -> None:
    kept = hydra.answer(complete().hydra["answer_id"], user="mia")
    assert kept.text.startswith(SAID)


@pytest.mark.usefixtures("hydra")
def test_several_answers_and_the_callers_wishes(provider: FaultServer) -> None:
    answer = complete(n=2, temperature=0.9, max_tokens=50, seed=3)
    assert len(answer.choices) == 2
    sent = provider.calls[0].body
    assert sent["temperature"] == 0.9
    assert sent["max_tokens"] == 50
    assert sent["seed"] == 3


@pytest.mark.usefixtures("hydra")
def test_a_stream_ends_with_its_reason_and_usage() -> None:
    chunks = list(complete(stream=True, stream_options={"include_usage": True}))
    text, finishes, choices = streamed(chunks)
    assert text.startswith(SAID)
    assert [finish for finish in finishes if finish] == ["stop"]
    assert chunks[-1].usage.total_tokens == 10 + 5 * 8
    told = [choice.delta.provider_specific_fields for choice in choices]
    assert any(fields and fields["hydra"]["personal"] for fields in told)


@pytest.mark.usefixtures("hydra")
@pytest.mark.parametrize("in_a_loop", [False, True])
def test_a_lone_answer_streams_as_it_comes(provider: FaultServer, in_a_loop: bool) -> None:
    with Hydra.in_memory(encoder=HashEncoder(), model="openai/x", n=1) as opened:
        opened.ingest(*rows("mia"), task="replies")
        litellm.custom_provider_map.clear()
        register(HydraProvider(lambda: opened))
        complete()  # from now on the LLM is known not to think
        question = [{"role": "user", "content": "Is the mug safe?"}]

        async def asked() -> list[Any]:
            stream = await litellm.acompletion(**call(stream=True, messages=question))
            return [chunk async for chunk in stream]

        chunks = (
            asyncio.run(asked()) if in_a_loop else list(complete(stream=True, messages=question))
        )
    text, finishes, choices = streamed(chunks)
    assert text == "the LLM says: Is the mug safe?"
    assert [finish for finish in finishes if finish] == ["stop"]
    assert sum(bool(choice.delta.content) for choice in choices) > 5
    assert provider.calls[-1].body["stream"] is True


@pytest.mark.parametrize("user", ["mia", "nobody"])
def test_whoever_stops_reading_hangs_up(user: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def left() -> None:
        stream = await litellm.acompletion(**call(stream=True, user=user))
        reading = asyncio.ensure_future(anext(aiter(stream)))
        while not provider.calls:
            await asyncio.sleep(0.01)
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        for _ in range(3_000):
            if provider.hung_up:
                return
            await asyncio.sleep(0.01)

    with FaultServer(obliging, delay=60.0) as provider:
        monkeypatch.setenv("OPENAI_API_BASE", provider.url)
        monkeypatch.setenv("OPENAI_API_KEY", "sk-stub")
        monkeypatch.setattr(litellm, "custom_provider_map", [])
        with Hydra.in_memory(encoder=HashEncoder(), model="openai/x", n=1) as opened:
            opened.ingest(*rows("mia"), task="replies")
            register(HydraProvider(lambda: opened))
            asyncio.run(left())
        assert provider.hung_up == 1


@pytest.mark.usefixtures("hydra")
def test_the_same_in_an_event_loop() -> None:
    async def asked() -> tuple[Any, list[Any]]:
        one, other = await asyncio.gather(
            litellm.acompletion(**call()), litellm.acompletion(**call(user="tom"))
        )
        assert [one.hydra["user"], other.hydra["user"]] == ["mia", "tom"]
        stream = await litellm.acompletion(**call(stream=True))
        return one, [chunk async for chunk in stream]

    answer, chunks = asyncio.run(asked())
    assert streamed(chunks)[0] == answer.choices[0].message.content


@pytest.mark.usefixtures("hydra")
@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"user": "nobody"}, "unknown user"),
        ({"tools": [TOOL]}, "tools were sent along"),
        ({"response_format": {"type": "json_object"}}, "a response_format was asked for"),
    ],
)
def test_what_cannot_be_personal_is_the_llms_own(options: dict[str, Any], why: str) -> None:
    answer = complete(**options)
    assert answer.hydra["personal"] is False
    assert answer.hydra["why_not"] == why
    (choice,) = answer.choices
    if "tools" in options:
        assert choice.message.tool_calls[0].function.name == "weather"
        assert choice.finish_reason == "tool_calls"
    else:
        assert QUERY in choice.message.content


@pytest.mark.usefixtures("hydra")
def test_the_llms_own_answer_streams_as_it_comes() -> None:
    chunks = list(complete(user="nobody", stream=True))
    text, finishes, _ = streamed(chunks)
    assert text == SAID
    assert len(chunks) > 5
    assert [finish for finish in finishes if finish] == ["stop"]
    called = list(complete(tools=[TOOL], stream=True))
    calls = [c.choices[0].delta.tool_calls for c in called if c.choices[0].delta.tool_calls]
    assert calls[0][0].function.name == "weather"


@pytest.mark.usefixtures("hydra")
@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"model": "hydra/openai/x@nosuch"}, litellm.NotFoundError, "no records of task 'nosuch'"),
        ({"temperature": 9}, litellm.BadRequestError, "temperature must be from 0 to 2"),
        ({"messages": []}, litellm.BadRequestError, "messages must be a list"),
    ],
)
def test_mistakes_are_litellms_exceptions(
    options: dict[str, Any], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        complete(**options)
    with pytest.raises(error, match=said):
        list(complete(**options, stream=True))


@pytest.mark.usefixtures("hydra")
def test_the_header_comes_before_the_field() -> None:
    assert complete(extra_headers={"X-Hydra-User": "tom"}).hydra["user"] == "tom"


class Dear(ScriptedChat):
    """Answers for a quarter of a dollar."""

    def complete(self, request: ChatRequest) -> Completion:
        made = super().complete(request)
        return replace(made, usage=replace(made.usage, cost=0.25))


def test_what_all_the_calls_cost_is_told_to_litellm(hydra: Hydra) -> None:
    dear = Dear(lambda request, sample: f"answer {sample}")
    with Hydra.in_memory(encoder=HashEncoder(), chat=dear) as opened:
        opened.ingest(*rows("mia"), task="replies")
        litellm.custom_provider_map.clear()
        register(HydraProvider(lambda: opened))
        answer = complete(model="hydra/@replies")
    assert answer.choices[0].message.content.startswith("answer")
    assert answer._hidden_params["response_cost"] == 0.25


HOST = """
import json, litellm
from litellm.integrations.custom_logger import CustomLogger

class Log(CustomLogger):
    seen = []
    def log_success_event(self, kwargs, response_obj, start_time, end_time):
        self.seen.append([kwargs["model"], str(kwargs["messages"])])

litellm.callbacks = [Log()]
litellm.drop_params = True
from hydra_cli import Hydra
from hydra_cli.integrations.litellm_handler import HydraProvider, register
from hydra_cli.models.hash_encoder import HashEncoder
from tests.test_api import rows

with Hydra.in_memory(encoder=HashEncoder(), model="openai/gpt-4o-mini") as hydra:
    hydra.ingest(*rows("mia"), task="replies")
    register(HydraProvider(lambda: hydra))
    asked = [{"role": "user", "content": "Is the lamp safe?"}]
    answer = litellm.completion(model="hydra/openai/gpt-4o-mini", messages=asked, user="mia")
    for _ in range(200):
        if Log.seen:
            break
        __import__("time").sleep(0.05)
    __import__("time").sleep(0.5)
print(json.dumps([Log.seen, litellm.drop_params, answer.hydra["personal"]]))
"""


@pytest.mark.usefixtures("provider")
def test_a_programs_own_callbacks_and_settings_stay_and_see_one_call() -> None:
    done = subprocess.run(
        [sys.executable, "-c", HOST],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    seen, drop_params, personal = json.loads(done.stdout.splitlines()[-1])
    assert personal
    assert drop_params is True
    ((model, messages),) = seen
    assert model == "openai/gpt-4o-mini"
    assert "mia says" not in messages


def test_the_proxys_config_finds_the_handler() -> None:
    from litellm.proxy.types_utils.utils import get_instance_fn

    found = get_instance_fn("hydra_cli.integrations.litellm_handler.handler")
    assert isinstance(found, HydraProvider)
    assert PROVIDER == "hydra"
