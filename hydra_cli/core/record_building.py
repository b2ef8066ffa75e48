"""Rows to records: every value checked, every refusal with its reason."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterable, Mapping
from datetime import date, datetime
from typing import Any

from hydra_cli.core.recognition import ColumnMap
from hydra_cli.core.records import Record
from hydra_cli.core.rows import MAX_ID_BYTES, MAX_RECORD
from hydra_cli.core.time_rules import TimeRule

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_EXACT = 1 << 53
_DEEPEST = 32
_NONE: dict[str, str] = {}
"""Shared by all records without metadata; nobody writes to a record."""


class Rejected(Exception):
    """Why a row is no record."""


class RecordBuilder:
    """Builds the records of one source.

    ``task`` and ``user`` hold for rows whose columns have none. ``keep``: the
    further columns that become metadata, None for all of them.
    """

    def __init__(
        self,
        columns: ColumnMap,
        *,
        task: str,
        user: str | None,
        times: TimeRule | None = None,
        keep: Collection[str] | None = None,
    ) -> None:
        self._parse_time = (times or TimeRule()).parse
        self._keep = keep
        self._columns = columns
        self._task = task
        self._user = user
        self._used = columns.used()
        self._shape: tuple[str, ...] = ()
        self._extra: tuple[str, ...] = ()
        self._ids: dict[str, str] = {}

    def build(self, fields: Mapping[str, Any]) -> Record:
        """The row's record; Rejected tells what is wrong with it.

        Runs once a record: the usual types are looked at in place.
        """
        columns = self._columns
        get = fields.get
        input_ = get(columns.input)
        if type(input_) is not str:
            input_ = _other_text(input_, "input")
        output = get(columns.output)
        if type(output) is not str:
            output = _other_text(output, "output")
        input_ = input_.strip()
        output = output.strip()
        if not input_ or not output:
            raise Rejected(f"empty {'output' if input_ else 'input'}")
        if "\0" in input_ or "\0" in output:
            raise Rejected("a NUL character in the text")
        size = len(input_) + len(output)

        user = self._user if columns.user is None else self._id_of(get(columns.user), "user")
        if not user:
            raise Rejected("empty user")
        task = self._task
        if columns.task is not None:
            task = self._id_of(get(columns.task), "task") or task

        time = None
        if columns.time is not None and (value := get(columns.time)) is not None:
            try:
                time = self._parse_time(value)
            except ValueError as error:
                raise Rejected(f"time {str(value)[:40]!r}: {error}") from error

        shape = tuple(fields)
        if shape != self._shape:
            self._shape = shape
            self._extra = self._kept(shape)
        metadata = _NONE
        if self._extra:
            metadata = _metadata(fields, self._extra)
            size += sum(map(len, metadata)) + sum(map(len, metadata.values()))
        if size > MAX_RECORD:
            raise Rejected(f"longer than {MAX_RECORD >> 20} MB")

        given = "" if columns.id is None else checked_id(get(columns.id), "id")
        read = input_, output
        if "\r" in input_ or "\r" in output:
            input_, output = unix_lines(input_), unix_lines(output)
        if given or ("\n" not in input_ and "\n" not in output):
            record_id = given or content_id(user, task, input_, output, time)
            return Record(user, record_id, task, input_, output, time, metadata)
        # The same rows get the same ids, whatever line breaks a format has.
        record_id = content_id(user, task, input_, output, time)
        former = {
            content_id(user, task, *texts, time)
            for texts in (read, (dos_lines(input_), dos_lines(output)))
        }
        former.discard(record_id)
        return Record(user, record_id, task, input_, output, time, metadata, tuple(sorted(former)))

    def _kept(self, names: Iterable[str]) -> tuple[str, ...]:
        keep = self._keep
        return tuple(n for n in names if n not in self._used and (keep is None or n in keep))

    def _id_of(self, value: object, name: str) -> str:
        """``checked_id`` with a memory, as a source has few users and tasks."""
        if type(value) is not str:
            return checked_id(value, name)
        known = self._ids.get(value)
        if known is None:
            if len(self._ids) > 100_000:
                self._ids.clear()
            known = self._ids[value] = checked_id(value, name)
        return known


def unix_lines(text: str) -> str:
    """The text with its line breaks as line feeds."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def dos_lines(text: str) -> str:
    """The text with its line feeds as CSV files mostly have them."""
    return text.replace("\n", "\r\n")


def _other_text(value: object, name: str) -> str:
    if value is None:
        raise Rejected(f"missing {name}")
    return scalar_text(value, name)


def checked_id(value: object, name: str) -> str:
    """A user, record or task id as text; empty where there is none. Rejected: unusable."""
    if value is None:
        return ""
    if type(value) is float and not (value.is_integer() and abs(value) < _EXACT):
        raise Rejected(f"{name} {value!r} is a number that isn't kept exactly; write it as text")
    text = value.strip() if type(value) is str else scalar_text(value, name).strip()
    if text.isascii() and text.isprintable() and len(text) <= MAX_ID_BYTES:
        return text
    if _CONTROL.search(text):
        raise Rejected(f"{name} holds control characters")
    try:
        size = len(text.encode())
    except UnicodeEncodeError as error:
        raise Rejected(f"{name} is not valid UTF-8") from error
    if size > MAX_ID_BYTES:
        raise Rejected(f"{name} is longer than {MAX_ID_BYTES:,} bytes")
    return text


def scalar_text(value: object, name: str) -> str:
    """A number, truth value or time as text; Rejected for lists, objects and bytes."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer() and abs(value) < _EXACT:
        return str(int(value))
    if isinstance(value, (datetime, date)):
        return value.isoformat()
    if isinstance(value, (list, dict, tuple, bytes)):
        raise Rejected(f"{name} is {_KIND_NAMES[type(value)]}, not text")
    return str(value)


_KIND_NAMES = {list: "a list", tuple: "a list", dict: "an object", bytes: "raw bytes"}


def content_id(user: str, task: str, input_: str, output: str, time: datetime | None) -> str:
    """A record's id where its source gives none: the same content, the same id."""
    when = "" if time is None else time.isoformat()
    # Lengths keep ("ab", "c") apart from ("a", "bc").
    head = f"{len(user)},{len(task)},{len(input_)},{len(output)}\n"
    text = head + user + task + input_ + output + when
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def _metadata(fields: Mapping[str, Any], names: Iterable[str]) -> dict[str, str]:
    """The named columns as text. A ``metadata`` object is taken apart."""
    found: dict[str, str] = {}
    for name in names:
        value = fields[name]
        if value is None:
            continue
        if name == "metadata" and isinstance(value, dict):
            found.update((str(k), plain_text(v)) for k, v in value.items() if v is not None)
        else:
            found[name] = value if type(value) is str else plain_text(value)
    return found


def plain_text(value: object) -> str:
    """Any value as text: scalars as they are, lists and objects as JSON."""
    if not isinstance(value, (list, dict, tuple)):
        return value.hex() if isinstance(value, bytes) else scalar_text(value, "metadata")
    import json

    if _depth(value) > _DEEPEST:
        raise Rejected(f"metadata is nested more than {_DEEPEST} deep")
    return json.dumps(value, ensure_ascii=False, default=str)


def _depth(value: object) -> int:
    """How deep lists and objects are nested, without recursion."""
    level: list[Any] = [value]
    depth = 0
    while level and depth <= _DEEPEST:
        depth += 1
        level = [
            child
            for parent in level
            for child in (parent.values() if isinstance(parent, dict) else parent)
            if isinstance(child, (list, dict, tuple))
        ]
    return depth
