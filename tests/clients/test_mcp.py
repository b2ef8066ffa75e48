"""The MCP SDK's client in an environment of its own, over stdio and under the server."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from tests.clients.conftest import Facts, Place
from tests.clients.environments import ROOT, python_with

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
SCRIPT = Path(__file__).parent / "mcp_calls.py"


@pytest.fixture(scope="module", params=["stdio", "http"])
def found(request: pytest.FixtureRequest, kept: Path, facts: Facts, place: Place) -> dict[str, Any]:
    scripts = python_with(kept, "mcp>=2.3")
    server = [sys.executable, "-m", "hydra_cli", "mcp", "--store", str(place.store)]
    where = {
        "stdio": [str(ROOT), *server],
        "http": [place.base.removesuffix("/v1") + "/mcp"],
    }[request.param]
    return facts(scripts / "python", "-I", SCRIPT, *where, cwd=kept)


def test_the_tools_are_there(found: dict[str, Any]) -> None:
    assert {"personal_examples", "rank_drafts"} <= set(found["tools"])
    assert found["server"] == "hydra-pers"


def test_examples_and_ranks_are_the_users(found: dict[str, Any]) -> None:
    assert found["examples"]["user"] == "mia"
    assert all(e["output"].startswith("mia says") for e in found["examples"]["examples"])
    assert found["ranked"]["winner"] == 2
    assert found["ranked"]["order"] == [2, 1]


def test_a_mistake_is_the_models_to_read(found: dict[str, Any]) -> None:
    assert found["mistake"] == [True, "`drafts` must be a list of texts, and not an empty one"]
