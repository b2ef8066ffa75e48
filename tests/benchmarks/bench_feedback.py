"""What feedback costs: an answer kept, a word on it, and the first score after it.

    python -m tests.benchmarks.bench_feedback [--rounds N]

Kept answers have 8 candidates of 80 words; the fit learns from 100 words of its user, the most
that count. The median and the 95th percentile, in milliseconds by the clock. Prints Markdown.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from hydra_cli.core.feedback import Feedback, Heard, KeptAnswer, KeptCandidate
from hydra_cli.core.records import Record
from hydra_cli.core.sortable_ids import new_id
from hydra_cli.core.tasks import TaskSpec
from hydra_cli.modeling.factorized import label_features
from hydra_cli.modeling.factorized.answer_features import PRIOR, for_editing
from hydra_cli.modeling.factorized.feedback import moved_by
from hydra_cli.store.answer_log import MOST_HEARD
from hydra_cli.store.lance_store import LanceStore
from hydra_cli.workflows.feedback import give

TASK = TaskSpec("replies", "generation", "Answer.", multiline=True)
DICE = np.random.default_rng(0)


def text() -> str:
    return " ".join(f"word{i}" for i in DICE.integers(3000, size=80))


def answer() -> KeptAnswer:
    features = np.round(DICE.normal(size=(8, len(PRIOR))), 6)
    found = [KeptCandidate(text(), 0.5, i, tuple(row)) for i, row in enumerate(features.tolist())]
    return KeptAnswer(
        new_id("ans"), "mia", TASK.name, "hydra-pers", text(), found[0].text, datetime.now(UTC),
        tuple(found), feature_set="set",
    )  # fmt: skip


def chosen(width: int, items: int) -> Feedback:
    now = datetime.now(UTC)
    return Feedback(
        new_id("fb"), new_id("ans"), "mia", "t", "choose", now, now, "q", "s",
        choice=1 + int(DICE.integers(items)),
        features=tuple(map(tuple, DICE.normal(size=(items, width)).tolist())),
        feature_set="set",
    )  # fmt: skip


def timed(rounds: int, work: Callable[[], object]) -> str:
    """Median and 95th percentile, in milliseconds; the first call warms up."""
    work()
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    p95 = statistics.quantiles(seconds, n=20)[-1]
    return f"{1e3 * statistics.median(seconds):.2f} | {1e3 * p95:.2f}"


def fits(width: int, items: int) -> Callable[[], object]:
    """The weights after a hundred words, made anew at each call; of texts, one an edit."""
    said = tuple(chosen(width, items) for _ in range(MOST_HEARD))
    editing = None
    if width == len(PRIOR):
        grades = tuple(DICE.uniform(-1.0, 1.0, items).tolist())
        said = (replace(said[0], kind="edit", grades=grades, choice=None), *said[1:])
        editing = for_editing(PRIOR)
    weights = tuple(DICE.normal(size=width).tolist())
    return lambda: moved_by(Heard(said), "set", weights, editing)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=40)
    rounds = parser.parse_args().rounds
    labels = len(label_features.PRIOR) + len(label_features.MIXED_PRIOR)
    print("| | median, ms | p95, ms |\n|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        store = LanceStore.open(Path(folder, "store"), create=True)
        store.add([Record("mia", "0", TASK.name, "a question", "a reply")])
        log = store.answer_log
        made = iter([answer() for _ in range(rounds + 1)])
        print(f"| keep an answer | {timed(rounds, lambda: log.keep(next(made), days=30))} |")
        kept = iter(log.newest())
        words = timed(rounds, lambda: give(store, next(kept), TASK, choose=2))
        print(f"| choose a candidate | {words} |")
        kept = iter(log.newest())
        words = timed(rounds, lambda: give(store, next(kept), TASK, edit=text()))
        print(f"| edit an answer, its record included | {words} |")
    print(f"| fit of {MOST_HEARD} words on texts | {timed(rounds, fits(len(PRIOR), 8))} |")
    print(f"| fit of {MOST_HEARD} words on 15 labels | {timed(rounds, fits(labels, 15))} |")


if __name__ == "__main__":
    main()
