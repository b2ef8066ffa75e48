"""A server over a small store: in this process, or as the command that people run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from hydra_cli import Hydra
from hydra_cli.llm.scripted import ScriptedChat
from hydra_cli.models.hash_encoder import HashEncoder
from hydra_cli.serving.app import build
from hydra_cli.serving.service import ServeOptions, Service
from tests.serving.serve_tools import served
from tests.test_api import echo, rows

__all__ = ["served"]

BASE = "http://127.0.0.1:8642"


def client_of(service: Service, **options: object) -> TestClient:
    """A client on this machine."""
    return TestClient(
        build(service),
        base_url=BASE,
        client=("127.0.0.1", 50_000),
        raise_server_exceptions=False,
        **options,  # type: ignore[arg-type]
    )


@pytest.fixture
def hydra(home: Path) -> Iterator[Hydra]:
    with Hydra.open(home, encoder=HashEncoder(), chat=ScriptedChat(echo)) as opened:
        opened.ingest(*rows("mia"), *rows("tom"), task="replies")
        yield opened


@pytest.fixture
def service(hydra: Hydra) -> Service:
    return Service(hydra, ServeOptions())


@pytest.fixture
def client(service: Service) -> Iterator[TestClient]:
    with client_of(service) as opened:
        yield opened
