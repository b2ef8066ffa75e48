"""Errors to responses and to one line in the log, which holds no text of anybody's."""

from __future__ import annotations

import logging
import os
import traceback
from pathlib import Path

from starlette.responses import JSONResponse

from hydra_cli.core.errors import HydraError, NotFound
from hydra_cli.serving.errors import ApiError, api_error

log = logging.getLogger("hydra_cli.serving")
_PACKAGE = Path(__file__).parents[1]


def failed(error: ApiError) -> JSONResponse:
    """The response of a request that ends with an error."""
    return JSONResponse(error.body, status_code=error.status, headers=error.headers)


def told(error: Exception, *, trusted: bool = False) -> ApiError:
    """Any error as the one that the client is told; an unforeseen one tells nothing."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, NotFound) and not trusted:
        return ApiError(404, error.message, code="not_found")  # a hint may name other users
    if isinstance(error, HydraError):
        return api_error(error)
    return ApiError(500, "internal error; the server's log says where", code="internal_error")


def logged(error: Exception, status: int, route: str) -> None:
    """One line for the server's own failures: kind and place, as messages may quote records."""
    if status < 500:
        return
    if os.environ.get("HYDRA_PERS_TRACEBACK"):
        log.error("%s %d", route, status, exc_info=error)
    else:
        log.error("%s %d: %s%s", route, status, type(error).__name__, _place(error))


def _place(error: Exception) -> str:
    """`` at serving/chat.py:41``: the last line of ours that the error came through."""
    if isinstance(error, (ApiError, HydraError)):
        return ""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = Path(frame.filename)
        if _PACKAGE in path.parents:
            return f" at {path.relative_to(_PACKAGE).as_posix()}:{frame.lineno}"
    return ""
