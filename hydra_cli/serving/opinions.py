"""``POST /v1/feedback``: what a person thinks of an answer, by its id; and how answers fared."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from hydra_cli.core.errors import NotFound
from hydra_cli.core.feedback import Given
from hydra_cli.serving import schemas
from hydra_cli.serving.endpoints import Endpoint, service_of
from hydra_cli.serving.errors import ApiError
from hydra_cli.serving.reading import as_user, field, own_user, read_object, wrong
from hydra_cli.workflows.stats import Fared

_WHOSE = ("user", "safety_identifier")
_SAID = ("accept", "reject", "choose", "edit", "undo")


async def feedback(request: Request) -> Response:
    """Accept, reject, choose another candidate (from 1) or edit an answer, or undo that."""
    service, asker = service_of(request), request.state.asker
    body = await read_object(request, ("answer_id", *_SAID, *_WHOSE))
    answer_id = field(body, "answer_id", str)
    if not answer_id:
        raise wrong("answer_id", "is missing")
    named = asker.user_of(request.headers, body)
    user = as_user(named) if named is not None else None
    if user is None and answer_id == "last":
        raise ApiError(400, "the last answer of whom? name the user", param="user")
    said = _said(body)
    hydra = service.hydra

    def give() -> Given:
        # A trusted asker may name nobody; for a bound one, others' answers don't exist.
        if "undo" in said:
            return hydra.undo_feedback(answer_id, user=user)
        return hydra.feedback(answer_id, user=user, **said)

    given = await service.writing(give)
    replaced = given.replaced
    return JSONResponse(
        {
            "object": "hydra.feedback",
            "feedback": given.feedback.as_mapping(),
            "replaced": None if replaced is None else replaced.as_mapping(),
            "learned": given.learned,
        }
    )


async def stats(request: Request) -> Response:
    """How a user's answers fared, week by week: what was accepted, changed and rejected."""
    service, user = service_of(request), own_user(request)
    trusted = request.state.asker.trusted

    def read() -> list[Fared]:
        try:
            return service.hydra.stats(user)
        except NotFound:
            if trusted:
                raise
            return []  # one's own may be empty still

    found = await service.in_thread(read)
    return JSONResponse({"object": "list", "data": [week.as_mapping() for week in found]})


def _said(body: Mapping[str, Any]) -> dict[str, Any]:
    """The one thing that is said."""
    found: dict[str, Any] = {
        "accept": field(body, "accept", bool),
        "reject": field(body, "reject", bool),
        "choose": field(body, "choose", int),
        "edit": field(body, "edit", str),
        "undo": field(body, "undo", bool),
    }
    said = {name: value for name, value in found.items() if value not in (None, False)}
    if len(said) != 1:
        raise ApiError(400, f"say one of {', '.join(_SAID)}", code="invalid_value")
    return said


ENDPOINTS = (
    Endpoint(
        method="POST",
        path="/v1/feedback",
        handler=feedback,
        summary="Accept, reject, choose or edit an answer, or undo that.",
        bodies={
            schemas.JSON: schemas.object_of(
                answer_id=schemas.TEXT,
                accept={"type": "boolean"},
                reject={"type": "boolean"},
                choose={"type": "integer", "minimum": 1},
                edit=schemas.TEXT,
                undo={"type": "boolean"},
                user=schemas.TEXT,
                required=("answer_id",),
            )
        },
        answers={schemas.JSON: {"type": "object"}},
    ),
    Endpoint(
        method="GET",
        path="/v1/users/{user:path}/stats",
        handler=stats,
        summary="How a user's answers fared, week by week.",
        answers={schemas.JSON: schemas.list_of({"type": "object"})},
    ),
)
