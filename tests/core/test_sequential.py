"""Best-of-n in steps: when it stops, what that saves, what it costs."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hydra_cli.core import sequential
from hydra_cli.core.records import Candidate, Scored
from hydra_cli.core.sequential import Score, StopRule, margin
from tests.benchmarks.stopping import Trace, calibrate, tradeoffs


def by_number(candidates: Sequence[Candidate]) -> list[Scored[Candidate]]:
    """The text is the score."""
    return [Scored(candidate, float(candidate.text)) for candidate in candidates]


def draw_until_clear(
    draw: Callable[[int], Sequence[Candidate]], score: Score, *, most: int, rule: StopRule
) -> list[Scored[Candidate]]:
    """The steps, with ``draw`` as the LLM."""
    steps = sequential.draw_until_clear(score, most=most, rule=rule)
    try:
        wanted = next(steps)
        while True:
            wanted = steps.send(draw(wanted))
    except StopIteration as done:
        found: list[Scored[Candidate]] = done.value
        return found


def numbered(*scores: float) -> list[Candidate]:
    return [Candidate(str(score), place) for place, score in enumerate(scores)]


class Drawing:
    def __init__(self, *scores: float) -> None:
        self.all = numbered(*scores)
        self.asked: list[int] = []

    def __call__(self, count: int) -> list[Candidate]:
        self.asked.append(count)
        return self.all[:count]


def test_it_stops_where_the_margin_is_clear() -> None:
    draw = Drawing(1, 2, 9, 3, 99, 0, 0, 0)
    best = draw_until_clear(draw, by_number, most=8, rule=StopRule(margin=3.0))
    assert draw.asked == [2, 4]
    assert [item.score for item in best] == [9, 3, 2, 1]


def test_without_a_clear_winner_all_are_asked() -> None:
    draw = Drawing(1, 1.5, 2, 2.5, 3)
    best = draw_until_clear(draw, by_number, most=5, rule=StopRule(margin=1.0))
    assert draw.asked == [2, 4, 5]
    assert best[0].score == 3


def test_equal_texts_are_no_rivals() -> None:
    draw = Drawing(4, 4, 7, 7)
    assert len(draw_until_clear(draw, by_number, most=4, rule=StopRule(margin=1e9))) == 2
    assert margin(by_number(numbered(4, 4))) == math.inf


def test_a_short_draw_is_the_end() -> None:
    draw = Drawing(1, 2, 3)
    best = draw_until_clear(draw, by_number, most=8, rule=StopRule(margin=9))
    assert draw.asked == [2, 4]
    assert len(best) == 3


@pytest.mark.parametrize("most", [0, 1])
def test_few_answers(most: int) -> None:
    best = draw_until_clear(Drawing(5, 6), by_number, most=most, rule=StopRule(margin=0))
    assert len(best) == most


def test_ties_go_to_the_first() -> None:
    first, second = Candidate("a", 0), Candidate("b", 1)
    best = draw_until_clear(
        lambda n: [first, second][:n],
        lambda items: [Scored(item, 1.0) for item in items],
        most=2,
        rule=StopRule(margin=1),
    )
    assert best[0].item is first


@pytest.mark.parametrize("bad", [{"least": 0}, {"step": 0}])
def test_senseless_rules_are_refused(bad: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="must be positive"):
        StopRule(1.0, **bad)


def test_tradeoffs_count_exactly() -> None:
    # One query whose clear early winner is the best, one whose best comes last.
    traces = [
        Trace(tuple(numbered(9, 1, 2, 3)), (1.0, 0.0, 0.0, 0.0), by_number),
        Trace(tuple(numbered(5, 4, 3, 8)), (0.5, 0.2, 0.1, 1.0), by_number),
    ]
    hasty, patient, never = tradeoffs(traces, [0.5, 5.0, math.inf])
    assert (hasty.answers, hasty.quality, hasty.saved, hasty.lost) == (2.0, 0.75, 0.5, 0.25)
    assert (patient.answers, patient.quality) == (3.0, 1.0)
    assert (patient.saved, patient.lost) == (0.25, 0.0)
    assert (never.answers, never.saved, never.lost) == (4.0, 0.0, 0.0)
    assert calibrate([hasty, patient, never], tolerance=0.0) is patient
    assert calibrate([hasty, patient, never], tolerance=0.3) is hasty
    assert calibrate([hasty], tolerance=0.1) is None
    assert tradeoffs([], [1.0]) == []


def test_a_trace_wants_a_quality_each() -> None:
    with pytest.raises(ValueError, match="one quality"):
        Trace(tuple(numbered(1, 2)), (1.0,), by_number)


SCORES = st.lists(st.floats(-9, 9), min_size=1, max_size=12)


@given(
    scores=SCORES,
    value=st.floats(0, 20),
    least=st.integers(1, 4),
    step=st.integers(1, 4),
)
def test_replays_agree_with_the_real_thing(
    scores: list[float], value: float, least: int, step: int
) -> None:
    candidates = tuple(numbered(*scores))
    trace = Trace(candidates, tuple(scores), by_number)
    (found,) = tradeoffs([trace], [value], least=least, step=step)
    best = draw_until_clear(
        lambda n: candidates[:n],
        by_number,
        most=len(candidates),
        rule=StopRule(value, least, step),
    )
    assert found.answers == len(best)
    assert found.quality == best[0].score
    assert found.lost >= 0  # here the score is the quality
