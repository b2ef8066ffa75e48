"""The door: every request comes in here, and whatever goes wrong behind it leaves as JSON."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hydra_cli.serving.asker import Asker
from hydra_cli.serving.endpoints import ROUTE, Endpoint
from hydra_cli.serving.failures import failed, logged, told
from hydra_cli.serving.service import Service


class Door:
    """ASGI middleware around all routes."""

    def __init__(self, app: ASGIApp, *, service: Service, endpoints: Sequence[Endpoint]) -> None:
        self.app = app
        self.service = service
        self.open = frozenset(endpoint.path for endpoint in endpoints if endpoint.open)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begun = False

        async def sending(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                headers = MutableHeaders(scope=message)
                headers.setdefault("cache-control", "private, no-store")
                headers.setdefault("x-content-type-options", "nosniff")
            await send(message)

        try:
            scope.setdefault("state", {})["asker"] = Asker()
            await self.app(scope, receive, sending)
        except Exception as error:
            answer = told(error)
            logged(error, answer.status, scope.get(ROUTE, scope["method"]))
            if not begun:
                await failed(answer)(scope, receive, sending)
