"""What a task's outputs say of how long its answers may be."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hydra_cli.core.answer_shape import (
    LEAST_TOKENS,
    MOST_TOKENS,
    AnswerShape,
    estimated_tokens,
    line_count,
)

LETTER = "Dear Ms Hale,\n\nthe mug is safe to wash.\n- top rack\n- 60 degrees\n\nRegards\nMia"


def shape_of(*outputs: str) -> AnswerShape:
    shape = AnswerShape()
    shape.add(outputs)
    return shape


def test_letters_have_lines_and_headlines_have_one() -> None:
    assert shape_of(*[LETTER] * 20).multiline
    assert not shape_of(*["Council closes the pool"] * 20).multiline
    assert not shape_of().multiline
    assert str(shape_of(*[LETTER] * 20)) == "texts of 8 lines"
    assert str(shape_of("a", "a\nb\nc")) == "texts of 1 to 3 lines"
    assert str(shape_of("one line")) == "texts of one line"


def test_one_odd_line_break_in_a_hundred_headlines_changes_nothing() -> None:
    assert not shape_of(*["headline"] * 99, "two\nlines").multiline


@given(st.lists(st.text(max_size=400), min_size=1, max_size=40))
def test_nearly_all_outputs_fit_into_an_answer(outputs: list[str]) -> None:
    shape = shape_of(*outputs)
    assert LEAST_TOKENS <= shape.answer_tokens <= MOST_TOKENS
    fitting = sum(estimated_tokens(text) <= shape.answer_tokens for text in outputs)
    assert fitting >= 0.95 * len(outputs) - 1e-9


@pytest.mark.parametrize(
    ("text", "lines"), [("", 1), ("a", 1), ("a\nb", 2), ("a\r\nb\rc", 3), ("a\n\nb", 3)]
)
def test_lines_however_they_are_written(text: str, lines: int) -> None:
    assert line_count(text) == lines
