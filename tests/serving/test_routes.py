"""Embeddings, figures, the description."""

from __future__ import annotations

import base64
import re
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from hydra_cli.core.records import Usage
from hydra_cli.models.hash_encoder import HashEncoder
from hydra_cli.serving.app import endpoints
from hydra_cli.serving.service import Service
from tests.serving.test_door import code_of

EMBEDDINGS = "/v1/embeddings"


def test_embeddings_are_those_of_the_encoder(client: TestClient) -> None:
    texts = ["a mug", "a lamp"]
    expected = HashEncoder().encode(texts)
    plain = client.post(EMBEDDINGS, json={"model": "hydra", "input": texts}).json()
    found = np.array([one["embedding"] for one in plain["data"]], dtype=np.float32)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert [one["index"] for one in plain["data"]] == [0, 1]
    coded = client.post(EMBEDDINGS, json={"input": "a mug", "encoding_format": "base64"}).json()
    bytes_ = base64.b64decode(coded["data"][0]["embedding"])
    np.testing.assert_array_equal(np.frombuffer(bytes_, dtype="<f4"), expected[0])


def test_many_texts_keep_their_order(client: TestClient) -> None:
    texts = [f"text {i}" for i in range(100)]
    found = client.post(EMBEDDINGS, json={"input": texts}).json()["data"]
    assert [one["index"] for one in found] == list(range(100))
    np.testing.assert_allclose(
        [one["embedding"] for one in found], HashEncoder().encode(texts), rtol=1e-6
    )


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "input"),
        ({"input": ""}, "input"),
        ({"input": []}, "input"),
        ({"input": ["a", ""]}, "input"),
        ({"input": [1, 2]}, "input"),
        ({"input": ["a"] * 2049}, "input"),
        ({"input": "a", "encoding_format": "int8"}, "encoding_format"),
        ({"input": "a", "dimensions": 7}, "dimensions"),
        ({"input": "a", "dimensions": True}, "dimensions"),
        ({"input": "a", "model": 3}, "model"),
        ({"input": "a", "colour": "red"}, "colour"),
        ({"input": "a", "model": "text-embedding-3-small"}, "model"),
    ],
)
def test_embeddings_that_make_no_sense(client: TestClient, body: Any, param: str) -> None:
    answer = client.post(EMBEDDINGS, json=body)
    assert answer.status_code == (404 if "text-embedding" in str(body) else 400)
    assert answer.json()["error"]["param"] == param


def test_figures_count_requests_and_name_nobody(client: TestClient, service: Service) -> None:
    client.get("/v1/users/mia/records")
    client.get("/v1/users/nobody-there/records")
    client.get("/somewhere/mia")
    service.metrics.answered(personal=True, usage=Usage(4, 0, 100, 20, None))
    answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    lines = answer.text.splitlines()
    route = 'route="GET /v1/users/{user}/records"'
    assert f'hydra_requests_total{{{route},status="200"}} 1' in lines
    assert f'hydra_requests_total{{{route},status="404"}} 1' in lines
    assert 'hydra_requests_total{route="other",status="404"} 1' in lines
    assert "hydra_requests_in_flight 1" in lines
    assert f"hydra_request_seconds_count{{{route}}} 2" in lines
    assert f'hydra_request_seconds_bucket{{{route},le="+Inf"}} 2' in lines
    assert 'hydra_answers_total{kind="personal"} 1' in lines
    assert 'hydra_answers_total{kind="plain"} 0' in lines
    assert "hydra_llm_calls_total 4" in lines
    assert 'hydra_llm_tokens_total{kind="prompt"} 100' in lines
    assert "mia" not in answer.text
    assert "nobody" not in answer.text
    form = re.compile(r"# (HELP|TYPE) \w+ .+|\w+(\{(\w+=\"[^\"]*\",?)+\})? [0-9.e+-]+")
    assert all(form.fullmatch(line) for line in lines), "Prometheus' text form"


def test_every_route_is_described(client: TestClient) -> None:
    told = client.get("/openapi.json").json()
    assert told["openapi"].startswith("3.1")
    described = {
        f"{method.upper()} {path}" for path, methods in told["paths"].items() for method in methods
    }
    assert described == {endpoint.name for endpoint in endpoints()}
    for endpoint in endpoints():
        operation = told["paths"][endpoint.path.replace(":path", "")][endpoint.method.lower()]
        assert operation["summary"]
        assert (operation["security"] == []) == endpoint.open
        assert ("requestBody" in operation) == bool(endpoint.bodies)


def test_errors_are_json_whatever_is_sent(client: TestClient) -> None:
    for endpoint in endpoints():
        # MCP has errors of its own shape.
        if endpoint.method != "POST" or not endpoint.bodies or endpoint.path == "/mcp":
            continue
        path = endpoint.path.replace("{user:path}", "mia")
        for body in (b"", b"{", b"\xff\xfe", b"[[[", b'{"a": NaN}', b"0", b"null"):
            answer = client.post(path, content=body, headers={"Content-Type": "application/json"})
            assert 400 <= answer.status_code < 500, (path, body, answer.text)
            assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
    assert code_of(client.post("/v1/embeddings"))[0] == 400


@pytest.mark.parametrize("stream", [False, True])
def test_answers_and_what_they_used_are_counted(
    client: TestClient, service: Service, stream: bool
) -> None:
    said = [{"role": "user", "content": "Is the mug safe?"}]
    body = {"model": f"hydra/{service.hydra.settings.model}", "messages": said, "stream": stream}
    assert client.post("/v1/chat/completions", json={**body, "user": "mia"}).status_code == 200
    assert client.post("/v1/chat/completions", json={**body, "user": "nobody"}).status_code == 200
    lines = client.get("/metrics").text.splitlines()
    assert 'hydra_answers_total{kind="personal"} 1' in lines
    assert 'hydra_answers_total{kind="plain"} 1' in lines
    assert 'hydra_llm_tokens_total{kind="prompt"} 0' not in lines
