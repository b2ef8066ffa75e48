"""Errors as OpenAI's clients read them: a status and ``{"error": {...}}``."""

from __future__ import annotations

from math import ceil
from typing import Any, Literal

from hydra_cli.core.errors import (
    BudgetExceeded,
    DataError,
    HydraError,
    NotFound,
    ProviderError,
    StoreBusy,
    UsageError,
)

Kind = Literal[
    "invalid_request_error",
    "authentication_error",
    "permission_error",
    "not_found_error",
    "rate_limit_error",
    "api_error",
]

_KINDS: dict[int, Kind] = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}


class ApiError(Exception):
    """What a request ends with. ``param`` names the field of the body at fault."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.param = param
        self.headers = headers or {}

    @property
    def kind(self) -> Kind:
        if self.status in _KINDS:
            return _KINDS[self.status]
        return "invalid_request_error" if self.status < 500 else "api_error"

    @property
    def body(self) -> dict[str, Any]:
        """The response's JSON, with the four fields that OpenAI's have."""
        return {
            "error": {
                "message": self.message,
                "type": self.kind,
                "param": self.param,
                "code": self.code,
            }
        }


def api_error(error: HydraError) -> ApiError:
    """One of our errors as the answer to a request, with its hint."""
    message = f"{error.message} ({error.hint})" if error.hint else error.message
    wait = getattr(error, "retry_after", None)
    headers = {} if wait is None else {"retry-after": str(ceil(wait))}
    return ApiError(_status(error), message, code=_code(error), headers=headers)


def _status(error: HydraError) -> int:
    match error:
        case NotFound():
            return 404
        case UsageError() | DataError():
            return 400
        case BudgetExceeded():
            return 429
        case StoreBusy():
            return 503
        case ProviderError():
            return _provider_status(error)
        case _:
            return 500


def _provider_status(error: ProviderError) -> int:
    """The provider's fault is 502; what the client can do something about keeps its status."""
    kind = getattr(error, "kind", "")
    if kind in ("request", "parameter", "filter", "context"):
        return 400
    return {"rate": 429, "quota": 429, "model": 404, "timeout": 504}.get(kind, 502)


def _code(error: HydraError) -> str:
    if getattr(error, "kind", "") == "model":
        return "model_not_found"
    names = {NotFound: "not_found", BudgetExceeded: "budget_exceeded", ProviderError: "provider"}
    return next((code for kind, code in names.items() if isinstance(error, kind)), "refused")
