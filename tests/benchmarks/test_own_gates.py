"""What held-out records say of the next ones: the slope, and what the gate makes of it."""

from __future__ import annotations

import random

import pytest

from hydra_cli.modeling import gate
from hydra_cli.modeling.gate import Outcome
from tests.benchmarks.own_gates import User, mean_quality, slope


def people(*, lasting: float) -> list[User]:
    """Sixty users whose gain on the next records is so much of the one on the first, and .02."""
    draw = random.Random(0)
    found = []
    for u in range(60):
        gain = draw.gauss(0.0, 0.1)

        def outcomes(mean: float, name: str = f"u{u}") -> tuple[Outcome, ...]:
            return tuple(Outcome(name, {"adapt0": 0.7 + mean, "majority": 0.7}) for _ in range(8))

        found.append(User(outcomes(gain + 0.02), outcomes(lasting * gain + 0.02)))
    return found


def test_the_slope_is_what_lasts_of_a_gain() -> None:
    for lasting in (0.0, 0.25, 1.0):
        assert slope(people(lasting=lasting)) == pytest.approx(lasting, abs=1e-6)


def test_whom_a_run_of_records_speaks_against_is_better_off_with_the_others_choice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    users = people(lasting=0.0)
    monkeypatch.setattr(gate, "LASTING", 1.0)
    misled, controls = mean_quality(users, own=True)
    others, none = mean_quality(users, own=False)
    assert controls > 10 > none
    assert misled < others
