"""The page at ``/``: files of this package, and headers that keep it to its own server."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.resources import files

from starlette.requests import Request
from starlette.responses import Response

from hydra_cli.serving.endpoints import Endpoint
from hydra_cli.serving.errors import ApiError

_TYPES = {
    "index.html": "text/html",
    "page.css": "text/css",
    "fared.js": "text/javascript",
    "page.js": "text/javascript",
    "parts.js": "text/javascript",
    "server.js": "text/javascript",
}
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    # Text of records is on the page: whatever it says, nothing but our own files runs.
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    # An upgraded server's page is seen at the next load; unchanged files aren't sent again.
    "Cache-Control": "no-cache",
}


async def index(request: Request) -> Response:
    """The page itself, which holds nobody's data: what it shows, it asks the server for."""
    return _file(request, "index.html")


async def part(request: Request) -> Response:
    """A script or the style sheet."""
    return _file(request, request.path_params["name"])


def _file(request: Request, name: str) -> Response:
    if name not in _TYPES:
        raise ApiError(404, f"there is nothing at GET {request.url.path}", code="unknown_url")
    content, tag = _read(name)
    headers = {**_HEADERS, "ETag": tag}
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    return Response(content, headers=headers, media_type=_TYPES[name])


@cache
def _read(name: str) -> tuple[bytes, str]:
    content = files("hydra_cli.serving").joinpath("page").joinpath(name).read_bytes()
    return content, f'"{hashlib.sha256(content).hexdigest()[:16]}"'


ENDPOINTS = (
    Endpoint(
        method="GET",
        path="/",
        handler=index,
        summary="The page to ask from",
        open=True,
        answers={"text/html": {"type": "string"}},
    ),
    Endpoint(
        method="GET",
        path="/page/{name}",
        handler=part,
        summary="What the page loads",
        open=True,
        answers={kind: {"type": "string"} for kind in ("text/css", "text/javascript")},
    ),
)
