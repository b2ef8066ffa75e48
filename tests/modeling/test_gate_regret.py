"""The gate's rule in drawn worlds: what it leaves to a rule that knows the truth."""

from __future__ import annotations

import random

import pytest

from tests.benchmarks.simulate_gate import claimed_and_true, drawn, regrets

OURS, BEFORE = "sign of the expected gain", "probability of a gain .7"


@pytest.mark.parametrize("with_own", [False, True], ids=["a new user", "own outcomes"])
def test_it_loses_less_than_always_on_always_off_and_the_rule_before(with_own: bool) -> None:
    draw = random.Random(7)
    worlds = [drawn(draw, users=20, records=6, spread=0.2, scale=0.08) for _ in range(120)]
    found = regrets(worlds, with_own=with_own)
    assert found[OURS] < 0.75 * min(found["always on"], found["always off"])
    assert found[OURS] < found[BEFORE]


@pytest.mark.slow
@pytest.mark.parametrize("users", [5, 20, 100])
@pytest.mark.parametrize("spread", [0.05, 0.2])
def test_that_holds_for_few_and_many_and_for_like_and_unlike_users(
    users: int, spread: float
) -> None:
    draw = random.Random(f"{users}{spread}")
    worlds = [drawn(draw, users=users, records=6, spread=spread, scale=0.08) for _ in range(400)]
    for with_own in (False, True):
        found = regrets(worlds, with_own=with_own)
        assert found[OURS] <= min(found["always on"], found["always off"])
        assert found[OURS] <= found[BEFORE] + 0.001


def test_more_users_leave_less_regret() -> None:
    lost = []
    for users in (3, 60):
        draw = random.Random(3)
        worlds = [drawn(draw, users=users, records=4, spread=0.1, scale=0.08) for _ in range(100)]
        lost.append(regrets(worlds, with_own=False, rules=[OURS])[OURS])
    assert lost[1] < 0.5 * lost[0]


def test_the_chosen_of_many_is_not_praised_for_its_luck() -> None:
    """The best of six noisy means, taken as it is, promises more than it holds."""
    believed, true = claimed_and_true(random.Random(1), worlds=60, users=12)
    assert true > 0.0
    assert believed < true + 0.02
