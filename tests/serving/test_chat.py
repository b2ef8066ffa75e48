"""Chat completions over HTTP: personal, plain and passed through."""

from __future__ import annotations

from typing import Any

from tests.llm.fault_server import FaultServer
from tests.serving.serve_tools import MODEL, Serve, served

__all__ = ["served"]

PATH = "/v1/chat/completions"
QUERY = "Is the lamp safe?"


def body(*messages: tuple[str, Any], model: str = f"hydra/{MODEL}", **more: Any) -> dict[str, Any]:
    said = messages or (("user", QUERY),)
    return {"model": model, "messages": [{"role": r, "content": c} for r, c in said], **more}


def as_user(user: str) -> dict[str, str]:
    return {"x-hydra-user": user}


def test_a_personal_answer_is_asks(served: Serve) -> None:
    """One message, no system prompt: the prompt and the answer of ``Hydra.ask``."""
    with FaultServer() as provider:
        client = served(provider)
        answer = client.hydra.ask(QUERY, user="mia")
        asked = [call.body for call in provider.calls]
        client.hydra.settings = client.hydra.settings.override(cache=False)
        got = client.post(PATH, json=body(), headers=as_user("mia")).raise_for_status()
    sent = [call.body for call in provider.calls[len(asked) :]]
    assert sent == asked
    told = got.json()
    assert told["choices"][0]["message"]["content"] == answer.text
    assert told["choices"][0]["finish_reason"] == "stop"
    assert told["object"] == "chat.completion"
    assert told["model"] == f"hydra/{MODEL}"
    assert told["usage"]["total_tokens"] == 10 + 3 * 8
    hydra = told["hydra"]
    assert (hydra["user"], hydra["task"], hydra["personal"]) == ("mia", "replies", True)
    assert hydra["answers"] == 8
    assert hydra["answer_id"] == got.headers["x-hydra-answer-id"]
    assert got.headers["cache-control"] == "private, no-store"


def test_a_model_without_hydra_passes_through(served: Serve) -> None:
    with FaultServer() as provider:
        client = served(provider)
        got = client.post(PATH, json=body(model=MODEL, temperature=0.3), headers=as_user("mia"))
    assert got.status_code == 200
    assert got.json()["choices"][0]["message"]["content"] == f"{QUERY} / 0"
    assert "hydra" not in got.json()
    (call,) = provider.calls
    assert call.body == {**body(model="x", temperature=0.3)}
