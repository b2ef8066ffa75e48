"""Raw output to answers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hydra_cli.llm.answer_text import clean_answer, has_reasoning


@pytest.mark.parametrize(
    ("raw", "answer"),
    [
        ("plain", "plain"),
        ("  spaced \n", "spaced"),
        ("<think>a</think>b", "b"),
        ("<think>a</think>b<think>c</think>d", "bd"),
        ("<THINK>\na\nb\n</THINK>\n\nc", "c"),
        ("<think>never ends", ""),
        ("b <think>never ends", "b"),
        ("thought by a template</think>\nb", "b"),
        ("<thinking>a</thinking>b", "b"),
        ("<reasoning>a</reasoning>b", "b"),
        ("answer<|im_end|>\n<|im_start|>user", "answer"),
        ("answer</s>", "answer"),
        ("answer<end_of_turn>", "answer"),
        ("I think < 3", "I think < 3"),
        ("", ""),
    ],
)
def test_clean_answer(raw: str, answer: str) -> None:
    assert clean_answer(raw) == answer


@pytest.mark.parametrize(
    ("stop", "answer"),
    [(["\n"], "one"), (["two", "one"], ""), ([""], "one\ntwo"), ([], "one\ntwo")],
)
def test_stop_strings(stop: list[str], answer: str) -> None:
    assert clean_answer(" one\ntwo", stop) == answer


@given(st.text())
def test_cleaning_twice_changes_nothing_more(text: str) -> None:
    once = clean_answer(text)
    assert clean_answer(once) == once
    assert not has_reasoning(once)
