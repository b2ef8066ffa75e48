"""The server as an ASGI application: its routes, and the one way in which requests fail.

A part of the server brings its routes as a tuple ``ENDPOINTS`` (``endpoints.Endpoint``)
and is named in ``endpoints`` below. Handlers find the service with ``service_of(request)``
and who asks in ``request.state.asker``; they raise ``ApiError`` or a ``HydraError``.
"""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response

from hydra_cli.serving import chat, embeddings, histories, mcp, opinions, page, status
from hydra_cli.serving.door import Door
from hydra_cli.serving.endpoints import Endpoint
from hydra_cli.serving.errors import ApiError
from hydra_cli.serving.failures import failed
from hydra_cli.serving.service import Service


def endpoints() -> tuple[Endpoint, ...]:
    """Every route, in the order in which they are tried."""
    return (
        *page.ENDPOINTS,
        *chat.ENDPOINTS,
        *status.ENDPOINTS,
        *histories.ENDPOINTS,
        *embeddings.ENDPOINTS,
        *opinions.ENDPOINTS,
        *mcp.ENDPOINTS,
    )


def build(service: Service) -> Starlette:
    """The application over an open ``Hydra``; closing that is its opener's business."""
    table = endpoints()
    app = Starlette(
        routes=[endpoint.route for endpoint in table],
        middleware=[Middleware(Door, service=service, endpoints=table)],
        exception_handlers={HTTPException: _not_routed},
        lifespan=mcp.sessions,
    )
    app.state.service, app.state.endpoints = service, table
    return app


async def _not_routed(request: Request, error: Exception) -> Response:
    """Starlette's own refusals: no such path, no such method, a body that broke off."""
    assert isinstance(error, HTTPException)
    told = {
        404: f"there is nothing at {request.method} {request.url.path}",
        405: f"{request.url.path} takes {(error.headers or {}).get('Allow', 'another method')}",
    }
    code = {404: "unknown_url", 405: "method_not_allowed"}.get(error.status_code)
    message = told.get(error.status_code, str(error.detail))
    headers = dict(error.headers or {})
    return failed(ApiError(error.status_code, message, code=code, headers=headers))
