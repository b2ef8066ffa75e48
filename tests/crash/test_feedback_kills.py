"""SIGKILL while two processes give feedback: no word is lost, and records say what it says."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from hydra_cli.store.lance_store import LanceStore
from hydra_cli.workflows.feedback import settle_all
from tests.crash.rounds import Round, words
from tests.store.store_helpers import kept, opened, record


def check_store(path: Path, logs: Path, shared: str) -> None:
    store = LanceStore.open(path, create=False)
    settle_all(store)
    assert store.answer_log.unsettled() == []
    there = {said.answer: said for said in store.answer_log.feedback("kim")}
    said, undone = set(words(logs, "feedback", "said")), set(words(logs, "feedback", "undone"))
    perhaps = set(words(logs, "feedback", "undoing")) - undone
    assert said - undone - perhaps <= set(there), "a word is lost"
    assert not undone & set(there), "what was taken back is back"
    records = {(r.id, r.output) for r in store.records("kim") if r.id.startswith("feedback_")}
    assert records == {(s.record, s.text) for s in there.values() if s.record}, (
        "the records don't say what the feedback says"
    )
    assert there[shared].kind in ("reject", "edit")


def wait_until_both_spoke(workers: Round, seconds: float = 120) -> None:
    """The first word needs some imports, which a loaded machine takes its time for."""
    deadline = time.monotonic() + seconds
    while not all("shared" in log.read_text() for log in workers.logs):
        assert all(process.poll() is None for process in workers.processes)
        assert time.monotonic() < deadline, "nobody ever spoke"
        time.sleep(0.02)


def run_rounds(tmp_path: Path, rounds: int, seed: int) -> None:
    path, logs = tmp_path / "store", tmp_path / "logs"
    logs.mkdir()
    first = opened(path)
    first.add([record("kim", 0)])
    shared = kept("kim", "the oldest", days_ago=1)
    first.answer_log.keep(shared, days=30)
    chance = random.Random(seed)
    for number in range(1, rounds + 1):
        workers = Round(path, logs, ["feedback", "feedback"], number)
        workers.wait_until_ready()
        wait_until_both_spoke(workers)
        workers.kill(chance)
        check_store(path, logs, shared.id)
    assert words(logs, "feedback", "said")


def test_a_few_kills_of_feedback(tmp_path: Path) -> None:
    run_rounds(tmp_path, rounds=1, seed=5)


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_a_hundred_kills_of_feedback(tmp_path: Path) -> None:
    run_rounds(tmp_path, rounds=50, seed=6)
