"""JSON Schemas of what routes take and give."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Schema = Mapping[str, Any]

JSON = "application/json"
LINES = "application/x-ndjson"
EVENTS = "text/event-stream"

TEXT: Schema = {"type": "string"}
COUNT: Schema = {"type": "integer", "minimum": 0}
_TIME: Schema = {"type": ["string", "null"], "format": "date-time"}


def object_of(*, required: tuple[str, ...] = (), **properties: Schema) -> Schema:
    found: dict[str, Any] = {"type": "object", "properties": properties}
    return {**found, "required": list(required)} if required else found


def list_of(item: Schema) -> Schema:
    return object_of(
        object={"const": "list"},
        data={"type": "array", "items": item},
        has_more={"type": "boolean"},
        required=("object", "data"),
    )


def number(most: int) -> Schema:
    return {"type": "integer", "minimum": 1, "maximum": most}


NEW_RECORD = object_of(
    input=TEXT,
    output=TEXT,
    time={"description": "ISO 8601, or seconds since 1970; in UTC where it names no zone"},
    id=TEXT,
    task=TEXT,
    metadata={"type": "object"},
    required=("input", "output"),
)
RECORD = object_of(
    id=TEXT,
    object={"const": "hydra.record"},
    task=TEXT,
    input=TEXT,
    output=TEXT,
    time=_TIME,
    metadata={"type": "object"},
    required=("id", "task", "input", "output"),
)
USER = object_of(
    id=TEXT,
    object={"const": "hydra.user"},
    records=COUNT,
    tasks={"type": "array", "items": TEXT},
    first=_TIME,
    last=_TIME,
    required=("id", "records"),
)
INGESTED = object_of(
    object={"const": "hydra.ingested"},
    user=TEXT,
    added=COUNT,
    present=COUNT,
    replaced=COUNT,
    rejected=COUNT,
    reasons={"type": "object", "additionalProperties": COUNT},
    rejects={"type": "array", "items": object_of(line=COUNT, reason=TEXT)},
    tasks={"type": "array", "items": object_of(name=TEXT, kind=TEXT)},
    required=("added", "present", "replaced", "rejected"),
)
FORGOTTEN = object_of(
    object={"const": "hydra.forgotten"},
    user=TEXT,
    records=COUNT,
    vectors=COUNT,
    heads=COUNT,
    required=("user", "records"),
)
MODEL = object_of(
    id=TEXT, object={"const": "model"}, created=COUNT, owned_by=TEXT, required=("id", "object")
)
ERROR = object_of(
    error=object_of(
        message=TEXT,
        type=TEXT,
        param={"type": ["string", "null"]},
        code={"type": ["string", "null"]},
        required=("message", "type", "param", "code"),
    ),
    required=("error",),
)
