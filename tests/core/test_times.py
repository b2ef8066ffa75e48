"""Times of all the shapes that sources use."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hydra_cli.core.times import parse_time

UTC = UTC
NOON = datetime(2018, 3, 8, 12, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        ("", None),
        ("  ", None),
        ("2018-03-08", datetime(2018, 3, 8, tzinfo=UTC)),
        ("20180308", datetime(2018, 3, 8, tzinfo=UTC)),
        ("2018-03-08T12:30:00Z", NOON),
        ("2018-03-08 12:30", NOON),
        ("2018-03-08T14:30:00+02:00", NOON),
        ("2018-03-08T10:30:00-0200", NOON),
        ("2018-03-08T12:30:00.5Z", NOON + timedelta(milliseconds=500)),
        ("2018-03-08 12:30:00 UTC", NOON),
        (1520512200, NOON),
        ("1520512200", NOON),
        (1520512200.0, NOON),
        (1520512200000, NOON),
        (1520512200000000, NOON),
        ("2018", datetime(2018, 1, 1, tzinfo=UTC)),
        (2018, datetime(2018, 1, 1, tzinfo=UTC)),
        (0, datetime(1970, 1, 1, tzinfo=UTC)),
        (-86400, datetime(1969, 12, 31, tzinfo=UTC)),
        (date(2018, 3, 8), datetime(2018, 3, 8, tzinfo=UTC)),
        (datetime(2018, 3, 8, 12, 30), NOON),
        (NOON.astimezone(timezone(timedelta(hours=5))), NOON),
    ],
)
def test_reads(value: object, expected: datetime | None) -> None:
    found = parse_time(value)
    assert found == expected
    assert found is None or found.utcoffset() == timedelta(0)


@pytest.mark.parametrize(
    "value",
    ["yesterday", "2018-13-01", "12/24/2018", True, [], {}, b"2018", 1e300, float("nan"), "1" * 30,
     "0001-01-01T00:00:00+05:00", float("inf")],
)  # fmt: skip
def test_refuses(value: object) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_time(value)


@given(st.datetimes(timezones=st.timezones()))
def test_iso_text_round_trips(moment: datetime) -> None:
    try:
        expected = moment.astimezone(UTC)
    except OverflowError:
        return
    assert parse_time(moment.isoformat()) == expected


@given(st.one_of(st.text(), st.floats(), st.integers()))
def test_anything_else_is_a_value_error(value: object) -> None:
    try:
        found = parse_time(value)
    except ValueError:
        return
    assert found is None or found.tzinfo is not None
