"""``/openapi.json``, made from the table that the routes are made from."""

from __future__ import annotations

import re
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from hydra_cli import __version__
from hydra_cli.serving import schemas
from hydra_cli.serving.endpoints import Endpoint

_FAILURES = (400, 401, 403, 404, 429, 500)


def document(endpoints: Sequence[Endpoint]) -> dict[str, Any]:
    """The server's description, OpenAPI 3.1."""
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in endpoints:
        path = endpoint.path.replace(":path", "")
        paths.setdefault(path, {})[endpoint.method.lower()] = _operation(endpoint)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "hydra-pers",
            "version": __version__,
            "description": "OpenAI's protocol, answered as one particular user would.",
        },
        "paths": paths,
        "components": {
            "securitySchemes": {
                "key": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A key of `hydra-pers keys add`; none where the store has none.",
                }
            },
            "schemas": {"Error": schemas.ERROR},
        },
    }


def _operation(endpoint: Endpoint) -> dict[str, Any]:
    told: dict[str, Any] = {
        "summary": endpoint.summary,
        "operationId": endpoint.handler.__name__,
        "parameters": _parameters(endpoint),
        "responses": {
            "200": {
                "description": HTTPStatus.OK.phrase,
                "content": {
                    kind: {"schema": schema}
                    for kind, schema in (endpoint.answers or {schemas.JSON: {}}).items()
                },
            },
        },
        "security": [] if endpoint.open else [{"key": []}, {}],
    }
    shape = {schemas.JSON: {"schema": {"$ref": "#/components/schemas/Error"}}}
    error = {} if endpoint.own_errors else {"content": shape}
    told["responses"] |= {
        str(code): {"description": HTTPStatus(code).phrase, **error} for code in _failures(endpoint)
    }
    if endpoint.bodies:
        content = {kind: {"schema": schema} for kind, schema in endpoint.bodies.items()}
        told["requestBody"] = {"required": True, "content": content}
    return told


def _failures(endpoint: Endpoint) -> list[int]:
    if endpoint.open:
        return [404] if "{" in endpoint.path else []
    return sorted([*_FAILURES, *((413, 415) if endpoint.bodies else ())])


def _parameters(endpoint: Endpoint) -> list[dict[str, Any]]:
    named = re.findall(r"\{(\w+)(?::\w+)?\}", endpoint.path)
    in_path = [
        {"name": name, "in": "path", "required": True, "schema": schemas.TEXT} for name in named
    ]
    in_query = [
        {"name": name, "in": "query", "schema": schema} for name, schema in endpoint.query.items()
    ]
    return [*in_path, *in_query]
