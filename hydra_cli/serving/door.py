"""The door: every request comes in here, and whatever goes wrong behind it leaves as JSON."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.routing import compile_path
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hydra_cli.serving.access import Access
from hydra_cli.serving.asker import Asker
from hydra_cli.serving.endpoints import ROUTE, Endpoint
from hydra_cli.serving.failures import failed, logged, told
from hydra_cli.serving.limits import RateLimits, limited
from hydra_cli.serving.metrics import Metrics
from hydra_cli.serving.origins import (
    Origins,
    check_media_type,
    cors_headers,
    preflight_headers,
)
from hydra_cli.serving.service import Service
from hydra_cli.wiring import open_api_keys

HEALTH = "/healthz"
"""Asked by what doesn't know the server's name, and answered whatever it is called."""


class Door:
    """ASGI middleware around all routes: host, page, key, rate, size, and errors as answers."""

    def __init__(self, app: ASGIApp, *, service: Service, endpoints: Sequence[Endpoint]) -> None:
        self.app = app
        self.options = service.options
        self.metrics: Metrics = service.metrics
        self.access = Access(open_api_keys(service.hydra.settings))
        self.origins = Origins(service.options)
        self.rates = RateLimits(service.options.per_minute)
        self.open = [compile_path(endpoint.path)[0] for endpoint in endpoints if endpoint.open]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        origin = headers.get("origin")
        more = cors_headers(origin) if origin and self.origins.allowed(origin) else {}
        status, asker = 0, None

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                sent = MutableHeaders(scope=message)
                sent.setdefault("cache-control", "private, no-store")
                sent.setdefault("x-content-type-options", "nosniff")
                sent.update(more)
            await send(message)

        with self.metrics.request(lambda: (scope.get(ROUTE), status)):
            try:
                if scope["path"] != HEALTH:
                    self.origins.check(headers)
                if origin and more and scope["method"] == "OPTIONS":
                    answer = Response(status_code=204, headers=preflight_headers(origin, headers))
                    await answer(scope, receive, sending)
                    return
                asker = self._asker(scope, headers)
                if asker is not None:
                    more.update(self.rates.take(asker.key))
                check_media_type(headers)
                receive = limited(receive, headers, self.options.body_bytes)
                scope.setdefault("state", {})["asker"] = asker or Asker()
                await self.app(scope, receive, sending)
            except ClientDisconnect:
                pass
            except Exception as error:
                failure = told(error, trusted=asker is not None and asker.trusted)
                logged(error, failure.status, scope.get(ROUTE) or scope["method"])
                if not status:
                    await failed(failure)(scope, receive, sending)

    def _asker(self, scope: Scope, headers: Headers) -> Asker | None:
        """None: a route that holds nobody's data."""
        if scope["method"] in ("GET", "HEAD") and any(
            path.fullmatch(scope["path"]) for path in self.open
        ):
            return None
        client = scope.get("client")
        return self.access.asker(headers, client[0] if client else None)
