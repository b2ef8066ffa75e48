"""How the tests of the LLM edge open a chat model on a fault server."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from hydra_cli.config import Settings
from hydra_cli.core.protocols import ChatRequest, Sampling
from hydra_cli.llm import provider_calls
from hydra_cli.llm.budget import Limits
from hydra_cli.llm.litellm_chat import LiteLLMChat
from hydra_cli.llm.litellm_loading import load_litellm
from tests.llm.fault_server import FaultServer

# Once, outside every test's time limit.
load_litellm()

Open = Callable[..., LiteLLMChat]


@pytest.fixture(autouse=True)
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provider_calls, "FIRST_WAIT", 0.01)


@pytest.fixture
def notes() -> list[str]:
    return []


@pytest.fixture
def chat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, notes: list[str]) -> Open:
    """``chat(server, limits=..., **settings)`` opens a server's model by the real door."""
    from hydra_cli.wiring import open_chat

    def opened(
        server: FaultServer,
        *,
        limits: Limits | None = None,
        model: str = "openai/x",
        **more: object,
    ) -> LiteLLMChat:
        monkeypatch.setenv("OPENAI_API_BASE", server.url)
        settings = Settings(store=tmp_path / "store").override(**{"timeout": 2.0, **more})
        made = open_chat(settings, model=model, limits=limits, on_note=notes.append)
        assert isinstance(made, LiteLLMChat)
        return made

    return opened


def ask(
    text: str = "hello",
    n: int = 1,
    *,
    user: str | None = "u1",
    temperature: float = 0.7,
    seed: int | None = None,
    max_tokens: int = 64,
    stop: Sequence[str] = (),
) -> ChatRequest:
    sampling = Sampling(n, temperature, 1.0, max_tokens, tuple(stop), seed)
    return ChatRequest(({"role": "user", "content": text},), sampling, user)
