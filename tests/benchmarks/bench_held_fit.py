"""One user fitted in a held process, without an LLM: seconds, and bytes of the head.

    python -m tests.benchmarks.bench_held_fit DATA [--task movie_ratings] [--task commits]

DATA has a folder of LaMP files for each task. Five training users give their first 300
records; everyone's vectors are stored before the fifth is fitted. Prints Markdown.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hydra_cli import Hydra

USERS, RECORDS, ROUNDS = 5, 300, 5


def rows_of(folder: Path) -> Iterator[dict[str, Any]]:
    """The first records of the first users that have enough of them."""
    questions = json.loads((folder / "train_questions.json").read_text("utf-8"))
    enough = [one["profile"] for one in questions if len(one["profile"]) >= RECORDS]
    for user, profile in enumerate(enough[:USERS]):
        for record in profile[:RECORDS]:
            output = record.get("score", record.get("title"))
            yield {"user": f"u{user}", "input": record["text"], "output": str(output)} | {
                "id": record["id"],
                "time": record.get("date"),
            }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("--task", action="append")
    options = parser.parse_args()
    print("| task | fit of one user, s, best and worst of five | bytes of heads |\n|---|---|---|")
    for task in options.task or ["movie_ratings", "commits"]:
        with tempfile.TemporaryDirectory() as store, Hydra.open(store) as hydra:
            hydra.ingest(*rows_of(options.data / task), task=task)
            hydra.fit()
            seconds = []
            for _ in range(ROUNDS):
                start = time.perf_counter()
                hydra.fit([f"u{USERS - 1}"])
                seconds.append(time.perf_counter() - start)
            sizes = [path.stat().st_size for path in Path(store).glob("heads/*/*")]
            told = f"{min(seconds):.2f} to {max(seconds):.2f}"
            print(f"| {task} | {told} | {min(sizes):,} to {max(sizes):,} |", flush=True)


if __name__ == "__main__":
    main()
