"""SIGKILL in ``ingest --update``: every record is the old or the new one, its vectors with it."""

from __future__ import annotations

import random
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from hydra_cli.store.lancedb_store import LanceHistoryStore
from hydra_cli.workflows.doctor import examine
from tests.crash.rounds import Round, words
from tests.crash.worker import CORRECTED, vector_of, version_of
from tests.store.store_helpers import files_with, opened

MODES = {"updates": "kim", "contents": "mia"}


def check_user(store: LanceHistoryStore, logs: Path, mode: str) -> int:
    """The version that is stored: all of it, and nothing of any other."""
    user = MODES[mode]
    records = store.records(user)
    assert len(records) == CORRECTED, "a record is doubled or lost"
    (version,) = {int(item.output.split(" ")[1]) for item in records}
    expected = {(item.id, item.input, item.output) for item in version_of(user, version)}
    assert {(item.id, item.input, item.output) for item in records} == expected

    # A correction that was reported is there; the one that was killed may be.
    begun = [int(number) for number in words(logs, mode, "begin")]
    done = [int(number) for number in words(logs, mode, "updated")]
    assert version in (0, *begun)
    assert version >= max(done, default=0)

    vectors = store.vectors(user, "t", [item.id for item in records])
    for item in records:
        for vector in vectors.get(item.id, ()):
            assert vector is not None
            np.testing.assert_allclose(vector, vector_of(item), atol=1e-6)
    if store.vector_table() is not None:
        near = store.search_vector(user, "t", vector_of(records[0]), 2 * CORRECTED)
        assert len(near) == len(vectors), "vectors of a replaced record are left"
    return version


def check_store(path: Path, logs: Path) -> None:
    store = LanceHistoryStore.open(path, create=False)
    present = {mode: check_user(store, logs, mode) for mode in MODES}
    old = {
        int(number)
        for mode in MODES
        for number in words(logs, mode, "begin")
        if int(number) != present[mode]
    }
    texts = [f"answer {version:07d} to".encode() for version in sorted(old)[-20:]]
    assert not texts or files_with(path, *texts) == [], "a replaced text is still on the disk"
    if store.folder.answers.is_file():
        with closing(sqlite3.connect(store.folder.answers)) as db:
            kept = db.execute("SELECT answers FROM calls").fetchall()
        allowed = {f"{version:07d}" for version in present.values()}
        assert {row[0].split(" ")[1] for row in kept} <= allowed, (
            "an answer of old evidence is kept"
        )
    found = examine(path)
    assert found.healthy, [entry.text for entry in found.findings if entry.level == "problem"]


def run_rounds(tmp_path: Path, rounds: int, seed: int) -> int:
    """Kill the updates of two users; the kills. Versions grow from round to round."""
    store, logs = tmp_path / "store", tmp_path / "logs"
    logs.mkdir()
    first = opened(store)
    for user in MODES.values():
        first.add(version_of(user, 0))
    chance = random.Random(seed)
    kills = 0
    for number in range(1, rounds + 1):
        workers = Round(store, logs, list(MODES), number)
        workers.wait_until_ready()
        kills += workers.kill(chance)
        check_store(store, logs)
    assert words(logs, "updates", "updated") + words(logs, "contents", "updated")
    return kills


def test_a_few_kills_of_updates(tmp_path: Path) -> None:
    assert run_rounds(tmp_path, rounds=1, seed=3) == 2


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_a_hundred_kills_of_updates(tmp_path: Path) -> None:
    assert run_rounds(tmp_path, rounds=50, seed=4) == 100
