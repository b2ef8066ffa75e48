"""A running server over a store of two people, its LLM a stub provider on this machine."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx
import pytest
import uvicorn
from starlette.types import ASGIApp

from hydra_cli import Hydra
from hydra_cli.llm.litellm_loading import load_litellm
from hydra_cli.models.hash_encoder import HashEncoder
from hydra_cli.serving.app import build
from hydra_cli.serving.service import ServeOptions, Service
from tests.llm.fault_server import FaultServer

THINGS = ("mug", "lamp", "tray", "bowl", "vase", "clock", "plate", "chair")
MODEL = "openai/x"
PATH = "/v1/chat/completions"
QUERY = "Is the lamp safe?"


def rows(user: str) -> list[dict[str, str]]:
    return [
        {
            "user": user,
            "input": f"Is the {thing} safe?",
            "output": f"{user} says the {thing} is.",
            "time": f"2026-01-{day:02}",
        }
        for day, thing in enumerate(THINGS, 1)
    ]


class Running:
    """An ASGI application behind a real socket while its ``with`` block runs."""

    def __init__(self, app: ASGIApp) -> None:
        config = uvicorn.Config(app, log_level="critical", lifespan="off", timeout_keep_alive=2)
        self._server = uvicorn.Server(config)
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._server.run, args=([self._socket],))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"

    def __enter__(self) -> Running:
        self._thread.start()
        while not self._server.started:
            time.sleep(0.005)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.should_exit = True
        self._thread.join()
        self._socket.close()


class Client(httpx.Client):
    """An HTTP client that knows the ``Hydra`` behind its server."""

    hydra: Hydra


Serve = Callable[..., Client]


def body(*messages: tuple[str, Any], model: str = f"hydra/{MODEL}", **more: Any) -> dict[str, Any]:
    """A request of these (role, content) messages, by default of one question."""
    said = messages or (("user", QUERY),)
    return {"model": model, "messages": [{"role": r, "content": c} for r, c in said], **more}


def as_user(user: str) -> dict[str, str]:
    return {"x-hydra-user": user}


@pytest.fixture
def served(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    """``served(provider)`` is an HTTP client of a server whose LLM is the stub provider."""
    load_litellm()
    with ExitStack() as stack:

        def start(
            provider: FaultServer,
            *,
            unknown: str = "plain",
            users: tuple[str, ...] = ("mia", "tom"),
            **settings: object,
        ) -> Client:
            monkeypatch.setenv("OPENAI_API_BASE", provider.url)
            monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
            told = {"model": MODEL, "timeout": 5.0, **settings}
            hydra = stack.enter_context(Hydra.open(home, encoder=HashEncoder(), **told))
            hydra.ingest(*(row for user in users for row in rows(user)), task="replies")
            service = Service(hydra, ServeOptions(unknown=unknown, ping_seconds=0.2))  # type: ignore[arg-type]
            running = stack.enter_context(Running(build(service)))
            client = Client(base_url=running.url, timeout=30.0)
            client.hydra = hydra
            return stack.enter_context(client)

        yield start
