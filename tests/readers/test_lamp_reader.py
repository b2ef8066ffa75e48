"""Profiles of LaMP question files as rows."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from hydra_cli.core.tasks import PRESETS
from hydra_cli.readers import BadRow, Row, iter_rows
from hydra_cli.readers.lamp import is_question, match_task, profile_rows

NEWS = "among the following categories? categories: [arts, sports] article: Rain stops play."
ITEMS = {
    "LaMP_2N": {"id": "1", "text": "a", "title": "b", "category": "arts"},
    "LaMP_2M": {"id": "1", "description": "a", "tag": "b"},
    "LaMP_3": {"id": "1", "text": "a", "score": "5"},
    "LaMP_4": {"id": "1", "text": "a", "title": "b"},
    "LaMP_5": {"id": "1", "title": "a", "abstract": "b"},
}
QUESTIONS = {
    "LaMP_2N": NEWS,
    "LaMP_2M": "tags: [fun, dark] description: A man walks.",
    "LaMP_3": "just answer with 1, 2, 3, 4, or 5. review: Works.",
    "LaMP_4": "Generate a headline for the following article: Rain stops play.",
    "LaMP_5": "Generate a title for the following abstract of a paper: We show.",
}


def question(key: str, profile: list[dict[str, Any]], **more: str) -> dict[str, Any]:
    return {"id": key, "input": QUESTIONS["LaMP_4"], "profile": profile, **more}


def rows_of(questions: list[dict[str, Any]]) -> list[Row | BadRow]:
    given = [Row(i, q) for i, q in enumerate(questions, 1)]
    return list(profile_rows(given, PRESETS["LaMP_4"], set()))


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_presets_are_told_apart(name: str) -> None:
    asked = {"id": "q", "input": QUESTIONS[name], "profile": [ITEMS[name]]}
    assert is_question(asked)
    assert match_task(asked, PRESETS.values()) == PRESETS[name]


def test_an_unknown_question_matches_nothing() -> None:
    asked = {"id": "q", "input": "which reference is related?", "profile": [ITEMS["LaMP_5"]]}
    assert match_task(asked, PRESETS.values()) is None


@pytest.mark.parametrize(
    "fields",
    [{}, {"id": 1, "input": "x"}, {"id": 1, "input": "x", "profile": "y"},
     {"id": 1, "input": "x", "profile": [1]}, {"id": 1, "input": 2, "profile": []}],
)  # fmt: skip
def test_other_rows_are_no_questions(fields: dict[str, Any]) -> None:
    assert not is_question(fields)


def test_a_profile_shared_by_questions_of_one_user_comes_once() -> None:
    first = [{"id": "1", "text": "a", "title": "b"}, {"id": "2", "text": "c", "title": "d"}]
    later = [*first, {"id": "3", "text": "e", "title": "f"}]
    rows = rows_of(
        [question("q1", first, user_id="u"), question("q2", later, user_id="u"),
         question("q3", first, user_id="v")]
    )  # fmt: skip
    found = [(row.fields["user_id"], row.fields["id"]) for row in rows if isinstance(row, Row)]
    assert found == [("u", "1"), ("u", "2"), ("u", "3"), ("v", "1"), ("v", "2")]


def test_an_item_that_changed_comes_again() -> None:
    rows = rows_of(
        [question("q1", [{"id": "1", "text": "a", "title": "b"}], user_id="u"),
         question("q2", [{"id": "1", "text": "a", "title": "other"}], user_id="u")]
    )  # fmt: skip
    assert len(rows) == 2


def test_without_user_id_each_question_is_its_own_user() -> None:
    item = {"id": "1", "text": "a", "title": "b"}
    rows = rows_of([question("q1", [item]), question("q2", [item])])
    assert [row.fields["user_id"] for row in rows if isinstance(row, Row)] == ["q1", "q2"]


def test_labels_that_questions_offer_are_collected() -> None:
    labels: set[str] = set()
    asked = {"id": "q", "input": NEWS, "profile": [ITEMS["LaMP_2N"]]}
    list(profile_rows([Row(1, asked)], PRESETS["LaMP_2N"], labels))
    assert labels == {"arts", "sports"}


def test_rows_between_questions_are_rejected() -> None:
    rows = rows_of([question("q1", []), {"id": "x", "output": "y"}])
    assert isinstance(rows[0], BadRow)


@pytest.mark.shared
@pytest.mark.parametrize("name", sorted(PRESETS))
def test_real_files(shared: Path, name: str) -> None:
    path = shared / "data" / "lamp" / name / "train_questions.json"
    questions = json.loads(path.read_text())
    # Some ids of LaMP_5 stand for several papers: the content belongs to the comparison.
    expected = {(q["user_id"], json.dumps(item)) for q in questions for item in q["profile"]}
    assert match_task(questions[0], PRESETS.values()) == PRESETS[name]
    rows = profile_rows(iter_rows(path, io.BytesIO()), PRESETS[name], set())
    found = [
        (row.fields.pop("user_id"), json.dumps(row.fields)) for row in rows if isinstance(row, Row)
    ]
    assert set(found) == expected
    assert len(found) == len(expected)
