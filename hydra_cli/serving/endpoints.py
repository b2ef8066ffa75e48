"""The table of a server's routes: each with what OpenAPI and the door need to know of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from hydra_cli.serving.schemas import Schema
from hydra_cli.serving.service import Service

Handler = Callable[[Request], Awaitable[Response]]
Method = Literal["GET", "POST", "DELETE"]
ROUTE = "hydra.route"
"""Where a request's scope holds the name of its endpoint."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One method of one path. ``{user:path}`` takes ids that hold a slash, too."""

    method: Method
    path: str
    handler: Handler
    summary: str
    open: bool = False
    """Served without a key: it holds nobody's data."""
    query: Mapping[str, Schema] = field(default_factory=dict)
    """Parameters of the address."""
    bodies: Mapping[str, Schema] = field(default_factory=dict)
    """What may be sent, by media type."""
    answers: Mapping[str, Schema] = field(default_factory=dict)
    """What a 200 holds, by media type."""

    own_errors: bool = False
    """Whether the protocol it speaks has errors of its own."""

    @property
    def name(self) -> str:
        """``GET /v1/users/{user}``: what logs and metrics say, where a path would name users."""
        return f"{self.method} {self.path.replace(':path', '')}"

    @property
    def route(self) -> Route:
        async def named(request: Request) -> Response:
            request.scope[ROUTE] = self.name
            return await self.handler(request)

        return Route(self.path, named, methods=[self.method])


def service_of(request: Request) -> Service:
    """What the server serves."""
    service: Service = request.app.state.service
    return service
