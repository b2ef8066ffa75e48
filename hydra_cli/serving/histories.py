"""Users and their records: listed, added to, forgotten."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from hydra_cli.api import Hydra
from hydra_cli.core.errors import DataError, NotFound
from hydra_cli.core.records import Record
from hydra_cli.serving import schemas
from hydra_cli.serving.endpoints import Endpoint, service_of
from hydra_cli.serving.errors import ApiError
from hydra_cli.serving.reading import flag_of, number_of, own_user, text_of, wrong
from hydra_cli.workflows import ingest_setup

FIELDS = ("input", "output", "time", "id", "task", "metadata")
"""What a record sent to the server may have. The user is the path's, whatever it says."""
MOST_USERS = 1000
MOST_RECORDS = 200
_SHOWN_REJECTS = 100


async def users(request: Request) -> Response:
    """The users by name; a bound key's own alone."""
    service, own = service_of(request), request.state.asker.user
    limit = number_of(request, "limit", MOST_USERS, MOST_USERS)
    after = text_of(request, "after") or ""
    found = await service.in_thread(service.hydra.users)
    left = sorted(
        (one for one in found if one.user > after and own in (None, one.user)),
        key=lambda one: one.user,
    )
    data = [
        {
            "id": one.user,
            "object": "hydra.user",
            "records": one.records,
            "tasks": list(one.tasks),
            "first": _time(one.first),
            "last": _time(one.last),
        }
        for one in left[:limit]
    ]
    return JSONResponse({"object": "list", "data": data, "has_more": len(left) > limit})


async def records(request: Request) -> Response:
    """A user's records, newest first, or those that have all words of ``q``."""
    service, user = service_of(request), own_user(request)
    hydra, asker = service.hydra, request.state.asker
    limit = number_of(request, "limit", 20, MOST_RECORDS)
    task, after, words = (text_of(request, name) for name in ("task", "after", "q"))

    def read() -> tuple[list[Record], int]:
        try:
            found = hydra.history(user, task=task)[::-1]
        except NotFound:
            if asker.trusted or task is not None:
                raise
            found = []  # one's own history may be empty still
        if words is not None:
            found = [record for record in found if _has(record, words.casefold().split())]
        return found[_place(found, after) :], len(found)

    left, total = await service.in_thread(read)
    return _json(
        {
            "object": "list",
            "data": [_shown(record) for record in left[:limit]],
            "has_more": len(left) > limit,
            "total": total,
        }
    )


async def add_records(request: Request) -> Response:
    """Records into a user's history; the next request sees them. Twice adds nothing."""
    service, user = service_of(request), own_user(request)
    task, update = text_of(request, "task"), flag_of(request, "update")
    kind = request.headers.get("content-type", schemas.JSON).partition(";")[0].strip().lower()
    body = await request.body()
    rows = _given(body) if kind == schemas.JSON else _lines(body)
    added = await service.writing(lambda: _ingest(service.hydra, user, rows, task, update))
    return _json(added)


async def forget(request: Request) -> Response:
    """Erase a user, a task of theirs or one record for good, with all that came of it."""
    service, user = service_of(request), own_user(request)
    task, record = text_of(request, "task"), text_of(request, "record")
    hydra = service.hydra
    erased = await service.writing(lambda: hydra.forget(user, task=task, record=record))
    return JSONResponse({"object": "hydra.forgotten", "user": user, **asdict(erased)})


class _Rejects:
    """Rejected rows, the first of them with their reasons."""

    def __init__(self) -> None:
        self.first: list[dict[str, Any]] = []
        self.reasons: Counter[str] = Counter()

    def add(self, source: str, line: int, reason: str, text: str) -> None:
        self.reasons[reason] += 1
        if len(self.first) < _SHOWN_REJECTS:
            self.first.append({"line": line, "reason": reason})


def _ingest(
    hydra: Hydra, user: str, rows: Sequence[Any], task: str | None, update: bool
) -> dict[str, Any]:
    rejects = _Rejects()
    lines: list[bytes] = []
    for line, row in enumerate(rows, 1):
        reason = _unusable(row, user)
        if reason is not None:
            rejects.add("", line, reason, "")
            lines.append(b"")  # so that later lines keep their numbers
        else:
            own = {name: row[name] for name in FIELDS if name in row}
            lines.append(orjson.dumps({"user": user, **own}))
    if not any(lines):
        first = rejects.first[0] if rejects.first else {"line": 0, "reason": "no records"}
        raise DataError(f"nothing usable: line {first['line']}: {first['reason']}")
    options = ingest_setup.options(
        "user=user,input=input,output=output", task=task, user=None, update=update
    )
    stream = io.BytesIO(b"\n".join(lines))
    report = hydra.ingest_sources([None], stream, options, rejects=rejects)
    return {
        "object": "hydra.ingested",
        "user": user,
        "added": report.added,
        "present": report.present,
        "replaced": report.replaced,
        "rejected": rejects.reasons.total(),
        "reasons": dict(rejects.reasons.most_common(10)),
        "rejects": sorted(rejects.first, key=lambda one: int(one["line"])),
        "tasks": [{"name": spec.name, "kind": spec.kind} for spec in report.tasks],
    }


def _unusable(row: Any, user: str) -> str | None:
    """Why a row isn't even tried: other columns than ours are nowhere guessed at."""
    if isinstance(row, _Bad):
        return row.why
    if not isinstance(row, dict):
        return "not a JSON object"
    if row.get("user") not in (None, user):
        return "names another user than the path"
    return next((f"missing {name}" for name in ("input", "output") if row.get(name) is None), None)


class _Bad:
    """A line that is no JSON."""

    def __init__(self, why: str) -> None:
        self.why = why


def _given(body: bytes) -> list[Any]:
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise ApiError(400, f"the body isn't valid JSON: {error}", code="invalid_json") from error
    if isinstance(found, dict):
        found = found.get("records")
    if not isinstance(found, list):
        raise wrong("records", "must be a list: send a list of records, or it as `records`")
    return found


def _lines(body: bytes) -> list[Any]:
    """Every line that isn't empty."""
    found: list[Any] = []
    for line in body.splitlines():
        if line.strip():
            try:
                found.append(orjson.loads(line))
            except orjson.JSONDecodeError as error:
                found.append(_Bad(f"not valid JSON: {error}"))
    return found


def _place(found: Sequence[Record], after: str | None) -> int:
    """Where a page begins: behind the record that ended the one before."""
    if after is None:
        return 0
    places = [place for place, record in enumerate(found, 1) if record.id == after]
    if len(places) != 1:
        why = "stands in several tasks: name one" if places else "is none of these records"
        raise wrong("after", why)
    return places[0]


def _has(record: Record, words: Sequence[str]) -> bool:
    text = f"{record.input}\n{record.output}".casefold()
    return all(word in text for word in words)


def _shown(record: Record) -> dict[str, Any]:
    return {
        "id": record.id,
        "object": "hydra.record",
        "task": record.task,
        "input": record.input,
        "output": record.output,
        "time": _time(record.time),
        "metadata": dict(record.metadata),
    }


def _time(time: Any) -> str | None:
    return None if time is None else str(time.isoformat())


def _json(content: Any) -> Response:
    return Response(orjson.dumps(content), media_type="application/json")


ENDPOINTS = (
    Endpoint(
        method="GET",
        path="/v1/users",
        handler=users,
        summary="The users by name, with their numbers of records; a bound key's own alone.",
        query={"limit": schemas.number(MOST_USERS), "after": schemas.TEXT},
        answers={schemas.JSON: schemas.list_of(schemas.USER)},
    ),
    Endpoint(
        method="GET",
        path="/v1/users/{user:path}/records",
        handler=records,
        summary="A user's records, newest first; `q` finds words, `after` is the last id seen.",
        query={
            "limit": schemas.number(MOST_RECORDS),
            "after": schemas.TEXT,
            "task": schemas.TEXT,
            "q": schemas.TEXT,
        },
        answers={schemas.JSON: schemas.list_of(schemas.RECORD)},
    ),
    Endpoint(
        method="POST",
        path="/v1/users/{user:path}/records",
        handler=add_records,
        summary="Add records to a user's history.",
        query={"task": schemas.TEXT, "update": {"type": "boolean"}},
        bodies={
            schemas.JSON: {
                "oneOf": [
                    {"type": "array", "items": schemas.NEW_RECORD},
                    schemas.object_of(
                        records={"type": "array", "items": schemas.NEW_RECORD},
                        required=("records",),
                    ),
                ]
            },
            schemas.LINES: {"type": "string"},
        },
        answers={schemas.JSON: schemas.INGESTED},
    ),
    Endpoint(
        method="DELETE",
        path="/v1/users/{user:path}",
        handler=forget,
        summary="Forget a user, one of their tasks or one record, for good.",
        query={"task": schemas.TEXT, "record": schemas.TEXT},
        answers={schemas.JSON: schemas.FORGOTTEN},
    ),
)
