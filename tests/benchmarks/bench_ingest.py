"""Records a second from JSON Lines into a real store, duplicates checked.

Run: python tests/benchmarks/bench_ingest.py [RECORDS] [USERS]
Prints one line of JSON a measurement: the first ingest, the same file again,
and reading with parsing alone.
"""

from __future__ import annotations

import io
import json
import random
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from hydra_cli.core.protocols import AddResult, HistoryStore
from hydra_cli.core.records import Record
from hydra_cli.store.memory import MemoryHistoryStore
from hydra_cli.store.task_file import load_tasks, save_task
from hydra_cli.wiring import load_settings, open_store
from hydra_cli.workflows.ingest import IngestOptions, ingest
from hydra_cli.workflows.task_learning import TaskLearner

WORDS = [f"word{i}" for i in range(50)]


class Silent:
    def start(self, label: str, total: int | None) -> None: ...

    def advance(self, steps: int = 1) -> None: ...

    def note(self, text: str) -> None: ...


class Nowhere(MemoryHistoryStore):
    """Takes batches and keeps nothing: what is left is reading and parsing."""

    def add(
        self,
        records: Sequence[Record],
        *,
        restore: bool = False,
        update: Literal["id", "content"] | None = None,
    ) -> AddResult:
        return AddResult(added=len(records), present=0)


def write_file(path: Path, records: int, users: int) -> None:
    """Records of about 300 bytes: some thirty words in, eight out, as headlines are."""
    chooser = random.Random(0)
    with path.open("w") as out:
        for i in range(records):
            row = {
                "user": f"user-{chooser.randrange(users)}",
                "id": f"r{i}",
                "task": "LaMP_4",
                "input": " ".join(chooser.choices(WORDS, k=30)),
                "output": f"{' '.join(chooser.choices(WORDS, k=8))} {i}",
                "time": 1_500_000_000 + i,
            }
            out.write(json.dumps(row) + "\n")


def measure(name: str, path: Path, records: int, store: Callable[[], HistoryStore]) -> float:
    """Seconds of one ingest, opening the store included."""
    settings = load_settings()
    start, started = time.perf_counter(), time.process_time()
    learner = TaskLearner(
        settings.tasks,
        load_tasks(settings.store),
        lambda spec: save_task(settings.store, spec),
    )
    report = ingest(
        [path],
        store(),
        learner,
        settings.tasks,
        options=IngestOptions(),
        stdin=io.BytesIO(),
        progress=Silent(),
    )
    seconds, cpu = time.perf_counter() - start, time.process_time() - started
    assert report.added + report.present == records
    figures = {
        "added": report.added,
        "present": report.present,
        "seconds": round(seconds, 2),
        "cpu_seconds": round(cpu, 2),
    }
    print(json.dumps({"what": name, **figures, "records_per_second": round(records / seconds)}))
    return seconds


def main(records: int = 200_000, users: int = 1000) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "records.jsonl"
        write_file(path, records, users)
        settings = load_settings().override(store=Path(folder) / "store")
        measure("read and parse", path, records, Nowhere)
        open_store(settings, create=True)
        measure("first ingest", path, records, lambda: open_store(settings))
        measure("same file again", path, records, lambda: open_store(settings))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
