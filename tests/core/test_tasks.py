"""Label parsing, question splitting, presets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hydra_cli.core.tasks import PRESETS, TaskSpec, clean_line

NEWS = TaskSpec("t", "classification", "", labels=("media", "weird news", "world news", "news"))
STARS = PRESETS["LaMP_3"]


@pytest.mark.parametrize(
    ("answer", "label"),
    [
        ("media", "media"),
        ("  Weird News. ", "weird news"),
        ('"world news"\nbecause of this', "world news"),
        ("The category is world news", "world news"),
        ("news", "news"),
        ("social mediation", None),
        ("", None),
        ("media, news", "media"),
        ("\n\nmedia", "media"),
    ],
)
def test_label_is_found_in_an_answer(answer: str, label: str | None) -> None:
    assert NEWS.parse(answer) == label


@pytest.mark.parametrize(
    ("answer", "rating"),
    [
        ("5", "5"),
        ("I say 4.", "4"),
        ("3.0", "3"),
        ("3.5", "3"),
        ("3.6", "4"),
        ("0.9", None),
        ("7", None),
        ("ten", None),
    ],
)
def test_rating_is_a_value_of_the_scale_or_nothing(answer: str, rating: str | None) -> None:
    assert STARS.parse(answer) == rating


@given(st.text(max_size=300))
def test_parsing_never_fails_and_stays_inside_the_closed_set(text: str) -> None:
    assert NEWS.parse(text) in (None, *NEWS.labels)
    assert STARS.parse(text) in (None, *STARS.labels)
    line = PRESETS["LaMP_4"].parse(text)
    assert line is None or ("\n" not in line and line == line.strip())


@given(st.sampled_from(NEWS.labels))
def test_every_label_parses_to_itself(label: str) -> None:
    assert NEWS.parse(label.upper()) == label


def test_a_query_gives_its_own_labels() -> None:
    question = (
        "Which category does this article relate to among the following categories? "
        "categories: [a b, c] article: The article: text."
    )
    assert PRESETS["LaMP_2N"].split_question(question) == ("The article: text.", ("a b", "c"))


def test_a_text_without_the_marker_is_all_content() -> None:
    assert STARS.split_question(" fine strings ") == ("fine strings", STARS.labels)


def test_first_line_loses_quotes() -> None:
    assert clean_line('\n  "A *Title*"\nmore') == "A *Title"
