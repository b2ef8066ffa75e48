"""Routes, errors in OpenAI's shape, and a log without anybody's text."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.testclient import TestClient

from hydra_cli import __version__
from hydra_cli.core.errors import NotFound, StoreBusy, UsageError
from hydra_cli.serving import app, status
from hydra_cli.serving.endpoints import Endpoint
from hydra_cli.serving.service import Service
from tests.serving.conftest import client_of


def test_healthz_and_models(client: TestClient) -> None:
    assert client.get("/healthz").json() == {"status": "ok", "version": __version__}
    listed = client.get("/v1/models").json()
    name = "local/qwen2.5-0.5b-instruct"
    assert [m["id"] for m in listed["data"]] == [f"hydra/{name}", f"hydra/{name}@replies", name]
    assert listed["object"] == "list"
    for model in listed["data"]:
        assert client.get(f"/v1/models/{model['id']}").json() == model


@pytest.mark.parametrize(
    ("method", "path", "code", "kind"),
    [
        ("GET", "/nothing/here", 404, "not_found_error"),
        ("GET", "/v1/models/gpt-9", 404, "not_found_error"),
        ("POST", "/healthz", 405, "invalid_request_error"),
        ("DELETE", "/v1/models", 405, "invalid_request_error"),
    ],
)
def test_what_is_not_there_is_told_in_the_shape_of_openai(
    client: TestClient, method: str, path: str, code: int, kind: str
) -> None:
    answer = client.request(method, path)
    assert answer.status_code == code
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
    assert answer.json()["error"]["type"] == kind
    assert (answer.headers.get("allow") is None) == (code != 405)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UsageError("no", hint="yes"), 400),
        (NotFound("no"), 404),
        (StoreBusy("no"), 503),
        (ValueError("the secret text of a record"), 500),
    ],
)
def test_errors_have_their_status_and_logs_hold_no_text(
    service: Service,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
    code: int,
) -> None:
    async def fails(request: Request) -> Response:
        raise error

    failing = Endpoint(method="GET", path="/v1/{user}/fails", handler=fails, summary="fails")
    monkeypatch.setattr(status, "ENDPOINTS", (failing,))
    with caplog.at_level(logging.DEBUG), client_of(service) as client:
        answer = client.get("/v1/secretary/fails")
    assert answer.status_code == code
    said: Any = answer.json()["error"]["message"]
    assert said == "no (yes)" if code == 400 else "secret" not in said
    logged = [r for r in caplog.records if r.name.startswith("hydra_cli")]
    assert len(logged) == (code >= 500)
    for record in logged:
        assert record.getMessage().startswith(f"GET /v1/{{user}}/fails {code}: ")
        assert "secret" not in record.getMessage()


def test_every_path_is_served_by_its_endpoint_alone() -> None:
    table = app.endpoints()
    assert len({endpoint.name for endpoint in table}) == len(table)
