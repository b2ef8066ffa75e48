"""How the times of one column are read: one rule for all of them, found in its first rows."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from hydra_cli.core.errors import DataError, UsageError
from hydra_cli.core.times import parse_time

_CLOCK = r"(?:,?[ T]+(\d{1,2})[:.](\d{2})(?:[:.](\d{2}))?(?:\s*Uhr)?)?$"
_NUMERIC = re.compile(r"(\d{1,2})([./-])(\d{1,2})\2(\d{4})" + _CLOCK)
_NAMED = re.compile(r"(\d{1,2})\.?[ -]([^\W\d]{3,9})\.?,?[ -](\d{4})" + _CLOCK)
_MONTHS = {
    name: month
    for month, names in enumerate(
        ("jan", "feb", "mar mär mrz", "apr", "may mai", "jun", "jul", "aug", "sep", "oct okt",
         "nov", "dec dez"), 1,
    )
    for name in names.split()
}  # fmt: skip

Parse = Callable[[object], "datetime | None"]


@dataclass(frozen=True, slots=True)
class TimeRule:
    """``parse`` raises ValueError for a value that the rule doesn't read.

    ``said``: the rule in words, None where it is the usual one (``parse_time``).
    """

    parse: Parse = parse_time
    said: str | None = None


def given_rule(form: str) -> TimeRule:
    """The rule of a strptime format; UsageError where it is none."""
    try:
        datetime.strptime(datetime(2025, 12, 31, 13, 45, 10).strftime(form), form)
    except ValueError as error:
        raise UsageError(
            f"--time-format can't be {form!r}: {error}",
            hint='write it as for strptime, for instance "%d.%m.%Y %H:%M"',
        ) from error

    def parse(value: object) -> datetime | None:
        if not isinstance(value, str):
            return parse_time(value)
        if not value.strip():
            return None
        try:
            found = datetime.strptime(value.strip(), form)
        except ValueError as error:
            raise ValueError(f"not of the form {form}") from error
        return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)

    return TimeRule(parse, form)


def time_rule(values: Iterable[object], *, column: str) -> TimeRule:
    """The rule that a column's first values follow.

    Days stand before months where dots part them, or where a first part exceeds
    12. DataError where the values leave it open.
    """
    texts = [value.strip() for value in values if isinstance(value, str)]
    numeric = [found for found in map(_NUMERIC.match, texts) if found]
    named = [found for found in map(_NAMED.match, texts) if found]
    if len(named) > len(numeric):
        return TimeRule(_texts_by(_from_named, "day month year"), "day month year")
    if not numeric:
        return TimeRule()
    mark = numeric[0][2]
    day_first = mark == "." or _day_first(numeric, column)
    said = mark.join(("day", "month", "year") if day_first else ("month", "day", "year"))

    def read(text: str) -> datetime | None:
        found = _NUMERIC.match(text)
        if found is None or found[2] != mark:
            return None
        first, second = int(found[1]), int(found[3])
        day, month = (first, second) if day_first else (second, first)
        return _at(int(found[4]), month, day, found.groups()[4:])

    return TimeRule(_texts_by(read, said), said)


def _day_first(found: list[re.Match[str]], column: str) -> bool:
    day_first = any(int(match[1]) > 12 for match in found)
    month_first = any(int(match[3]) > 12 for match in found)
    if day_first != month_first:
        return day_first
    why = "both occur" if day_first else "no part exceeds 12"
    raise DataError(
        f"the column {column!r} may be day or month first ({found[0][0]!r}; {why})",
        hint='say it with --time-format, for instance "%d/%m/%Y" or "%m/%d/%Y"',
    )


def _texts_by(read: Callable[[str], datetime | None], said: str) -> Parse:
    def parse(value: object) -> datetime | None:
        if not isinstance(value, str):
            return parse_time(value)
        text = value.strip()
        if not text:
            return None
        found = read(text)
        if found is None:
            raise ValueError(f"not {said}, as the others are")
        return found

    return parse


def _from_named(text: str) -> datetime | None:
    found = _NAMED.match(text)
    month = None if found is None else _MONTHS.get(found[2][:3].lower())
    if found is None or month is None:
        return None
    return _at(int(found[3]), month, int(found[1]), found.groups()[3:])


def _at(year: int, month: int, day: int, clock: tuple[str | None, ...]) -> datetime:
    hour, minute, second = (int(part or 0) for part in clock)
    return datetime(year, month, day, hour, minute, second, tzinfo=UTC)
