"""Columns and task kinds, guessed from rows."""

from __future__ import annotations

import pytest

from hydra_cli.core.errors import DataError
from hydra_cli.core.recognition import OutputStatistics, guess_columns, scale_of


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (
            {"user": "u", "id": "1", "task": "t", "input": "a", "output": "b", "time": "2020"},
            "input=input, output=output, user=user, time=time, id=id, task=task",
        ),
        ({"text": "a", "title": "b", "author": "u"}, "input=text, output=title, user=author"),
        ({"abstract": "a", "title": "b"}, "input=abstract, output=title"),
        (
            {"User ID": "u", "Body": "a", "Label": "b", "Created-At": "2020"},
            "input=Body, output=Label, user=User ID, time=Created-At",
        ),
        (
            {"review": "a", "title": "c", "stars": 4, "customer_id": 7},
            "input=review, output=stars, user=customer_id",
        ),
        ({"question": "a", "verdict": "b", "user": "u"},
         "input=question, output=verdict, user=user"),
    ],
)  # fmt: skip
def test_guesses_columns(row: dict[str, object], expected: str) -> None:
    rows = [{**row, **({"user": "u"} if row.get("user") else {})}]
    assert str(guess_columns(rows, {}, source="x")) == expected


def test_given_columns_win_over_guesses() -> None:
    rows = [{"text": "a", "title": "b", "category": "c", "user": "u"}]
    columns = guess_columns(rows, {"output": "title", "input": "text"}, source="x")
    assert (columns.input, columns.output) == ("text", "title")


def test_columns_of_all_rows_count() -> None:
    rows = [{"input": "a"}, {"output": "b", "user": "u"}]
    assert guess_columns(rows, {}, source="x").output == "output"


def test_a_missing_column_is_named_with_those_there() -> None:
    with pytest.raises(DataError, match="no column 'bdy' for input") as error:
        guess_columns([{"body": "a", "label": "b"}], {"input": "bdy"}, source="x")
    assert "body, label" in str(error.value.hint)


def test_ambiguous_columns_ask_for_a_map() -> None:
    with pytest.raises(DataError, match="is the output") as error:
        guess_columns([{"input": "a", "x": "b", "y": "c"}], {}, source="x")
    assert '--map "output=x"' in str(error.value.hint)


@pytest.mark.parametrize(
    ("outputs", "column", "kind", "values"),
    [
        (["bug", "praise", "bug", "bug", "praise", "bug"], "output", "classification",
         ("bug", "praise")),
        (["bug", "praise"], "label", "classification", ("bug", "praise")),
        (["bug", "praise"], "output", "generation", ()),
        (["1", "5", "4", "4"], "output", "rating", ("1", "2", "3", "4", "5")),
        (["4", "5"], "stars", "rating", ("1", "2", "3", "4", "5")),
        (["0.5", "3.5", "5", "5"], "output", "rating",
         ("0.5", "1", "1.5", "2", "2.5", "3", "3.5", "4", "4.5", "5")),
        (["0", "1", "0", "1", "1", "0"], "output", "classification", ("0", "1")),
        (["2019", "2020", "2021", "2021"], "output", "generation", ()),
        (["A fine headline", "Another one", "A third"], "title", "generation", ()),
        (["x" * 65] * 9, "label", "generation", ()),
    ],
)  # fmt: skip
def test_recognises_kinds(
    outputs: list[str], column: str, kind: str, values: tuple[str, ...]
) -> None:
    statistics = OutputStatistics(column)
    statistics.add(outputs)
    assert statistics.kind() == kind
    shown = {"classification": statistics.labels, "rating": statistics.scale}
    assert shown.get(kind, ()) == values


def test_statistics_of_batches_are_those_of_the_whole() -> None:
    outputs = ["a", "b", "c"] * 4
    whole, parts = OutputStatistics(), OutputStatistics()
    whole.add(outputs)
    for start in range(0, 12, 5):
        parts.add(outputs[start : start + 5])
    assert parts.kind() == whole.kind() == "classification"
    assert parts.labels == whole.labels
    assert parts.shape.answer_tokens == whole.shape.answer_tokens


def test_memory_stays_constant_with_distinct_outputs() -> None:
    statistics = OutputStatistics()
    statistics.add(f"output {i}" for i in range(10_000))
    assert statistics.labels == ()
    assert statistics.kind() == "generation"


@pytest.mark.parametrize(
    ("numbers", "scale"),
    [
        ({3.0}, "12345"),
        ({0.0, 3.0}, "012345"),
        ({0.1}, ""),
        ({1.0, 100.0}, ""),
        ({-1.0, 0.0, 1.0}, "-101"),
        (set(), ""),
    ],
)
def test_scales(numbers: set[float], scale: str) -> None:
    assert "".join(scale_of(numbers)) == scale


def test_all_missing_columns_are_told_at_once_with_a_map_to_try() -> None:
    rows = [{"agent": "u", "message": "a long message", "reply text": "a longer reply than that"}]
    with pytest.raises(DataError, match=r"no column 'x' for input, 'y' for output"):
        guess_columns(rows, {"input": "x", "output": "y"}, source="f")
    odd = [{"wer": "u", "frage": "a long message", "antwort": "a longer reply than that"}]
    with pytest.raises(DataError, match="columns of f are the input and the output") as caught:
        guess_columns(odd, {}, source="f")
    assert '--map "input=frage,output=antwort"' in str(caught.value.hint)
