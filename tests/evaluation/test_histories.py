"""The same method on another history: whose it is, what is cut, what may not leak."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hydra_cli.core.errors import UsageError
from hydra_cli.core.tasks import PRESETS
from hydra_cli.evaluation.as_json import task_mapping
from hydra_cli.evaluation.histories import Histories, Variant, donors
from hydra_cli.evaluation.methods import parse_methods, suited
from hydra_cli.evaluation.questions import folded, people
from hydra_cli.models.hash_encoder import HashEncoder
from hydra_cli.workflows.evaluate import Material
from tests.evaluation.helpers import echo_chat, material, run

OTHER, NONE, NEWEST = Variant("other"), Variant("none"), Variant(newest=2)


def chunk_of(data: Material, *variants: Variant, seed: int = 0) -> tuple[Histories, dict]:  # type: ignore[type-arg]
    histories = Histories(data.questions, HashEncoder(), frozenset(variants), seed)
    return histories, histories.chunk(data.questions)


def test_a_donor_is_nearest_in_length_and_the_seed_decides_between_equals() -> None:
    lengths = {"a": 5, "b": 6, "c": 50, "d": 60, "e": 5}
    found = donors(lengths, seed=0)
    assert (found["c"], found["d"], found["a"], found["e"]) == ("d", "c", "e", "a")
    assert found["b"] in "ae"
    assert donors(lengths, seed=0) == found
    assert len({donors(lengths, seed=seed)["b"] for seed in range(20)}) == 2
    assert donors({"a": 3}, seed=0) == {}
    assert donors({"a": 3, "b": 0, "c": 9}, seed=0) == {"a": "c", "b": "a", "c": "a"}


def test_another_users_history_is_no_longer_than_the_own_and_nobody_elses() -> None:
    data = material("LaMP_4")
    histories, found = chunk_of(data, OTHER)
    own, other = found[Variant()], found[OTHER]
    written = {user: {r.input for r in h.records} for user, h in own.histories.items()}
    for mine, theirs in zip(own.contexts, other.contexts, strict=True):
        user = mine.query.user
        assert theirs.query is mine.query
        assert min(1, len(mine.history)) <= len(theirs.history) <= len(mine.history)
        assert {r.input for r in theirs.history.records} <= written[histories.donors[user]]
        assert {r.user for r in theirs.history.records} <= {user}
        assert len(theirs.history.inputs) == len(theirs.history)
    # Nothing of the user's own is left for the head.
    for user, history in other.histories.items():
        assert not {r.input for r in history.records} & written[user]


def test_records_of_another_user_that_ask_the_query_itself_are_left_out() -> None:
    data = material("LaMP_4")
    item = data.questions.items[0]
    histories, _ = chunk_of(data, OTHER)
    donor = histories.donors[item.query.user]
    lent = next(i for i in data.questions.items if i.query.user == donor).records[-1]
    asked = replace(item, query=replace(item.query, text=f" {lent.input.upper()} "))
    data = Material(
        replace(
            data.questions,
            items=(asked, *data.questions.items[1:]),
            references=data.questions.references,
        ),
        None,
    )
    _, found = chunk_of(data, OTHER)
    inputs = {folded(r.input) for r in found[OTHER].contexts[0].history.records}
    assert inputs
    assert folded(lent.input) not in inputs


def test_none_and_newest_cut_the_own_history() -> None:
    data = material("LaMP_4")
    _, found = chunk_of(data, NONE, NEWEST)
    for own, none, newest in zip(
        *(found[v].contexts for v in (Variant(), NONE, NEWEST)), strict=True
    ):
        assert len(none.history) == 0
        assert newest.history.records == own.history.records[-2:]
        assert (newest.history.inputs == own.history.inputs[-2:]).all()


@pytest.mark.parametrize("task", ["LaMP_4", "LaMP_3"])
def test_every_method_runs_on_every_history(task: str) -> None:
    names = [
        f"{method}{variant}"
        for method in ("zero-shot", "rag-bm25", "pag", "rerank", "adapt", "hydra-pers")
        for variant in ("", "@history=other", "@history=none", "@newest=3")
    ]
    chat = echo_chat()
    result = run(task, ",".join([*names, "hydra-pers-zero@newest=3"]), chat=chat)
    assert result.complete
    answers = {
        name: {p.key: p.text for p in method.predictions} for name, method in result.methods.items()
    }
    # Without evidence the history plays no part; RAG without any is the query alone.
    for variant in ("@history=other", "@history=none", "@newest=3"):
        assert answers[f"zero-shot{variant}"] == answers["zero-shot"]
    assert answers["rag-bm25@history=none"] == answers["zero-shot"]
    assert answers["rag-bm25@history=other"] != answers["rag-bm25"]
    lengths = {p.records for p in result.methods["hydra-pers@newest=3"].predictions}
    assert max(lengths) == 3
    found = task_mapping(result)
    assert found["donors"].keys() == set(data_users(task))
    contrasts = {(c["method"], c["against"]): c for c in found["contrasts"]}
    same = contrasts["zero-shot", "zero-shot@history=other"]
    assert (same["difference"], same["interval"]) == (0.0, [0.0, 0.0])
    ours = contrasts["hydra-pers", "hydra-pers@history=none"]
    methods = result.methods
    assert ours["difference"] == pytest.approx(
        methods["hydra-pers"].quality - methods["hydra-pers@history=none"].quality
    )
    assert ours["interval"][0] <= ours["difference"] <= ours["interval"][1]


def data_users(task: str) -> tuple[str, ...]:
    return material(task).questions.users


def test_controls_need_no_llm_and_look_at_everybody() -> None:
    chat = echo_chat()
    result = run("LaMP_3", "knn,knn-all,hydra-pers@n=0,median", chat=chat)
    assert chat.requests
    assert result.methods["hydra-pers@n=0"].usage.calls == 0
    assert result.complete
    answers = [
        {p.key: p.text for p in result.methods[name].predictions} for name in ("knn", "knn-all")
    ]
    assert answers[0] != answers[1]
    lead = run("LaMP_4", "lead,zero-shot")
    by_key = {item.key: item for item in material("LaMP_4").questions.items}
    for prediction in lead.methods["lead"].predictions:
        item = by_key[prediction.key]
        words = sum(len(r.output.split()) for r in item.records)
        count = round(1.5 * words / len(item.records)) if item.records else 1
        assert item.query.text.split()[:count] == prediction.text.split()


def test_a_contrast_changes_one_thing() -> None:
    names = "median,hydra-pers@n=0,hydra-pers@n=0@newest=1,hydra-pers@newest=1@n=0"
    found = [(c.method, c.against) for c in run("LaMP_3", names).contrasts]
    assert found == [
        ("hydra-pers@n=0", "hydra-pers@n=0@newest=1"),
        ("hydra-pers@n=0", "hydra-pers@newest=1@n=0"),
    ]


def test_the_llm_is_needed_for_texts_and_by_the_others() -> None:
    for bad in ("consensus@n=0", "rerank@n=0", "hydra@n=0", "hydra-pers@newest=0"):
        with pytest.raises(UsageError):
            parse_methods(bad)
    fit, notes = suited(parse_methods("hydra-pers@n=0"), PRESETS["LaMP_4"])
    assert (fit, len(notes)) == ((), 1)
    with pytest.raises(UsageError):
        parse_methods("hydra-pers@history=mine")


def test_one_author_with_two_ids_is_one_person() -> None:
    data = material("LaMP_4").questions
    names = people(data)
    assert len(set(names.values())) == len(names) == len(data.users)
    renamed = replace(
        data,
        items=tuple(
            replace(item, query=replace(item.query, user=f"other-{item.query.user}"))
            for item in reversed(data.items)
        ),
    )
    again = people(renamed)
    for user, name in names.items():
        has_records = any(item.records for item in data.items if item.query.user == user)
        assert (again[f"other-{user}"] == name) == has_records
    # Where two users of a task have the very same records, their ids tell them apart.
    twins = replace(data, items=(data.items[0], replace(renamed.items[-1])))
    assert set(people(twins).values()) == set(twins.users)


def test_gains_over_controls_stand_beside_those_over_prompts() -> None:
    result = run("LaMP_3", "zero-shot,rag-bm25,median,knn,hydra-pers")
    best = {name: result.best[name] for name in ("prompt", "control", "either")}
    assert best["control"] in ("median", "knn")
    assert best["either"] in (best["prompt"], best["control"])
    for baseline in ("prompt", "control", "either"):
        found = result.methods[best[baseline]].gains[baseline]
        assert (found.value, found.low, found.high) == (0.0, 0.0, 0.0)
    mapping = task_mapping(result)
    assert mapping["best_control"] == best["control"]
    ours = mapping["methods"]["hydra-pers"]
    ratios = [
        result.methods[best["control"]].metrics[m] / result.methods["hydra-pers"].metrics[m]
        for m in ("MAE", "RMSE")
    ]
    assert ours["gain_over_control"]["relative"] == pytest.approx(
        (ratios[0] * ratios[1]) ** 0.5 - 1
    )


def test_a_rating_between_two_labels_is_the_nearest_one() -> None:
    stars = PRESETS["LaMP_3"]
    assert [stars.parse(text) for text in ("4.5", "about 3.8 stars", "4.0", "7", "0.4")] == [
        "4",
        "4",
        "4",
        None,
        None,
    ]


def test_items_seen_in_training_stand_apart() -> None:
    data = material("LaMP_3")
    assert data.train is not None
    known = data.train.items[0].records[0].input
    first, *others = data.questions.items
    asked = replace(first, query=replace(first.query, text=f"  {known.upper()}"))
    data = Material(replace(data.questions, items=(asked, *others)), data.train)
    result = run("LaMP_3", "median,knn-all,zero-shot", data=data)
    assert first.key in result.seen
    assert len(result.seen) < result.queries
    found = task_mapping(result)["seen_in_training"]
    assert found["queries"] == len(result.seen)
    seen = [p.quality for p in result.methods["knn-all"].predictions if p.key in result.seen]
    assert found["quality"]["knn-all"][0] == pytest.approx(sum(seen) / len(seen))
    assert task_mapping(run("LaMP_4", "zero-shot"))["seen_in_training"]["quality"] == {}
