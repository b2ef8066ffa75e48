"""What every store must do, asked of the one on a disk and of the one in memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from hydra_cli.core.errors import DataError, NotFound, StoreError, UsageError
from hydra_cli.core.progress import Silent
from hydra_cli.core.records import Record
from hydra_cli.core.sortable_ids import new_id
from hydra_cli.core.tasks import TaskSpec
from hydra_cli.core.weights import Card, Weights
from hydra_cli.models.hash_encoder import HashEncoder
from hydra_cli.store.lance_store import LanceStore
from hydra_cli.store.memory import MemoryHistoryStore
from hydra_cli.store.scope import Scope
from tests.store.store_helpers import kept, record

if TYPE_CHECKING:
    from hydra_cli.store.contract import Store

Made = Callable[[str], "Store"]

MOOD = TaskSpec("mood", "classification", "Name the mood.", labels=("calm", "loud"))
ENCODER = HashEncoder(16)


@pytest.fixture(params=["disk", "memory"])
def made(request: pytest.FixtureRequest, tmp_path: Path) -> Made:
    """A new store by name."""
    if request.param == "memory":
        return lambda name: MemoryHistoryStore()
    return lambda name: LanceStore.open(tmp_path / name, create=True)


@pytest.fixture
def store(made: Made) -> Store:
    """Two users with five records of two tasks each, and vectors of them."""
    store = made("store")
    for user in ("ann", "bob"):
        for task in ("t", "s"):
            store.add([replace(record(user, i, task=task), id=f"{task}{i}") for i in range(5)])
            embed(store, user, task)
    return store


def embed(store: Store, user: str, task: str, encoder: HashEncoder = ENCODER) -> None:
    own = store.records(user, task=task)
    inputs = encoder.encode([r.input for r in own])
    outputs = encoder.encode([r.output for r in own])
    given = [(r.id, inputs[i], outputs[i]) for i, r in enumerate(own)]
    store.put_vectors(user, task, encoder.fingerprint, given)


def fitted(
    seed: int, users: tuple[str, ...], task: str = "t"
) -> tuple[Weights, dict[str, Weights]]:
    card = Card("base", "facets", task, ENCODER.fingerprint, seed=seed)
    base = Weights(card, {"w": np.full(4, float(seed), np.float32)})
    return base, {
        user: base.head(user, {"w": np.arange(3.0)}, seed=seed, counts={}, settings={})
        for user in users
    }


def save(store: Store, seed: int, *users: str, task: str = "t", new_base: bool = True) -> Weights:
    base, heads = fitted(seed, users, task)
    store.save_fit(task, "facets", base=base, heads=heads, new_base=new_base)
    return base


# -- records


def test_records_come_back_oldest_first(store: Store) -> None:
    own = store.records("ann", task="t")
    assert [r.id for r in own] == ["t0", "t3", "t1", "t2", "t4"], "without a time first"
    assert own[2] == replace(record("ann", 1), id="t1")
    assert [r.id for r in store.records("ann", task="t", limit=2)] == ["t2", "t4"]
    assert store.records("ann", task="t", limit=0) == []
    assert len(store.records("ann")) == 10
    assert store.records("nobody") == []


def test_users_and_tasks_are_counted(store: Store) -> None:
    store.add([record("cyd", 1)])
    assert [(u.user, u.records, u.tasks) for u in store.users()] == [
        ("ann", 10, ("s", "t")), ("bob", 10, ("s", "t")), ("cyd", 1, ("t",)),
    ]  # fmt: skip
    assert store.users()[0].first == record("ann", 1).time
    assert store.users()[0].last == record("ann", 4).time
    assert store.tasks_of("ann") == [("s", 5), ("t", 5)]
    assert store.tasks_of("nobody") == []
    assert store.users_of("t") == [("ann", 5), ("bob", 5), ("cyd", 1)]
    assert store.tasks_of_record("ann", "t1") == ["t"]


def test_the_same_again_adds_nothing_and_other_content_is_refused(store: Store) -> None:
    known = store.records("ann", task="t")
    again = store.add([*known, replace(known[0], input=known[0].input + "\r\n")])
    assert (again.added, again.present, len(again.conflicting)) == (0, 5, 1)
    broken = replace(known[0], output="line\r\nbreak")
    assert store.add([replace(broken, id="new")]).added == 1
    assert store.add([replace(broken, id="new", output="line\nbreak")]).present == 1


def test_an_update_by_id_replaces_the_record_and_its_vectors(store: Store) -> None:
    old = store.records("ann", task="t")[2]
    new, other = replace(old, output="corrected"), replace(old, output="once more")
    result = store.add([new, other, record("ann", 7)], update="id")
    assert (result.replaced, result.added, result.conflicting) == (1, 1, (other,))
    assert store.records("ann", task="t")[2] == new, "in the place of the old one"
    assert set(store.vectors("ann", "t", ["t0", "t1"])) == {"t0"}
    assert set(store.vectors("bob", "t", ["t1"])) == {"t1"}


def test_an_update_by_content_needs_made_ids_and_no_doubt(made: Made) -> None:
    store = made("store")
    asked = Record("ann", "0" * 32, "t", "how much?", "one", None, {})
    named = replace(asked, id="ticket-1", input="how long?")
    store.add([asked, named])
    result = store.add(
        [replace(asked, id="1" * 32, output="two"), replace(named, id="2" * 32, output="two")],
        update="content",
    )
    assert (result.replaced, result.added) == (1, 1)
    assert {(r.id, r.output) for r in store.records("ann")} == {
        ("1" * 32, "two"), ("ticket-1", "one"), ("2" * 32, "two"),
    }  # fmt: skip


# -- vectors and searches


def test_vectors_come_back_and_those_of_no_record_are_dropped(store: Store) -> None:
    found = store.vectors("ann", "t", ["t1", "none"])
    assert set(found) == {"t1"}
    inputs, outputs = found["t1"]
    np.testing.assert_allclose(inputs, ENCODER.encode([record("ann", 1).input])[0], atol=1e-6)
    assert outputs is not None
    one = ENCODER.encode(["x"])[0]
    store.put_vectors("ann", "t", ENCODER.fingerprint, [("none", one, None)])
    assert store.vectors("ann", "t", ["none"]) == {}
    assert store.encoder is not None
    assert store.encoder.fingerprint == ENCODER.fingerprint


def test_vectors_of_what_a_record_said_before_are_dropped(store: Store) -> None:
    store.add([replace(record("ann", n), id=f"new{n}") for n in (7, 8)])
    read = [r for r in store.records("ann", task="t") if r.id.startswith("new")]
    store.add([replace(read[0], output="said otherwise meanwhile")], update="id")
    given = [(r.id, ENCODER.encode([r.input])[0], ENCODER.encode([r.output])[0]) for r in read]
    store.put_vectors("ann", "t", ENCODER.fingerprint, given, of=read)
    assert set(store.vectors("ann", "t", ["new7", "new8"])) == {"new8"}


def test_vectors_of_another_encoder_are_refused(store: Store) -> None:
    before = store.vectors("ann", "t", ["t1"])["t1"][0]
    with pytest.raises(StoreError, match="the store's vectors were made by"):
        embed(store, "ann", "t", HashEncoder(8))
    eight = np.ones(8, np.float32)
    with pytest.raises(StoreError, match="dimension 8"):
        store.put_vectors("ann", "t", ENCODER.fingerprint, [("t1", eight, None)])
    np.testing.assert_array_equal(store.vectors("ann", "t", ["t1"])["t1"][0], before)


def test_reindex_makes_every_vector_anew(store: Store) -> None:
    other = HashEncoder(8)
    done = store.reindex(other, closed=lambda task: task == "s", progress=Silent())
    assert done == (20, True)
    assert store.encoder is not None
    assert (store.encoder.name, store.encoder.dimension) == ("hash", 8)
    assert store.vectors("ann", "t", ["t1"])["t1"][1] is not None
    inputs, outputs = store.vectors("bob", "s", ["s1"])["s1"]
    assert (inputs.shape, outputs) == ((8,), None)
    embed(store, "ann", "t", other)
    assert store.reindex(other, closed=lambda task: False, progress=Silent()) == (20, False)


def test_searches_find_the_users_own_best(store: Store) -> None:
    wanted = record("ann", 3).input
    found = store.search_vector("ann", "t", ENCODER.encode([wanted])[0], 2)
    assert (found[0].item.id, len(found)) == ("t3", 2)
    assert found[0].score == pytest.approx(1.0, abs=1e-5)
    found = store.search_text("ann", "t", "3", 3)
    assert found[0].item.id == "t3"
    assert {scored.item.user for scored in found} == {"ann"}
    assert store.search_text("ann", "t", " ", 3) == []
    assert store.search_vector("nobody", "t", ENCODER.encode(["x"])[0], 3) == []


# -- weights and tasks


def test_a_fit_is_kept_and_a_new_base_drops_older_heads(store: Store) -> None:
    assert store.weights.base("t", "facets") is None
    assert not store.weights.any_base()
    first = save(store, 1, "ann", "bob")
    held = store.weights.base("t", "facets")
    assert held is not None
    assert held.fingerprint == first.fingerprint
    assert store.weights.any_base()
    assert store.weights.head("bob", "t", "facets") is not None
    save(store, 1, "bob", task="s")
    second = save(store, 2, "ann")
    head = store.weights.head("ann", "t", "facets")
    assert head is not None
    assert head.card.base == second.fingerprint
    assert store.weights.head("bob", "t", "facets") is None
    assert store.weights.head("bob", "s", "facets") is not None
    assert store.weights.base("t", "other") is None


def test_heads_alone_leave_base_and_other_heads(store: Store) -> None:
    save(store, 1, "ann")
    _, heads = fitted(1, ("bob",))
    store.save_fit("t", "facets", base=None, heads=heads, new_base=False)
    assert store.weights.base("t", "facets") is not None
    assert store.weights.head("ann", "t", "facets") is not None
    assert store.weights.head("bob", "t", "facets") is not None


def test_a_user_without_records_gets_no_head(store: Store) -> None:
    store.forget(Scope("bob", task="t"))
    save(store, 1, "ann", "bob", "nobody")
    assert store.weights.head("ann", "t", "facets") is not None
    assert store.weights.head("bob", "t", "facets") is None
    assert store.weights.head("nobody", "t", "facets") is None


def test_tasks_are_kept_and_labels_join(store: Store) -> None:
    assert store.tasks() == {}
    store.save_task(MOOD)
    kept = store.save_task(replace(MOOD, labels=("loud", "sad")))
    assert kept.labels == ("calm", "loud", "sad")
    assert store.tasks() == {"mood": kept}


# -- kept answers


def test_a_kept_answer_comes_back_as_it_was(store: Store) -> None:
    log = store.answer_log
    assert log.newest() == []
    assert log.get(new_id("ans")) is None
    first, second, hers = kept("ann"), kept("ann", "snow \u2603 \udcff", task="s"), kept("bob")
    for answer in (first, second, hers):
        assert log.keep(answer, days=30)
    assert log.get(first.id) == first
    assert log.get(second.id) == second
    assert {a.id for a in log.newest("ann")} == {first.id, second.id}
    assert log.newest("ann", task="s") == [second]
    assert [a.id for a in log.newest(limit=2)] == sorted(
        (a.id for a in log.newest()), reverse=True
    )[:2]
    assert log.newest("nobody") == []
    assert not log.keep(kept("ann"), days=0)
    assert len(log.newest()) == 3


@pytest.mark.parametrize("id", ["", "last", "' OR 1 --", "../../etc/passwd", "\udcff", "ans_%"])
def test_a_hostile_id_names_no_answer(store: Store, id: str) -> None:
    store.answer_log.keep(kept("ann"), days=30)
    assert store.answer_log.get(id) is None
    assert store.answer_log.newest(id) == []
    assert not store.answer_log.newest("ann", task=id)


def test_old_answers_go_in_passing(made: Made) -> None:
    store = made("store")
    old, young = kept("ann", days_ago=8), kept("ann", days_ago=6)
    store.answer_log.keep(young, days=30)
    other = made("other").answer_log
    other.load(store.answer_log.dump())
    other.load([{"answer": old.as_mapping()}])
    assert len(other.newest()) == 2
    other.keep(kept("bob"), days=7)
    assert other.newest("ann") == [young]


def test_kept_answers_are_forgotten_with_what_they_showed(store: Store) -> None:
    log = store.answer_log
    showing, plain, other, hers = (
        kept("ann", evidence=("t1", "t2")), kept("ann"), kept("ann", task="s"),
        kept("bob", evidence=("t1",)),
    )  # fmt: skip
    for answer in (showing, plain, other, hers):
        log.keep(answer, days=30)
    assert store.would_forget(Scope("ann", record="t1")).kept_answers == 1
    assert store.forget(Scope("ann", record="t1")).kept_answers == 1
    assert {a.id for a in log.newest()} == {plain.id, other.id, hers.id}
    store.forget(Scope("ann", task="s"))
    assert {a.id for a in log.newest()} == {plain.id, hers.id}
    assert store.forget(Scope("ann")).kept_answers == 1
    assert log.newest() == [hers]


def test_an_answer_under_way_while_its_user_is_forgotten_is_not_kept(store: Store) -> None:
    late, hers = kept("ann"), kept("bob")
    store.forget(Scope("ann"))
    assert not store.answer_log.keep(late, days=30)
    assert store.answer_log.keep(hers, days=30)
    store.add([record("ann", 1)], restore=True)
    assert store.answer_log.keep(kept("ann"), days=30), "asked after the restore"
    assert len(store.answer_log.newest()) == 2


# -- forgetting


def test_a_forgotten_user_is_gone_from_everywhere(store: Store) -> None:
    save(store, 1, "ann", "bob")
    plan = store.would_forget(Scope("ann"))
    assert (plan.records, plan.vectors, plan.heads) == (10, 10, 1)
    assert store.records("ann") != []
    assert store.forget(Scope("ann")) == plan
    assert store.records("ann") == []
    assert store.vectors("ann", "t", ["t1"]) == {}
    assert store.search_vector("ann", "t", ENCODER.encode(["x"])[0], 3) == []
    assert store.search_text("ann", "t", "question", 3) == []
    assert store.weights.head("ann", "t", "facets") is None
    assert store.weights.head("bob", "t", "facets") is not None
    assert [u.user for u in store.users()] == ["bob"]
    with pytest.raises(NotFound, match="no records of user 'ann'"):
        store.forget(Scope("ann"))


def test_what_was_forgotten_comes_back_only_when_told_so(store: Store) -> None:
    own = store.records("ann")
    store.forget(Scope("ann", task="t"))
    result = store.add(own)
    assert (result.present, len(result.forgotten), result.added) == (5, 5, 0)
    assert store.add(own, restore=True).added == 5
    store.forget(Scope("ann", record="s1"))
    assert len(store.add(own).forgotten) == 1
    store.forget(Scope("ann"))
    assert len(store.add([record("ann", 99)]).forgotten) == 1
    assert store.add([record("ann", 99)], restore=True).added == 1
    assert store.add([record("ann", 98)]).added == 1, "the mark went with the restore"


def test_one_task_or_one_record_takes_its_heads_along(store: Store) -> None:
    for task in ("t", "s"):
        save(store, 1, "ann", task=task)
    erased = store.forget(Scope("ann", record="t1"))
    assert (erased.records, erased.vectors, erased.heads) == (1, 1, 1)
    assert store.weights.head("ann", "t", "facets") is None
    assert store.forget(Scope("ann", task="s")).heads == 1
    assert store.tasks_of("ann") == [("t", 4)]
    with pytest.raises(NotFound, match="no record 't1'"):
        store.would_forget(Scope("ann", record="t1"))


def test_labels_that_nobody_else_used_are_forgotten(made: Made) -> None:
    store = made("store")
    said = {"ann": ("calm", "sad"), "bob": ("calm", "loud")}
    for user, outputs in said.items():
        store.add([Record(user, f"{i}", "mood", f"text {i}", out, None, {})
                   for i, out in enumerate(outputs)])  # fmt: skip
    store.save_task(replace(MOOD, labels=("calm", "loud", "sad")))
    store.forget(Scope("ann"))
    assert store.tasks()["mood"].labels == ("calm", "loud")
    store.forget(Scope("bob"))
    assert store.tasks() == {}


# -- archives


def test_kept_answers_travel_with_their_users(store: Store, made: Made, tmp_path: Path) -> None:
    hers, his = kept("ann", "snow \u2603"), kept("bob")
    for answer in (hers, his):
        store.answer_log.keep(answer, days=30)
    store.export(tmp_path / "ann.zip", users=["ann"], format="jsonl")
    other = made("other")
    assert other.import_archive(tmp_path / "ann.zip", restore=False).answers == 1
    assert other.answer_log.newest() == [hers]
    assert other.import_archive(tmp_path / "ann.zip", restore=False).answers == 0
    store.export(tmp_path / "all", users=[], format="jsonl")
    assert other.import_archive(tmp_path / "all", restore=False).answers == 1
    store.forget(Scope("ann"))
    done = store.import_archive(tmp_path / "all", restore=False)
    assert done.answers == 0, "the forgotten user's stay out, the other's are there"
    assert store.answer_log.newest() == [his]


@pytest.mark.parametrize("format", ["jsonl", "parquet"])
def test_a_store_round_trips(store: Store, made: Made, tmp_path: Path, format: str) -> None:
    base = save(store, 1, "ann", "bob")
    store.save_task(MOOD)
    manifest = store.export(tmp_path / "out.zip", users=[], format=format)  # type: ignore[arg-type]
    assert (manifest.records, manifest.vectors, manifest.whole) == (20, 20, True)
    other = made("other")
    done = other.import_archive(tmp_path / "out.zip", restore=False)
    assert (done.records, done.vectors, done.notes) == (20, 20, [])
    for user in ("ann", "bob"):
        assert other.records(user) == store.records(user)
        head = other.weights.head(user, "t", "facets")
        assert head is not None
        head.check_base(base)
    assert other.tasks() == store.tasks()
    assert other.encoder == store.encoder
    again = other.import_archive(tmp_path / "out.zip", restore=False)
    assert (again.records, again.present, again.vectors) == (0, 20, 0)


def test_an_import_leaves_out_who_was_forgotten(store: Store, made: Made, tmp_path: Path) -> None:
    save(store, 1, "ann", "bob")
    store.export(tmp_path / "out", users=["ann"], format="jsonl")
    with pytest.raises(NotFound):
        store.export(tmp_path / "none", users=["nobody"], format="jsonl")
    store.forget(Scope("ann"))
    done = store.import_archive(tmp_path / "out", restore=False)
    assert (done.records, done.forgotten) == (0, 10)
    assert store.weights.head("ann", "t", "facets") is None
    assert store.import_archive(tmp_path / "out", restore=True).records == 10
    assert store.weights.head("ann", "t", "facets") is not None
    (tmp_path / "junk.zip").write_bytes(b"no archive")
    with pytest.raises(DataError):
        store.import_archive(tmp_path / "junk.zip", restore=False)


# -- the disk alone


def test_a_second_opener_sees_what_the_first_writes(tmp_path: Path) -> None:
    first = LanceStore.open(tmp_path / "store", create=True)
    first.add([record("ann", 1)])
    second = LanceStore.open(tmp_path / "store", create=False)
    assert second.weights.base("t", "facets") is None
    one = save(first, 1, "ann")
    held = second.weights.base("t", "facets")
    assert held is not None
    assert held.fingerprint == one.fingerprint
    assert second.weights.base("t", "facets") is held, "read once while it stays the same"
    two = save(first, 2, "ann")
    found = second.weights.base("t", "facets")
    assert found is not None
    assert found.fingerprint == two.fingerprint
    first.forget(Scope("ann"))
    assert second.weights.head("ann", "t", "facets") is None
    assert second.records("ann") == []


def test_an_export_into_the_store_is_refused(tmp_path: Path) -> None:
    store = LanceStore.open(tmp_path / "store", create=True)
    store.add([record("ann", 1)])
    with pytest.raises(UsageError, match="own folder"):
        store.export(tmp_path / "store" / "out", users=[], format="jsonl")
    assert not (tmp_path / "store" / "out").exists()
