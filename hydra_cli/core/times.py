"""Times as sources write them, as aware UTC times."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta, timezone

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NUMBER = re.compile(r"[+-]?\d+(?:\.\d+)?$")
# What datetime.fromisoformat can't read: UTC and GMT by name, a space before the zone, many spaces.
_ISO = re.compile(
    r"(\d{4})-?(\d{2})-?(\d{2})"
    r"(?:[T ]+(\d{2}):?(\d{2})(?::?(\d{2})(?:[.,](\d{1,9}))?)?)?"
    r"\s*(?:(Z|UTC|GMT)|([+-])(\d{2}):?(\d{2})?)?$",
    re.IGNORECASE,
)


def parse_time(value: object) -> datetime | None:
    """ISO text, unix seconds (also milli- and microseconds) or a year; None where empty.

    A time without a zone is taken as UTC. ValueError where it is none of these.
    """
    if type(value) is int and 10_000 <= value <= 100_000_000_000:
        return datetime.fromtimestamp(value, UTC)
    if value is None or value == "":
        return None
    if isinstance(value, str):
        return _from_text(value.strip())
    if isinstance(value, datetime):
        return _aware(value)
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day, tzinfo=UTC)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return _from_number(value)
    raise ValueError(f"{type(value).__name__} is no time")


def _from_text(text: str) -> datetime | None:
    if not text:
        return None
    if text[4:5] == "-":
        try:
            return _aware(datetime.fromisoformat(text))
        except (ValueError, OverflowError):
            pass
    elif _NUMBER.match(text) and not (len(text) == 8 and text[:2] in ("19", "20")):
        return _from_number(float(text))
    found = _ISO.match(text)
    if found is None:
        raise ValueError("neither ISO 8601 nor unix seconds")
    year, month, day, hour, minute, second = (int(part or 0) for part in found.groups()[:6])
    fraction = int((found.group(7) or "").ljust(6, "0")[:6])
    sign, hours, minutes = found.group(9), int(found.group(10) or 0), int(found.group(11) or 0)
    offset = timedelta(hours=hours, minutes=minutes) * (-1 if sign == "-" else 1)
    zone = timezone(offset) if sign else UTC
    return _aware(datetime(year, month, day, hour, minute, second, fraction, zone))


def _from_number(number: float) -> datetime:
    """A year, or seconds, milliseconds or microseconds since 1970, told apart by size."""
    if 1000 <= number <= 9999 and number == int(number):
        return datetime(int(number), 1, 1, tzinfo=UTC)
    size = abs(number)
    if not size < 1e18:
        raise ValueError("outside the calendar")
    seconds = number / (1e6 if size > 1e14 else 1e3 if size > 1e11 else 1)
    try:
        return _EPOCH + timedelta(seconds=seconds)
    except OverflowError as error:
        raise ValueError("outside the calendar") from error


def _aware(value: datetime) -> datetime:
    if value.tzinfo is None:
        return value.replace(tzinfo=UTC)
    try:
        return value if value.tzinfo is UTC else value.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("outside the calendar") from error
