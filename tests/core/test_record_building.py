"""Every value of a row checked, every refusal with its reason."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hydra_cli.core.recognition import ColumnMap
from hydra_cli.core.record_building import RecordBuilder, Rejected, content_id
from hydra_cli.core.records import Record
from hydra_cli.core.rows import MAX_RECORD

COLUMNS = ColumnMap("input", "output", "user", "time", "id", "task")
GOOD: dict[str, Any] = {"user": "u", "input": "a text", "output": "an answer"}


def build(**changes: Any) -> Record:
    fields = {key: value for key, value in {**GOOD, **changes}.items() if value is not ...}
    return RecordBuilder(COLUMNS, task="t", user=None).build(fields)


def test_builds_a_record() -> None:
    record = build(id=7, time="2020", task="other", extra=1.5, tags=["x"], none=None)
    assert (record.user, record.id, record.task) == ("u", "7", "other")
    assert record.time is not None
    assert record.time.year == 2020
    assert record.metadata == {"extra": "1.5", "tags": '["x"]'}


def test_a_metadata_object_is_taken_apart() -> None:
    assert build(metadata={"place": "home", "n": 2}).metadata == {"place": "home", "n": "2"}


@pytest.mark.parametrize(
    ("value", "text"), [(5, "5"), (5.0, "5"), (4.5, "4.5"), (True, "true"), (" x ", "x")]
)
def test_scalars_become_text(value: object, text: str) -> None:
    assert build(output=value).output == text


@pytest.mark.parametrize("user", ["../../x", "🧑‍🚀", "a b", "CON", "u" * 1024, "';--", "é" * 512])
def test_hostile_users_are_data(user: str) -> None:
    assert build(user=user).user == user


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"user": ""}, "empty user"),
        ({"user": "  "}, "empty user"),
        ({"user": ...}, "empty user"),
        ({"user": "u" * 1025}, "user is longer than 1,024 bytes"),
        ({"user": "é" * 513}, "user is longer than 1,024 bytes"),
        ({"user": "a\0b"}, "user holds control characters"),
        ({"user": "a\x1bb"}, "user holds control characters"),
        ({"user": "\ud800"}, "user is not valid UTF-8"),
        ({"user": ["u"]}, "user is a list, not text"),
        ({"user": 1e300}, "isn't kept exactly"),
        ({"id": float(2**60)}, "isn't kept exactly"),
        ({"id": "a\nb"}, "id holds control characters"),
        ({"output": ""}, "empty output"),
        ({"output": None}, "missing output"),
        ({"output": ...}, "missing output"),
        ({"output": {"a": 1}}, "output is an object, not text"),
        ({"output": b"x"}, "output is raw bytes, not text"),
        ({"input": " \n"}, "empty input"),
        ({"input": "a\0b"}, "a NUL character in the text"),
        ({"time": "soon"}, "time 'soon': neither ISO 8601 nor unix seconds"),
        ({"input": "x" * (MAX_RECORD + 1)}, "longer than 16 MB"),
        ({"extra": "x" * (MAX_RECORD + 1)}, "longer than 16 MB"),
    ],
)
def test_refusals(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(Rejected, match=reason):
        build(**changes)


def test_deep_metadata_is_refused() -> None:
    value: Any = "x"
    for _ in range(900):
        value = [value]
    with pytest.raises(Rejected, match="nested more than 32 deep"):
        build(extra=value)


def test_rows_of_other_shapes_follow_each_other() -> None:
    builder = RecordBuilder(COLUMNS, task="t", user=None)
    assert builder.build({**GOOD, "a": "1"}).metadata == {"a": "1"}
    assert builder.build(GOOD).metadata == {}
    assert builder.build({**GOOD, "b": "2"}).metadata == {"b": "2"}


def test_a_file_without_a_user_column_takes_the_given_user() -> None:
    builder = RecordBuilder(ColumnMap("input", "output"), task="t", user="me")
    assert builder.build(GOOD).user == "me"


FOUR = st.tuples(*[st.text(alphabet="ab", max_size=2)] * 4)


@given(FOUR, FOUR)
def test_content_ids_agree_exactly_when_contents_do(
    first: tuple[str, str, str, str], second: tuple[str, str, str, str]
) -> None:
    same = content_id(*first, None) == content_id(*second, None)
    assert same == (first == second)


def test_a_content_id_never_changes() -> None:
    # Ids are in users' stores: another value would add every record again.
    assert build().id == "e3b8a1d4c19fb1a3e01dc974b4248eea"
    assert build(time="2020").id != build().id
