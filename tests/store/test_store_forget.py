"""Forgetting leaves no byte of what was forgotten, and everything else."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from hydra_cli.core.errors import NotFound
from hydra_cli.core.files import name_of, write_atomic
from hydra_cli.core.protocols import ChatRequest, Message, Sampling
from hydra_cli.core.records import Record
from hydra_cli.core.tasks import TaskSpec
from hydra_cli.llm.answer_cache import AnswerCache, StoredCall, cache_key
from hydra_cli.store import forgetting as store_forget
from hydra_cli.store import journal
from hydra_cli.store import upkeep as store_upkeep
from hydra_cli.store.api_keys import ApiKeys
from hydra_cli.store.forgetting import Scope
from hydra_cli.store.lance_store import LanceStore
from hydra_cli.store.task_file import load_tasks, save_task
from tests.store.store_helpers import (
    DIMENSION,
    ENCODER,
    files_with,
    kept,
    opened,
    put_vectors,
    record,
)

# Random characters: no table compression can shorten them into something else.
CANARIES = tuple(f"canary{os.urandom(12).hex()}" for _ in range(5))
SECRET_USER, SECRET_ID, SECRET_INPUT, SECRET_OUTPUT, SECRET_META = CANARIES
NEEDLES = tuple(canary.encode() for canary in CANARIES)
VECTOR = np.random.default_rng(7).normal(size=DIMENSION).astype(np.float32)


def secret(i: int, *, task: str = "t") -> Record:
    return Record(
        SECRET_USER,
        f"{SECRET_ID}-{i}",
        task,
        f"{SECRET_INPUT} number {i}",
        SECRET_OUTPUT,
        None,
        {"note": SECRET_META},
    )


@pytest.fixture
def store(tmp_path: Path) -> LanceStore:
    """A store in which the secret user's bytes lie in every kind of file."""
    store = opened(tmp_path / "store")
    for i in range(6):
        others = [record(f"u{u}", i) for u in range(20)]
        store.add([*others, secret(i)] if i % 2 else others)
    store.add([secret(i, task="second") for i in range(3)])
    put_vectors(store, "u1")
    store.put_vectors(SECRET_USER, "t", ENCODER, [(f"{SECRET_ID}-1", VECTOR, VECTOR)])
    store.search_text(SECRET_USER, "t", "number", 2)
    for user in ("u1", SECRET_USER):
        folder = store.folder.heads_of(user)
        for task in ("t", "second"):
            write_atomic(folder / f"{name_of(task)}.facets.safetensors", f"{user} {task}".encode())
        write_atomic(store.folder.work / f"{name_of(user)}.supervision.json", user.encode())
    for key_of in (SECRET_USER, "u1"):
        ApiKeys(store.folder).add(user=key_of)
    write_atomic(store.folder.backups / "schema-0" / "records", NEEDLES[2])
    store.answer_log.keep(kept(SECRET_USER, SECRET_OUTPUT, evidence=(SECRET_ID,)), days=30)
    store.answer_log.keep(kept("u1"), days=30)
    return store


def others(store: LanceStore) -> dict[str, list[Record]]:
    return {f"u{u}": store.records(f"u{u}") for u in range(20)}


def test_the_canaries_can_be_seen_before(store: LanceStore) -> None:
    found = files_with(store.folder.root, *NEEDLES)
    assert any("/data/" in name for name in found)
    assert any(name.startswith("heads/") for name in found)
    assert any(name.startswith("work/") for name in found)
    assert any(name.startswith(store.folder.feedback.name) for name in found)
    assert any("keys" in name for name in found)
    vectors = files_with(store.folder.root, VECTOR.tobytes())
    assert any("/data/" in name for name in vectors)


def test_a_user_is_forgotten_to_the_last_byte(store: LanceStore) -> None:
    before = others(store)
    vectors = store.vectors("u1", "t", [f"u1-{i}" for i in range(6)])
    plan = store_forget.preview(store, Scope(SECRET_USER))
    erased = store_forget.erase(store, Scope(SECRET_USER))
    assert plan == erased
    assert (erased.records, erased.vectors, erased.heads, erased.work_files) == (6, 1, 2, 1)
    assert files_with(store.folder.root, *NEEDLES, VECTOR.tobytes()) == []
    assert files_with(store.folder.root, name_of(SECRET_USER).encode()) == []

    assert [key.user for key in ApiKeys(store.folder).all()] == ["u1"]
    assert store.records(SECRET_USER) == []
    assert others(store) == before
    after = store.vectors("u1", "t", [f"u1-{i}" for i in range(6)])
    assert after.keys() == vectors.keys()
    for id_, (input_, output) in vectors.items():
        np.testing.assert_array_equal(after[id_][0], input_)
        np.testing.assert_array_equal(after[id_][1] is None, output is None)
    head = store.folder.heads_of("u1") / f"{name_of('t')}.facets.safetensors"
    assert head.read_bytes() == b"u1 t"
    assert (store.folder.work / f"{name_of('u1')}.supervision.json").is_file()
    assert [answer.user for answer in store.answer_log.newest()] == ["u1"]
    assert store.search_text("u1", "t", "question", 1)
    assert list(store.folder.work.glob("op-*")) == []


def test_labels_that_nobody_else_used_are_forgotten(store: LanceStore) -> None:
    def label(user: str, i: int, task: str, output: str) -> Record:
        return Record(user, f"{task}{i}", task, f"text {i}", output)

    mine = [label(SECRET_USER, 1, "kinds", SECRET_OUTPUT), label(SECRET_USER, 2, "kinds", "bug")]
    store.add([*mine, label("u1", 1, "kinds", "bug"), label(SECRET_USER, 1, SECRET_META, "own")])
    for name, labels in (("kinds", ("bug", "offered", SECRET_OUTPUT)), (SECRET_META, ("own",))):
        save_task(store.folder.root, TaskSpec(name, "classification", "Name it.", labels))
    assert files_with(store.folder.root, SECRET_OUTPUT.encode())
    store_forget.erase(store, Scope(SECRET_USER))
    assert files_with(store.folder.root, *NEEDLES) == []
    tasks = load_tasks(store.folder.root)
    assert {name: spec.labels for name, spec in tasks.items()} == {"kinds": ("bug", "offered")}


def test_cached_answers_are_forgotten(store: LanceStore) -> None:
    cache = AnswerCache(store.folder.answers)
    sampling = Sampling(n=1)
    for user in (SECRET_USER, "u1"):
        messages: tuple[Message, ...] = ({"role": "user", "content": f"{user} asks"},)
        request = ChatRequest(messages, sampling, user)
        call = StoredCall(0, ((f"{user} is told {SECRET_OUTPUT * (user != 'u1')}", None),), 1, 1)
        cache.put(cache_key("model", request), call, model="m", max_tokens=8, users=[user])
    cache.close()
    assert "cache/answers.sqlite" in files_with(store.folder.root, *NEEDLES)
    store_forget.erase(store, Scope(SECRET_USER))
    assert files_with(store.folder.root, *NEEDLES) == []
    assert files_with(store.folder.root, b"u1 is told") != []


def test_an_open_reader_goes_on(store: LanceStore) -> None:
    reader = LanceStore.open(store.folder.root, create=False)
    before = others(reader)
    assert reader.search_text("u1", "t", "question", 1)
    store_forget.erase(store, Scope(SECRET_USER))
    assert others(reader) == before
    assert reader.records(SECRET_USER) == []
    assert reader.search_text("u1", "t", "question", 1)


def test_a_task_is_forgotten_alone(store: LanceStore) -> None:
    before = others(store)
    erased = store_forget.erase(store, Scope(SECRET_USER, task="t"))
    assert (erased.records, erased.vectors, erased.heads) == (3, 1, 1)
    assert [r.task for r in store.records(SECRET_USER)] == ["second"] * 3
    assert [p.name for p in store.folder.heads_of(SECRET_USER).iterdir()] == [
        f"{name_of('second')}.facets.safetensors"
    ]
    assert files_with(store.folder.root, f"{SECRET_INPUT} number 5".encode()) == []
    assert others(store) == before


def test_a_record_is_forgotten_and_its_heads_are_stale(store: LanceStore) -> None:
    erased = store_forget.erase(store, Scope(SECRET_USER, record=f"{SECRET_ID}-1", task="t"))
    assert (erased.records, erased.vectors, erased.heads) == (1, 1, 1)
    assert [r.id for r in store.records(SECRET_USER, task="t")] == [
        f"{SECRET_ID}-3",
        f"{SECRET_ID}-5",
    ]
    assert store.add([secret(1)]).forgotten == (secret(1),)
    assert store.add([secret(7)]).added == 1


def test_forgotten_data_does_not_come_back_by_itself(store: LanceStore) -> None:
    store_forget.erase(store, Scope(SECRET_USER))
    refused = store.add([secret(1), record("u1", 100)])
    assert (refused.added, refused.forgotten) == (1, (secret(1),))
    assert store.records(SECRET_USER) == []
    assert files_with(store.folder.root, *NEEDLES) == []
    restored = store.add([secret(1)], restore=True)
    assert (restored.added, restored.forgotten) == (1, ())
    assert store.add([secret(2)]).added == 1


def test_nothing_to_forget_is_not_found(store: LanceStore) -> None:
    for scope in (Scope("nobody"), Scope("u1", record="none"), Scope("u1", task="none")):
        with pytest.raises(NotFound):
            store_forget.erase(store, scope)
    assert store.add([record("nobody", 1)]).added == 1


def test_orphan_files_of_a_killed_writer_go_too(store: LanceStore) -> None:
    orphan = store.folder.db / "records.lance" / "data" / f"{'0' * 48}.lance"
    orphan.write_bytes(NEEDLES[2])
    store_forget.erase(store, Scope(SECRET_USER))
    assert files_with(store.folder.root, *NEEDLES) == []


def test_overfull_files_are_rewritten(store: LanceStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_upkeep, "FRAGMENT_ROWS", 10)
    before = others(store)
    store_forget.erase(store, Scope(SECRET_USER))
    assert files_with(store.folder.root, *NEEDLES) == []
    assert others(store) == before


def test_an_interrupted_forget_is_finished_by_the_next_command(
    store: LanceStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(store_upkeep, "purge_deleted", stop)
        with pytest.raises(KeyboardInterrupt):
            store_forget.erase(store, Scope(SECRET_USER))
    assert [entry.operation for entry in journal.unfinished(store.folder.work)] == ["forget"]
    again = LanceStore.open(store.folder.root, create=False)
    assert "a forget was interrupted" in caplog.text
    assert files_with(store.folder.root, *NEEDLES) == []
    assert len(again.records("u1")) == 6
    assert journal.unfinished(store.folder.work) == []


def test_a_note_is_whole_json_and_damaged_ones_are_survived(store: LanceStore) -> None:
    with journal.noted_work(store.folder.work, "ingest", what="a.jsonl"):
        (note,) = store.folder.work.glob("op-*.json")
        assert json.loads(note.read_text())["operation"] == "ingest"
        assert journal.unfinished(store.folder.work) == []
    (store.folder.work / "op-damaged.json").write_bytes(b"\x00{")
    LanceStore.open(store.folder.root, create=False)
    assert list(store.folder.work.glob("op-*")) == []
