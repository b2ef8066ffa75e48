"""OpenAI's own clients, for Python and for JavaScript: the same calls, the same findings."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.clients.conftest import MODEL, Facts, Place
from tests.clients.environments import node_with, python_with

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
HERE = Path(__file__).parent
PERSONAL = f"hydra/{MODEL}"
SAID = "the LLM says: Is the lamp safe?"


@pytest.fixture(scope="module", params=["python", "javascript"])
def found(
    request: pytest.FixtureRequest, kept: Path, facts: Facts, tmp_path_factory: Any
) -> dict[str, Any]:
    """What the client's script says."""
    if request.param == "python":
        scripts = python_with(kept, "openai>=3")
        return facts(scripts / "python", "-I", HERE / "openai_calls.py", cwd=kept)
    packages = node_with(kept, "openai@6")
    shutil.copy(HERE / "openai_calls.mjs", packages)
    return facts("node", "openai_calls.mjs", cwd=packages)


def test_a_personal_answer_says_how_it_came_about(found: dict[str, Any]) -> None:
    answer = found["plain"]
    (choice,) = answer["choices"]
    assert choice["message"]["content"].startswith(SAID)
    assert choice["finish_reason"] == "stop"
    assert answer["model"] == PERSONAL
    assert answer["object"] == "chat.completion"
    usage = answer["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    hydra = answer["hydra"]
    assert hydra["personal"] is True
    assert hydra["user"] == "mia"
    assert hydra["task"] == "replies"
    assert set(hydra["stages"]) == {"records", "rerank", "adapt"}


def test_the_reasons_come_on_demand_and_no_cache_may_keep_them(found: dict[str, Any]) -> None:
    headers, body = found["explained"]["headers"], found["explained"]["body"]
    assert headers["x-hydra-answer-id"] == body["hydra"]["answer_id"]
    assert "no-store" in headers["cache-control"]
    explained = body["hydra"]["explain"]
    assert explained["records"]
    assert all(record["output"].startswith("mia says") for record in explained["records"])
    assert explained["candidates"][0]["text"] == body["choices"][0]["message"]["content"]
    assert "explain" not in found["plain"]["hydra"]


def test_several_choices(found: dict[str, Any]) -> None:
    choices = found["several"]["choices"]
    assert [choice["index"] for choice in choices] == [0, 1]
    assert len({choice["message"]["content"] for choice in choices}) == 2


@pytest.mark.parametrize("name", ["stream", "stream_usage", "passed_stream"])
def test_streams(found: dict[str, Any], name: str) -> None:
    stream = found[name]
    assert stream["text"].startswith(SAID)
    assert stream["roles"] == ["assistant"]
    assert stream["finishes"][-1] == "stop"
    assert set(stream["finishes"][:-1]) == {None}
    assert len(stream["usage"]) == (name == "stream_usage")
    assert len(stream["hydra"]) == (name != "passed_stream")


def test_other_models_pass_through_untouched(found: dict[str, Any]) -> None:
    assert found["passed"]["choices"][0]["message"]["content"] == SAID
    assert "hydra" not in found["passed"]


def test_an_unknown_user_gets_the_plain_answer(found: dict[str, Any]) -> None:
    answer = found["unknown_user"]
    assert answer["choices"][0]["message"]["content"] == SAID
    assert answer["hydra"]["personal"] is False
    assert answer["hydra"]["why_not"]


def test_tools_are_the_llms_own(found: dict[str, Any]) -> None:
    (choice,) = found["tool"]["choices"]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["tool_calls"][0]["function"]["name"] == "weather"
    assert found["tool"]["hydra"]["personal"] is False
    assert found["tool_stream"]["calls"] == ["weather"]
    assert found["tool_stream"]["finishes"][-1] == "tool_calls"


def test_a_response_format_is_kept(found: dict[str, Any]) -> None:
    assert found["json"]["choices"][0]["message"]["content"] == '{"said": "Is the lamp safe?"}'
    assert found["json"]["hydra"]["personal"] is False


def test_models_embeddings_and_records(found: dict[str, Any], place: Place) -> None:
    assert {MODEL, PERSONAL, f"{PERSONAL}@replies"} <= set(found["models"])
    assert found["model"] == PERSONAL
    assert len(found["embeddings"]) == 2
    assert found["embeddings"][0] == found["embeddings"][1] > 0
    assert "mia says the lamp is." in str(found["records"])
    assert "tom says" not in str(found["records"])


def test_a_client_that_leaves_ends_nothing(found: dict[str, Any]) -> None:
    assert found["left"] is True
    assert found["after"].startswith(SAID)


@pytest.mark.parametrize(
    ("name", "kind", "status", "param"),
    [
        ("temperature", "BadRequestError", 400, "temperature"),
        ("messages", "BadRequestError", 400, "messages"),
        ("task", "NotFoundError", 404, None),
        ("responses", "NotFoundError", 404, None),
        ("records", "NotFoundError", 404, None),
    ],
)
def test_errors_are_the_clients_own(
    found: dict[str, Any], name: str, kind: str, status: int, param: str | None
) -> None:
    error = found["errors"][name]
    assert error["type"] == kind
    assert error["status"] == status
    assert error["param"] == param
    assert error["message"]


def test_the_client_is_a_current_one(found: dict[str, Any]) -> None:
    assert int(found["version"].split(".")[0]) >= 3
