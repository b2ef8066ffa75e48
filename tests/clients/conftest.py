"""A running ``hydra-pers serve`` over a store of two people, its LLM a stub of this machine."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from hydra_cli import Hydra
from tests.clients.environments import folder
from tests.clients.provider import obliging
from tests.llm.fault_server import FaultServer
from tests.serving.test_serve_command import served
from tests.test_api import rows

MODEL = "openai/x"


@dataclass(frozen=True)
class Place:
    """The store's folder, what a process needs to reach its LLM, and a running server of it."""

    store: Path
    provider: FaultServer
    llm: Mapping[str, str]
    encoder: str
    base: str


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory, tiny_encoder_path: Path) -> Iterator[Place]:
    store = tmp_path_factory.mktemp("clients") / "store"
    with FaultServer(obliging) as provider, pytest.MonkeyPatch.context() as patch:
        llm = {"OPENAI_API_BASE": provider.url, "OPENAI_API_KEY": "sk-stub"}
        for name, value in llm.items():
            patch.setenv(name, value)
        with Hydra.open(store) as hydra:
            hydra.ingest(*rows("mia"), *rows("tom"), task="replies")
        settings = f'model = "{MODEL}"\nencoder = "{tiny_encoder_path}"\n'
        (store / "config.toml").write_text(settings, "utf-8")
        with served("--store", str(store)) as (_, base):
            yield Place(store, provider, llm, str(tiny_encoder_path), base)


@pytest.fixture(scope="session")
def kept(request: pytest.FixtureRequest) -> Path:
    """Where the clients' environments are kept."""
    return folder(request.config)


Facts = Callable[..., dict[str, Any]]


@pytest.fixture(scope="session")
def facts(place: Place) -> Facts:
    """What a script prints as JSON, with the server's address where OpenAI's clients look."""

    def run(*command: str | Path, cwd: Path) -> dict[str, Any]:
        environment = {
            **os.environ,
            "OPENAI_BASE_URL": place.base,
            "OPENAI_API_KEY": "any",
            "MODEL": MODEL,
            "ENCODER": place.encoder,
        }
        done = subprocess.run(
            [str(part) for part in command],
            cwd=cwd,
            env=environment,
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    return run
