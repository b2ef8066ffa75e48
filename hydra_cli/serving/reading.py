"""What a request says in its address and its body, checked; each refusal names the field."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import orjson
from starlette.requests import Request

from hydra_cli.core.errors import UsageError
from hydra_cli.serving.asker import Asker
from hydra_cli.serving.errors import ApiError
from hydra_cli.workflows.api_keys import checked_user

T = TypeVar("T", str, int, bool)
_WANTED: dict[type, str] = {str: "a text", int: "a whole number", bool: "true or false"}


def wrong(param: str, why: str) -> ApiError:
    """A 400 about one field."""
    return ApiError(400, f"{param} {why}", code="invalid_value", param=param)


async def read_json(request: Request) -> Any:
    """The body's value; ApiError 400 where it is none."""
    try:
        return orjson.loads(await request.body())
    except orjson.JSONDecodeError as error:
        raise ApiError(400, f"the body isn't valid JSON: {error}", code="invalid_json") from error


async def read_object(request: Request, known: tuple[str, ...]) -> Mapping[str, Any]:
    """A body that is an object with these fields alone."""
    body = await read_json(request)
    if not isinstance(body, dict):
        raise ApiError(400, "the body must be a JSON object", code="invalid_json")
    for name in body:
        if name not in known:
            raise wrong(name[:100], f"is unknown here; known: {', '.join(known)}")
    return body


def field(body: Mapping[str, Any], name: str, kind: type[T]) -> T | None:
    """A field of the body, or None where it isn't there or is null."""
    value = body.get(name)
    if value is None or (isinstance(value, kind) and isinstance(value, bool) == (kind is bool)):
        return value
    raise wrong(name, f"must be {_WANTED[kind]}")


def number_of(request: Request, name: str, default: int, most: int) -> int:
    """A number of the address, from 1."""
    text = request.query_params.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdecimal() and len(text) < 10 and 1 <= int(text) <= most):
        raise wrong(name, f"must be a whole number from 1 to {most:,}")
    return int(text)


def flag_of(request: Request, name: str) -> bool:
    """A truth value of the address; absent is false."""
    found = {"true": True, "1": True, "false": False, "0": False}.get(
        request.query_params.get(name, "false")
    )
    if found is None:
        raise wrong(name, "must be true or false")
    return found


def text_of(request: Request, name: str) -> str | None:
    """A text of the address; empty counts as absent."""
    return request.query_params.get(name) or None


def own_user(request: Request) -> str:
    """The user in the path, where the asker may see and change their data. 400, 403."""
    asker: Asker = request.state.asker
    user = as_user(request.path_params["user"])
    asker.may_read(user)
    return user


def as_user(text: str) -> str:
    return _checked(lambda: checked_user(text, "user"), "user")


def _checked(check: Callable[[], str], param: str) -> str:
    try:
        return check()
    except UsageError as error:
        raise ApiError(400, error.message, code="invalid_value", param=param) from error


def trusted_alone(request: Request) -> None:
    """ApiError 403 where a key is bound to one user: what follows is about everybody."""
    if not request.state.asker.trusted:
        raise ApiError(403, "this is for trusted keys", code="trusted_only")
