"""A real LLM behind a real server: HYDRA_PERS_LLM_URL, else 127.0.0.1:8801."""

from __future__ import annotations

import os
import socket
from urllib.parse import urlsplit

import pytest

from tests.llm.chat_tools import Open, ask, chat, notes, quick_retries
from tests.llm.fault_server import FaultServer

__all__ = ["chat", "notes", "quick_retries"]  # fixtures

pytestmark = [pytest.mark.shared, pytest.mark.slow]

# Read here: each test gets an environment without it.
URL = os.environ.get("HYDRA_PERS_LLM_URL", "http://127.0.0.1:8801/v1")


class Peer:
    """Stands where a FaultServer stands."""

    url = URL


@pytest.fixture
def peer() -> Peer | FaultServer:
    where = urlsplit(URL)
    try:
        socket.create_connection((where.hostname or "", where.port or 80), timeout=2).close()
    except OSError:
        pytest.skip(f"no LLM listens at {URL}; name one in HYDRA_PERS_LLM_URL")
    return Peer()


def test_answers_usage_and_cache(chat: Open, peer: Peer) -> None:
    model = chat(peer, model="openai/smollm2-135m-instruct", timeout=300.0, concurrency=2)
    request = ask("Name a colour. Answer with one word.", 2, max_tokens=8, seed=1)
    got = model.complete(request)
    assert len(got.texts) == 2
    assert all(text == text.strip() for text in got.texts)
    # Whether it takes n or not, each call's prompt is counted by the server.
    assert 1 <= got.usage.calls <= 2
    assert got.usage.prompt_tokens >= 10 * got.usage.calls
    assert got.usage.completion_tokens <= 2 * (8 + 1)
    assert got.usage.cost == 0.0
    again = model.complete(request)
    assert again.texts == got.texts
    assert again.usage.calls == 0
    assert again.usage.cached_calls == got.usage.calls
