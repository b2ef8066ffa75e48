"""What a command used, in one line."""

from __future__ import annotations

import pytest

from hydra_cli.cli.render_usage import cost_text, usage_line
from hydra_cli.core.records import Usage


@pytest.mark.parametrize(
    ("usage", "line"),
    [
        (
            Usage(9, 3, 4210, 96, None, 14.23),
            "used: 12 calls (3 cached), 4,210 + 96 tokens, cost unknown, 14.2 s",
        ),
        (Usage(1, 0, 10, 3, 0.0, 0.5), "used: 1 call, 10 + 3 tokens, no cost, 0.5 s"),
        (Usage(), "used: 0 calls, 0 + 0 tokens, no cost"),
        (Usage(0, 1200, 5, 6), "used: 1,200 calls (1,200 cached), 5 + 6 tokens, no cost"),
    ],
)
def test_usage_line(usage: Usage, line: str) -> None:
    assert usage_line(usage) == line


def test_an_estimate_says_so() -> None:
    assert usage_line(Usage(2, 0, 10, 3, 1.5), verb="expected").startswith("expected: 2 calls")


@pytest.mark.parametrize(
    ("cost", "text"),
    [
        (None, "cost unknown"),
        (0.0, "no cost"),
        (0.00001, "under $0.0001"),
        (0.0012, "$0.0012"),
        (0.5, "$0.50"),
        (1234.5, "$1,234.50"),
    ],
)
def test_cost_text(cost: float | None, text: str) -> None:
    assert cost_text(cost) == text
