"""The LanceDB store does what ``HistoryStore`` says."""

from __future__ import annotations

import dataclasses
import logging
import os
import stat
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hydra_cli.core.errors import DataError, NotFound, StoreError, StoreVersion
from hydra_cli.core.records import Record
from hydra_cli.store import updating
from hydra_cli.store.keys import key_of, keys_of, record_key
from hydra_cli.store.lance_store import LanceStore
from tests.store.store_helpers import (
    DIMENSION,
    ENCODER,
    START,
    files_with,
    opened,
    put_vectors,
    record,
)

HOSTILE = ("../../x", "a" * 1000, "🙂\u202e", "' OR 1=1 --", "", "nul\0nul", "%2e%2e", "line\nline")


@pytest.fixture
def store(tmp_path: Path) -> LanceStore:
    return opened(tmp_path / "store")


def test_no_store_is_not_found_and_nothing_is_made(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        LanceStore.open(tmp_path / "none", create=False)
    assert list(tmp_path.iterdir()) == []


def test_a_batch_is_counted_and_a_second_run_adds_nothing(store: LanceStore) -> None:
    batch = [record("u1", i) for i in range(5)]
    assert store.add(batch).added == 5
    again = store.add([*batch, record("u1", 5)])
    assert (again.added, again.present) == (1, 5)
    assert len(store.records("u1")) == 6


def test_the_same_key_with_other_content_is_conflicting(store: LanceStore) -> None:
    first = record("u1", 1)
    store.add([first])
    for change in (
        {"input": "other"},
        {"output": "other"},
        {"time": None},
    ):
        changed = dataclasses.replace(first, **change)
        assert store.add([changed]).conflicting == (changed,)
    assert store.records("u1") == [first]


def test_other_metadata_and_line_breaks_are_no_conflict(store: LanceStore) -> None:
    first = dataclasses.replace(record("u1", 1), output="a\r\nb", metadata={"region": "x"})
    store.add([first])
    same = dataclasses.replace(first, output="a\nb", metadata={})
    result = store.add([same, dataclasses.replace(first, output="a\nc")])
    assert (result.added, result.present, len(result.conflicting)) == (0, 1, 1)
    assert store.records("u1") == [first]


def test_an_update_replaces_record_and_vectors_and_leaves_no_old_text(
    store: LanceStore,
) -> None:
    first = dataclasses.replace(record("u1", 1), output="the old secret reply")
    store.add([first, record("u1", 2)])
    put_vectors(store, "u1")
    changed = dataclasses.replace(first, output="the new reply")
    result = store.add([changed, record("u1", 2), record("u1", 3)], update="id")
    assert (result.added, result.present, result.replaced, result.conflicting) == (1, 1, 1, ())
    # The third has no time, and those lead.
    assert store.records("u1") == [record("u1", 3), changed, record("u1", 2)]
    assert set(store.vectors("u1", first.task, [first.id, record("u1", 2).id])) == {
        record("u1", 2).id
    }
    assert files_with(store.folder.root, b"the old secret reply") == []
    assert list(store.folder.work.glob("op-*")) == []
    assert opened(store.folder.root).records("u1") == store.records("u1")


def test_a_killed_update_is_old_or_new_and_purged_by_the_next_open(
    store: LanceStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = dataclasses.replace(record("u1", 1), output="the old secret reply")
    changed = dataclasses.replace(first, output="the new reply")
    store.add([first])

    def killed(store: LanceStore) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(updating, "_purge", killed)
        with pytest.raises(KeyboardInterrupt):
            store.add([changed], update="id")
    again = opened(store.folder.root)
    assert again.records("u1") == [changed]
    assert files_with(store.folder.root, b"the old secret reply") == []
    assert list(store.folder.work.glob("op-*")) == []


def test_doubles_within_a_batch(store: LanceStore) -> None:
    one, other = record("u1", 1), record("u1", 1, text="something else")
    result = store.add([one, one, other])
    assert (result.added, result.present, result.conflicting) == (1, 1, (other,))


def test_the_same_id_of_other_users_and_tasks_is_another_record(store: LanceStore) -> None:
    batch = [Record(user, "7", task, "x", "y") for user in "ab" for task in "cd"]
    assert store.add(batch).added == 4
    assert store.tasks_of("a") == [("c", 1), ("d", 1)]
    assert store.users_of("c") == [("a", 1), ("b", 1)]


def test_order_and_limit(store: LanceStore) -> None:
    def at(id_: str, day: int | None) -> Record:
        time = None if day is None else START + timedelta(days=day)
        return Record("u", id_, "t", id_, id_, time)

    store.add([at("late", 9), at("none-1", None), at("early", 1)])
    store.add([at("none-2", None), at("middle", 5), at("middle-too", 5)])
    expected = ["none-1", "none-2", "early", "middle", "middle-too", "late"]
    assert [r.id for r in store.records("u")] == expected
    assert [r.id for r in store.records("u", limit=2)] == expected[-2:]
    assert store.records("u", limit=0) == []
    assert store.records("nobody") == []


def test_the_newest_of_a_long_history(store: LanceStore) -> None:
    store.add([record("u", i) for i in range(500)])
    everything = store.records("u")
    for limit in (1, 7, 400, 499, 500, 1000):
        assert store.records("u", limit=limit) == everything[-limit:]
        assert store.records("u", task="t", limit=limit) == everything[-limit:]


def test_users_are_summarized(store: LanceStore) -> None:
    store.add([record("b", i) for i in range(5)] + [record("a", 0, task="z"), record("a", 3)])
    first, second = store.users()
    assert (first.user, first.records, first.tasks, first.first) == ("a", 2, ("t", "z"), None)
    assert (second.user, second.records, second.tasks) == ("b", 5, ("t",))
    assert (second.first, second.last) == (START + timedelta(days=1), START + timedelta(days=4))


def test_times_keep_their_instant(store: LanceStore) -> None:
    zone = timezone(timedelta(hours=5, minutes=30))
    times = [
        datetime(2020, 1, 1, 3, 4, 5, 678901, tzinfo=zone),
        datetime(1, 1, 1, tzinfo=UTC),
        datetime.max.replace(tzinfo=UTC),
    ]
    store.add([Record("u", str(i), "t", "x", "y", time) for i, time in enumerate(times)])
    assert sorted(r.time for r in store.records("u") if r.time) == sorted(times)


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_stay_text(store: LanceStore, name: str) -> None:
    mine = Record(name, name, name, "input", "output")
    store.add([mine, record("other", 1)])
    assert store.records(name) == [mine]
    assert store.records(name, task=name) == [mine]
    store.put_vectors(name, name, ENCODER, [(name, np.ones(DIMENSION, np.float32), None)])
    assert list(store.vectors(name, name, [name])) == [name]
    assert [p.name for p in store.folder.root.parent.iterdir() if p.name != "home"] == ["store"]


def test_half_a_surrogate_is_refused_before_anything_changes(store: LanceStore) -> None:
    with pytest.raises(DataError):
        store.add([record("u1", 1), Record("u1", "2", "t", "bad \ud800", "y")])
    assert store.records("u1") == []


def test_vectors_come_back_by_id(store: LanceStore) -> None:
    store.add([record("u1", i) for i in range(4)])
    assert store.vectors("u1", "t", ["u1-0"]) == {}
    put_vectors(store, "u1")
    ids = [r.id for r in store.records("u1")]
    found = store.vectors("u1", "t", [*ids, "unknown"])
    assert sorted(found) == sorted(ids)
    for i, id_ in enumerate(ids):
        assert found[id_][0][i] == 1
        assert (found[id_][1] is None) == (i % 2 == 1)


def test_an_output_vector_can_come_later(store: LanceStore) -> None:
    store.add([record("u1", 1)])
    first, second = np.eye(DIMENSION, dtype=np.float32)[:2]
    store.put_vectors("u1", "t", ENCODER, [("u1-1", first, None)])
    store.put_vectors("u1", "t", ENCODER, [("u1-1", first, second)])
    store.put_vectors("u1", "t", ENCODER, [("u1-1", first, None)])
    stored = store.vectors("u1", "t", ["u1-1"])["u1-1"][1]
    assert stored is not None
    assert stored[1] == 1


def test_vectors_without_a_record_are_dropped(store: LanceStore) -> None:
    store.add([record("u1", 1)])
    store.put_vectors("u1", "t", ENCODER, [("gone", np.ones(DIMENSION, np.float32), None)])
    assert store.vectors("u1", "t", ["gone"]) == {}


def test_encoders_never_mix(store: LanceStore) -> None:
    store.add([record("u1", i) for i in range(3)])
    put_vectors(store, "u1")
    with pytest.raises(StoreError) as caught:
        store.put_vectors("u1", "t", "other", [("u1-1", np.ones(4, np.float32), None)])
    assert "reindex" in (caught.value.hint or "")
    with pytest.raises(StoreError):
        store.put_vectors("u1", "t", ENCODER, [("u1-1", np.ones(4, np.float32), None)])
    assert len(store.vectors("u1", "t", ["u1-0", "u1-1", "u1-2"])) == 3


def test_vector_search_is_exact_and_of_one_user(store: LanceStore) -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(40, DIMENSION)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    for user in ("u1", "u2"):
        store.add([record(user, i) for i in range(20)] + [record(user, 99, task="else")])
        rows = vectors[:20] if user == "u1" else vectors[20:]
        store.put_vectors(
            user, "t", ENCODER, [(f"{user}-{i}", v, None) for i, v in enumerate(rows)]
        )
    query = vectors[0] + vectors[1]
    query /= np.linalg.norm(query)
    found = store.search_vector("u1", "t", query, 5)
    cosines = vectors[:20] @ query
    best = np.argsort(-cosines)[:5]
    assert [item.item.id for item in found] == [f"u1-{i}" for i in best]
    np.testing.assert_allclose([item.score for item in found], cosines[best], atol=1e-5)
    assert store.search_vector("nobody", "t", query, 5) == []


def test_text_search_is_of_one_user_and_sees_new_records(store: LanceStore) -> None:
    store.add([record("u1", i) for i in range(5)] + [record("u2", 1, text="a rare walrus")])
    store.add([record("u1", 7, text="the walrus of the north")])
    assert [item.item.id for item in store.search_text("u1", "t", "walrus", 3)] == ["u1-7"]
    store.add([record("u1", 8, text="walrus walrus")])
    found = store.search_text("u1", "t", 'walrus "AND ( *', 3)
    assert {item.item.id for item in found} == {"u1-7", "u1-8"}
    assert found[0].score >= found[1].score
    assert store.search_text("u1", "t", "  ", 3) == []
    assert store.search_text("u1", "t", "walrus", 0) == []


def test_many_small_batches_are_merged(store: LanceStore) -> None:
    for i in range(70):
        store.add([record(f"u{i % 7}", i)])
    data = list((store.folder.db / "records.lance" / "data").iterdir())
    versions = list((store.folder.db / "records.lance" / "_versions").glob("*.manifest"))
    assert len(data) < 40
    assert len(versions) < 50
    assert sum(len(store.records(f"u{u}")) for u in range(7)) == 70


def test_everything_is_the_owners_alone(store: LanceStore) -> None:
    for i in range(40):
        store.add([record("u1", i)])
    put_vectors(store, "u1")
    store.search_text("u1", "t", "question", 1)
    for path in [store.folder.root, *store.folder.root.rglob("*")]:
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode == (0o700 if path.is_dir() else 0o600), path


def test_a_newer_store_is_refused_and_not_touched(store: LanceStore) -> None:
    card = store.folder.card_file
    card.write_text(card.read_text().replace('"schema": 1', '"schema": 99'))
    before = card.read_bytes()
    with pytest.raises(StoreVersion):
        LanceStore.open(store.folder.root, create=True)
    assert card.read_bytes() == before


def test_a_killed_creation_is_resumed(store: LanceStore) -> None:
    store.folder.card_file.unlink()
    again = opened(store.folder.root)
    assert again.add([record("u1", 1)]).added == 1


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_can_be_read(store: LanceStore) -> None:
    store.add([record("u1", 1)])
    for path in [store.folder.root, *store.folder.root.rglob("*")]:
        path.chmod(0o500 if path.is_dir() else 0o400)
    try:
        again = LanceStore.open(store.folder.root, create=False)
        assert len(again.records("u1")) == 1
        with pytest.raises(StoreError):
            again.add([record("u1", 2)])
    finally:
        for path in [store.folder.root, *store.folder.root.rglob("*")]:
            path.chmod(0o700 if path.is_dir() else 0o600)


def test_keys_are_framed() -> None:
    assert key_of("ab", "c") != key_of("a", "bc")
    assert key_of("a", "") != key_of("a")
    moved = Record("u", "1", "t", "a", "bc"), Record("u", "1", "t", "ab", "c")
    keys = keys_of(moved, [None, None])
    assert keys["content_key"][0] != keys["content_key"][1]
    assert keys["user_key"].tolist() == [key_of("u")] * 2
    assert keys["task_key"].tolist() == [key_of("t")] * 2
    assert keys["record_key"].tolist() == [record_key(r) for r in moved] == [key_of("t", "1")] * 2


names = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
made = st.builds(
    Record,
    user=names,
    id=names,
    task=names,
    input=names,
    output=names,
    time=st.none() | st.datetimes(timezones=st.just(UTC)),
    metadata=st.dictionaries(names, names, max_size=2),
)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(batches=st.lists(st.lists(made, max_size=6), max_size=3))
def test_any_records_round_trip(
    tmp_path_factory: pytest.TempPathFactory, batches: list[list[Record]]
) -> None:
    store = opened(tmp_path_factory.mktemp("any") / "store")
    expected: dict[tuple[str, str, str], Record] = {}
    for batch in batches:
        result = store.add(batch)
        fresh = 0
        for item in batch:
            key = (item.user, item.task, item.id)
            fresh += key not in expected
            expected.setdefault(key, item)
        assert result.added == fresh
        assert result.added + result.present + len(result.conflicting) == len(batch)
    found = [item for summary in store.users() for item in store.records(summary.user)]
    assert {(r.user, r.task, r.id): r for r in found} == expected
    assert len(found) == len(expected)


def test_waiting_is_said(
    store: LanceStore, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hydra_cli.core.errors import StoreBusy
    from hydra_cli.store import lock as store_lock

    monkeypatch.setattr(store_lock, "_QUIET_SECONDS", 0.05)
    monkeypatch.setenv("HYDRA_PERS_LOCK_SECONDS", "0.2")
    other = LanceStore.open(store.folder.root, create=False)
    with store.lock.held(), caplog.at_level(logging.WARNING), pytest.raises(StoreBusy):
        other.add([record("u1", 1)])
    assert "waiting" in caplog.text
    assert other.add([record("u1", 1)]).added == 1
