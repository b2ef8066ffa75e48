"""SIGKILL at random moments loses nothing, doubles nothing, leaves nothing half-written."""

from __future__ import annotations

import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from hydra_cli.store import journal
from hydra_cli.store.lancedb_store import LanceHistoryStore
from tests.crash.rounds import ROOT, Round, words
from tests.crash.worker import BATCH, USERS
from tests.store.store_helpers import files_with, opened, put_vectors, record


def check_store(path: Path, logs: Path) -> None:
    store = LanceHistoryStore.open(path, create=False)
    # A killed forget is finished; a killed import is known until it is run again.
    assert all(entry.told for entry in journal.unfinished(store.folder.work))

    # Every batch that was reported is there; each is whole or absent.
    numbers: Counter[int] = Counter()
    for user in range(USERS):
        ids = [item.id for item in store.records(f"u{user}")]
        assert len(ids) == len(set(ids)), "a record is doubled"
        numbers.update(int(id_.split("-")[1]) // BATCH for id_ in ids)
    reported = {int(number) for number in words(logs, "ingest", "batch")}
    assert reported <= set(numbers), "a committed batch is lost"
    assert set(numbers.values()) <= {BATCH}, "a batch is in part there"

    # Forgotten users are gone, others are whole.
    gone = set(words(logs, "forget", "forgot"))
    begun = words(logs, "forget", "begin")
    assert {summary.user for summary in store.users()} & gone == set()
    for user in begun[-3:]:
        if user not in gone:
            assert len(store.records(user)) in (0, 5)
    texts = [f"of {user} about".encode() for user in sorted(gone)[-5:]]
    assert not texts or files_with(path, *texts) == []

    # An import is whole or absent.
    imported = words(logs, "imports", "imported")
    for user in {*imported[-10:], *words(logs, "imports", "begin")[-3:]}:
        count = len(store.records(user))
        assert count == 60 if user in imported else count in (0, 60)

    # A head is the old one or the new one.
    if any(path.glob("heads/*/*.safetensors")):
        from hydra_cli.core.weights import Weights
        from hydra_cli.store.folder import StoreFolder

        weights = Weights.load(StoreFolder(path).head_file("u1", "t", "facets"))
        assert (weights.tensors["w"] == float(weights.card.seed)).all()


def run_rounds(tmp_path: Path, modes: list[str], rounds: int, seed: int) -> int:
    store, logs = tmp_path / "store", tmp_path / "logs"
    logs.mkdir()
    first = opened(store)
    first.add([record("gone-seed", 1)])
    chance = random.Random(seed)
    kills = 0
    for number in range(rounds):
        workers = Round(store, logs, modes, number)
        workers.wait_until_ready()
        kills += workers.kill(chance)
        check_store(store, logs)
    assert words(logs, "ingest", "batch"), "nothing was written before the kills"
    return kills


def test_a_few_kills(tmp_path: Path) -> None:
    assert run_rounds(tmp_path, ["ingest", "forget", "ingest"], rounds=2, seed=1) == 6


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_two_hundred_kills(tmp_path: Path) -> None:
    kills = run_rounds(tmp_path, ["ingest", "forget", "imports", "heads"], rounds=50, seed=2)
    print(f"{kills} kills")
    assert kills >= 200


def test_processes_write_at_once(tmp_path: Path) -> None:
    """Three processes ingest the same and other records while this one reads."""
    path = tmp_path / "store"
    store = opened(path)
    code = (
        "import sys; from pathlib import Path\n"
        "from tests.store.store_helpers import opened, put_vectors, record\n"
        "store = opened(Path(sys.argv[1])); name = sys.argv[2]\n"
        "for n in range(25):\n"
        "    store.add([record(name, n), record('all', n)])\n"
        "put_vectors(store, name); put_vectors(store, 'all')\n"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", code, str(path), f"p{i}"], cwd=ROOT)
        for i in range(3)
    ]
    seen = 0
    while any(process.poll() is None for process in processes):
        now = len(store.records("all"))
        assert now >= seen, "a reader lost records"
        seen = now
    assert [process.returncode for process in processes] == [0, 0, 0]
    for user in ("all", "p0", "p1", "p2"):
        ids = [item.id for item in store.records(user)]
        assert len(ids) == len(set(ids)) == 25
        assert len(store.vectors(user, "t", ids)) == 25
    put_vectors(store, "all")
