"""The comparison of histories: whose records answer which case, and what it shows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hydra_cli.core.records import History, Query, QueryContext, Record, TrainingExample
from hydra_cli.core.tasks import PRESETS
from hydra_cli.models.hash_encoder import HashEncoder
from tests.benchmarks import compare_histories, suites

ENCODER = HashEncoder(16)
RATING = PRESETS["LaMP_3"]


def history(user: str, *texts: str) -> History:
    records = [Record(user, f"{user}{i}", "LaMP_3", text, "4") for i, text in enumerate(texts)]
    return History(user, tuple(records), ENCODER.encode(texts))


def case(own: History, text: str = "asked") -> TrainingExample:
    query = Query(own.user, f"{own.user} query", "LaMP_3", text)
    return TrainingExample(QueryContext(query, ENCODER.encode([text])[0], own), "3")


def test_a_stranger_is_someone_else_of_like_length_without_the_query() -> None:
    histories = [history("a", "x", "y"), history("b", "z", "asked", "w"), history("c", *"pqrstuv")]
    cases = [case(own) for own in histories]
    others = suites.strangers(cases, histories)
    assert {user: other.user for user, other in others.items()} == {"a": "b", "b": "a", "c": "b"}
    seen = suites.with_history(cases[0], others["a"]).context.history
    assert [record.input for record in seen.records] == ["w"]
    assert seen.user == "a"


def test_newest_records_are_the_last_ones() -> None:
    whole = case(history("a", "x", "y", "z"))
    assert [r.input for r in suites.newest(whole, 2).context.history.records] == ["y", "z"]
    assert len(suites.newest(whole, 0).context.history) == 0
    assert len(suites.newest(whole, 9).context.history) == 3


def test_training_cases_see_only_what_is_older() -> None:
    part = suites.Part((history("a", "x", "y", "x", "z"),), ())
    cases = suites.newest_cases(part, RATING, 2)
    assert [[r.input for r in c.context.history.records] for c in cases] == [["y"], ["x", "y", "x"]]


def test_unseen_takes_the_very_texts_out() -> None:
    kept = suites.unseen([history("a", "x", " Asked ", "y")], [case(history("b"))])
    assert [record.input for record in kept[0].records] == ["x", "y"]


def test_the_table_shows_errors_and_paired_gains_over_users() -> None:
    cases = [case(history("a")), case(history("a")), case(history("b"))]
    shown = compare_histories.show("title", cases, {"own": [-1, 0, 0], "x": [-2, -1, -1]}, RATING)
    assert "(3 queries, 2 users)" in shown
    assert "| own | 0.333 |  |" in shown
    assert "| x | 1.333 | +1.000 [+1.000, +1.000] |" in shown


@pytest.mark.shared
def test_one_small_task_end_to_end(shared: Path) -> None:
    folder = shared / "data" / "lamp"
    assert suites.closed_tasks(folder) == ["LaMP_2M", "LaMP_2N", "LaMP_3"]
    assert suites.closed_tasks(shared / "data" / "long", ["jokes", "commits"]) == ["jokes"]
    suite = suites.read_suite(folder, "LaMP_2M", ENCODER)
    cases, found = compare_histories.dev_values(suite, ENCODER, without_items=True)
    assert len(cases) == 25
    assert {len(values) for values in found.values()} == {25}
    assert np.mean(found[compare_histories.OWN]) > 0
    answers = suites.recorded_answers(shared / "data" / "recorded", "LaMP_2M")
    asked, values = compare_histories.answer_values(suite, ENCODER, answers)
    assert len(asked) == 25
    assert list(values) == ["0 answers", "1 answers", "8 answers"]
