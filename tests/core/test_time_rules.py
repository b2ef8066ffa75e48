"""One rule for a column's times."""

from __future__ import annotations

import pytest

from hydra_cli.core.errors import DataError, UsageError
from hydra_cli.core.time_rules import given_rule, time_rule


@pytest.mark.parametrize(
    ("values", "said", "first"),
    [
        (["31.12.2025"], "day.month.year", "2025-12-31T00:00:00+00:00"),
        (["1.2.2025 08:30"], "day.month.year", "2025-02-01T08:30:00+00:00"),
        (["01/02/2025", "31/12/2025 14:05"], "day/month/year", "2025-02-01T00:00:00+00:00"),
        (["01/02/2025", "12/31/2025"], "month/day/year", "2025-01-02T00:00:00+00:00"),
        (["1 Dec 2025", "", None], "day month year", "2025-12-01T00:00:00+00:00"),
        (["3. März 2025"], "day month year", "2025-03-03T00:00:00+00:00"),
        (["2025-12-31T10:00:00Z"], None, "2025-12-31T10:00:00+00:00"),
        (["1767182400"], None, "2025-12-31T12:00:00+00:00"),
        ([1767182400000], None, "2025-12-31T12:00:00+00:00"),
    ],
)
def test_rules(values: list[object], said: str | None, first: str) -> None:
    rule = time_rule(values, column="when")
    assert rule.said == said
    found = rule.parse(values[0])
    assert found is not None
    assert found.isoformat() == first
    assert rule.parse("") is None


@pytest.mark.parametrize("values", [["01/02/2025"], ["13/02/2025", "02/13/2025"]])
def test_an_open_order_names_the_option(values: list[str]) -> None:
    with pytest.raises(DataError, match="day or month first") as caught:
        time_rule(values, column="when")
    assert "--time-format" in (caught.value.hint or "")


@pytest.mark.parametrize("text", ["2025-01-01", "01/02/2025", "31.13.2025", "31.02.2025"])
def test_what_the_rule_does_not_read_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"day|month"):
        time_rule(["31.12.2025"], column="when").parse(text)


def test_a_given_format() -> None:
    rule = given_rule("%d/%m/%Y")
    found = rule.parse("01/02/2025")
    assert found is not None
    assert found.isoformat() == "2025-02-01T00:00:00+00:00"
    with pytest.raises(ValueError, match="not of the form"):
        rule.parse("2025-01-01")
    with pytest.raises(UsageError):
        given_rule("%Q")
