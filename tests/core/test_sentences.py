from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hydra_cli.core.sentences import whole_sentences


@pytest.mark.parametrize(
    ("cut", "whole"),
    [
        ("Close the file after use. It was left op", "Close the file after use."),
        ("Solve it by hand, please! For example, $x^2 + y", "Solve it by hand, please!"),
        (
            "Hi Ann!\nThe mug is safe in a dishwasher (we tried it). Do you want t",
            "Hi Ann!\nThe mug is safe in a dishwasher (we tried it).",
        ),
        ("それは安全です。食器洗い機に入れても", "それは安全です。"),
        ('He said "never do that." Then h', 'He said "never do that."'),
    ],
)
def test_a_text_that_was_cut_ends_after_a_sentence(cut: str, whole: str) -> None:
    assert whole_sentences(cut) == whole


@pytest.mark.parametrize(
    "text",
    [
        "a line without any end",
        "It works for the others, e.g. Ann and Mr. Webb and for",
        "Steps to take from here:\n1. Open it up\n2. Close i",
        "since v4.2. The old one is numpy.linalg, which",
        "use the function. then the rest in small letters",
        "взять например. чашку из новой серии и пос",
        "Hi Ann! The mug is safe in a dishwasher and in the oven and on the",
        "All of it is there. Every sentence of it.",
        "",
    ],
)
def test_what_has_no_end_or_too_little_before_it_stays(text: str) -> None:
    assert whole_sentences(text) == text


@given(st.text(alphabet="abC. !?\n1(”。"))
def test_what_is_kept_begins_the_text_and_keeps_its_third(text: str) -> None:
    kept = whole_sentences(text)
    assert text.startswith(kept)
    assert 3 * len(kept) >= len(text)
    assert whole_sentences(kept) == kept
