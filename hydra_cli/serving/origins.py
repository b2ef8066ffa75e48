"""Web pages may not reach the server by the back door.

A page that a browser shows may send requests to any address, this machine's included.
Two headers that pages can't forge tell them: ``Host`` names the server as the page
called it (a foreign name that was made to lead here, DNS rebinding), ``Origin`` names
the page.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from ipaddress import ip_address

from hydra_cli.serving.errors import ApiError
from hydra_cli.serving.service import ServeOptions

_LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]"})
_WILDCARDS = ("0.0.0.0", "::", "")
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[^:\[\]@/\s]+)(?::[0-9]{1,5})?", re.IGNORECASE)
_EXPOSED = (
    "x-hydra-answer-id, x-request-id, retry-after, x-ratelimit-limit-requests, "
    "x-ratelimit-remaining-requests, x-ratelimit-reset-requests"
)
_JSON = ("application/json", "application/x-ndjson", "application/jsonl")


class Origins:
    """The names and pages that a server knows."""

    def __init__(self, options: ServeOptions) -> None:
        own = f"[{options.host}]" if ":" in options.host else options.host
        self._hosts = _LOOPBACK | {own.lower()} | {name.lower() for name in options.hosts}
        self._any_address = options.host in _WILDCARDS
        self._pages = frozenset(page.rstrip("/").lower() for page in options.origins)

    def check(self, headers: Mapping[str, str]) -> None:
        """ApiError 403 where the server is called by a foreign name or by a foreign page."""
        host = headers.get("host", "").lower()
        if not self._knows(host):
            raise ApiError(
                403,
                f"this server isn't known as {host[:100]!r} (`--allow-host NAME` makes it so)",
                code="unknown_host",
            )
        origin = headers.get("origin")
        if origin is None:
            # A page's GET without CORS names no origin, yet browsers say where it is from.
            # A link that somebody follows is no call: the page doesn't see what comes.
            linked = headers.get("sec-fetch-mode") == "navigate"
            if headers.get("sec-fetch-site") in ("cross-site", "same-site") and not linked:
                raise _foreign("of another site")
        elif not (self.allowed(origin) or origin.lower() in (f"http://{host}", f"https://{host}")):
            raise _foreign(f"at {origin[:100]!r}")

    def allowed(self, origin: str | None) -> bool:
        """Whether it is a page of elsewhere that may call."""
        return origin is not None and origin.lower() in self._pages

    def _knows(self, host: str) -> bool:
        found = _HOST.fullmatch(host)
        if found is None:
            return False
        name = found[1]
        return name in self._hosts or (self._any_address and _is_address(name))


def check_media_type(headers: Mapping[str, str]) -> None:
    """ApiError 415 for a body that a page could send without asking first, or that isn't JSON."""
    if headers.get("content-length", "0") == "0" and "transfer-encoding" not in headers:
        return
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in _JSON:
        raise ApiError(
            415, f"send it as Content-Type: application/json, not {kind[:100]!r}", code="media_type"
        )


def preflight_headers(origin: str, headers: Mapping[str, str]) -> dict[str, str]:
    """The answer to a browser that asks whether an allowed page may call."""
    return {
        **cors_headers(origin),
        "access-control-allow-methods": "GET, POST, DELETE",
        "access-control-allow-headers": headers.get("access-control-request-headers", ""),
        "access-control-allow-private-network": "true",
        "access-control-max-age": "600",
    }


def cors_headers(origin: str) -> dict[str, str]:
    return {
        "access-control-allow-origin": origin,
        "access-control-expose-headers": _EXPOSED,
        "vary": "Origin",
    }


def _foreign(page: str) -> ApiError:
    return ApiError(
        403,
        f"a web page {page} may not call this server (`--origin URL` lets it)",
        code="foreign_origin",
    )


def _is_address(name: str) -> bool:
    """An address can't be made to lead elsewhere, as names can."""
    try:
        ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True
