"""No record of one user in another's prompt or answer, however many ask at a time.

Every record of every user holds a word that is theirs alone, a canary. The stub LLM says
again what it was shown, so that a foreign record would reach the answer, too.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from hydra_cli import Hydra
from hydra_cli.llm.litellm_loading import load_litellm
from hydra_cli.models.hash_encoder import HashEncoder
from hydra_cli.serving.app import build
from hydra_cli.serving.service import ServeOptions, Service
from tests.llm.fault_server import Call, FaultServer, Reply, completion, tokens
from tests.serving.listening import listening

USERS = [f"user{i}" for i in range(12)]
THINGS = ("mug", "lamp", "tray", "bowl", "vase", "clock", "plate", "chair")
CANARY = re.compile(r"canary-(user\d+)-bird")
AT_ONCE = 50

load_litellm()  # once, outside every test's time limit


def rows() -> list[dict[str, str]]:
    return [
        {
            "user": user,
            "input": f"Is the {thing} of order {place} safe? canary-{user}-bird",
            "output": f"The {thing} is, says canary-{user}-bird.",
            "time": f"2026-01-{place + 1:02}",
        }
        for user in USERS
        for place, thing in enumerate(THINGS)
    ]


def says_again(call: Call) -> Reply:
    """What stands in the prompt, a bit different in each of n answers."""
    shown = " ".join(str(message["content"]) for message in call.body["messages"])
    seen = " ".join(sorted({found.group() for found in CANARY.finditer(shown)}))
    texts: list[str | None] = [f"{call.prompt} answer {i} {seen}" for i in range(call.n)]
    return completion(texts, usage=tokens(10, 3 * call.n))


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultServer]:
    with FaultServer(says_again, delay=0.02) as server:  # so that requests meet
        monkeypatch.setenv("OPENAI_API_BASE", server.url)
        monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
        yield server


@pytest.fixture
def url(home: Path, provider: FaultServer) -> Iterator[str]:
    with Hydra.open(home, encoder=HashEncoder(), model="openai/stub", n=2) as hydra:
        hydra.ingest(*rows(), task="replies")
        with listening(build(Service(hydra, ServeOptions(per_minute=0)))) as address:
            yield address


def request(number: int) -> tuple[str, dict[str, Any], dict[str, str]]:
    """Whose it is, body and headers: all ways to name a user, streamed or not, explained."""
    user = USERS[number % len(USERS)]
    text = f"Is the {THINGS[number % len(THINGS)]} safe, asks {user} in letter {number}?"
    body: dict[str, Any] = {
        "model": "hydra/openai/stub",
        "messages": [{"role": "user", "content": text}],
        "stream": number % 3 == 0,
    }
    headers = {"x-hydra-explain": "1"} if number % 2 else {}
    if number % 5 == 0:
        headers["x-hydra-user"] = user
        body["user"] = USERS[(number + 1) % len(USERS)]  # the header goes before
    else:
        body["user" if number % 5 < 3 else "safety_identifier"] = user
    return user, body, headers


async def everybody_asks(url: str, count: int) -> list[tuple[str, str]]:
    """(user, the response's text) of mixed requests, so many at a time."""
    found: list[tuple[str, str]] = []
    todo = iter(range(count))

    async def client(session: aiohttp.ClientSession) -> None:
        for number in todo:
            user, body, headers = request(number)
            address = f"{url}/v1/chat/completions"
            async with session.post(address, json=body, headers=headers) as answer:
                text = await answer.text()
                assert answer.status == 200, text
            found.append((user, text))

    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, trust_env=False) as session:
        await asyncio.gather(*(client(session) for _ in range(AT_ONCE)))
    return found


def canaries(text: str) -> set[str]:
    return set(CANARY.findall(text))


def asker_of(body: Mapping[str, Any]) -> str:
    """Whose question a prompt ends with."""
    asked = re.search(r"asks (user\d+) in letter", str(body["messages"][-1]["content"]))
    assert asked, body
    return asked.group(1)


@pytest.mark.parametrize("count", [150, pytest.param(10_000, marks=pytest.mark.slow)])
@pytest.mark.timeout(3600)
def test_no_record_reaches_another_user(url: str, provider: FaultServer, count: int) -> None:
    answers = asyncio.run(everybody_asks(url, count))
    assert len(answers) == count
    for user, text in answers:
        assert canaries(text) == {user}
    assert len(provider.calls) >= count
    for call in provider.calls:
        assert canaries(json.dumps(call.body)) == {asker_of(call.body)}
    assert provider.most_at_once > 1, "nothing ran side by side"
