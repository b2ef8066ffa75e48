"""What do a user's held-out records say of the next ones? A table of docs/design/histories.md.

    python -m tests.benchmarks.own_gates --suite ../shared/data/long --vectors vectors

Cross-fitted over training users, without an LLM: each one's 16 newest records, with
only older ones as their history, are answered by the adapter and by the controls
that the gate has. The first 8 judge, the next 8 are what the choice is for. Told are
the slope of a user's gain over the median or majority on the next records against
that on the first, and the error where each user's own 8 count as they do, where
their whole spread is taken for the user's, and where the others alone decide.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hydra_cli.core.controls import CONTROLS
from hydra_cli.core.protocols import Scorer, TextEncoder
from hydra_cli.core.records import History, TrainingExample
from hydra_cli.core.similarity import grade
from hydra_cli.core.tasks import TaskSpec
from hydra_cli.modeling import gate
from hydra_cli.modeling.gate import Outcome, Pipeline
from hydra_cli.models.bert_encoder import open_text_encoder
from tests.benchmarks import suites
from tests.benchmarks.compare_histories import FOLDS, trained
from tests.benchmarks.recorded import KeptVectors
from tests.benchmarks.suites import Part

FIRST, NEXT = 8, 8


@dataclass(frozen=True, slots=True)
class User:
    """Outcomes that judge, and those of the records that follow."""

    first: tuple[Outcome, ...]
    following: tuple[Outcome, ...]


def outcome(case: TrainingExample, scorer: Scorer, task: TaskSpec) -> Outcome:
    """What the adapter alone and each control would have answered, graded."""
    answers = {name: control(case.context, task) for name, control in CONTROLS.items()}
    answers["adapt0"] = scorer.adapt(case.context, (), ())[0].item.text
    found: Mapping[Pipeline, float] = {
        name: grade(prediction=answer, reference=case.reference, task=task)  # type: ignore[misc]
        for name, answer in answers.items()
        if answer is not None
    }
    return Outcome(case.user, found)


def users_of(histories: Sequence[History], task: TaskSpec, encoder: TextEncoder) -> list[User]:
    """Every training user's outcomes, by a base of the other folds' users."""
    fold_of = suites.folds_of([history.user for history in histories], FOLDS)
    found = []
    for fold in range(FOLDS):
        known = [history for history in histories if fold_of[history.user] != fold]
        scorer = trained(known, [], task, encoder)
        for history in histories:
            if fold_of[history.user] == fold:
                cases = suites.newest_cases(Part((history,), ()), task, FIRST + NEXT)
                judged = tuple(outcome(case, scorer, task) for case in cases)
                half = len(judged) // 2
                if half:
                    found.append(User(judged[:half], judged[half:]))
    return found


def slope(users: Sequence[User]) -> float:
    """Of users' gain over the majority on the following records against that on the first."""
    first, following = (
        np.array([np.mean([o.quality["adapt0"] - o.quality["majority"] for o in part])
                  for part in parts])
        for parts in ([user.first for user in users], [user.following for user in users])
    )  # fmt: skip
    return float(np.cov(first, following)[0, 1] / max(first.var(ddof=1), 1e-12))


def mean_quality(users: Sequence[User], *, own: bool) -> tuple[float, int]:
    """Of the following records as the gate answers them, and how many users get a control."""
    every = [outcome for user in users for outcome in user.first]
    found, controls = [], 0
    for user in users:
        name = user.first[0].user
        others = [outcome for outcome in every if outcome.user != name]
        decision = gate.decide(user.first if own else (), others)
        chosen: Pipeline = decision.control or "adapt0"  # type: ignore[assignment]
        controls += chosen != "adapt0"
        found += [outcome.quality[chosen] for outcome in user.following]
    return float(np.mean(found)), controls


def row(users: Sequence[User], task: TaskSpec) -> str:
    """The task's row of the table."""
    worst = float(len(task.labels) - 1) if task.kind == "rating" else 1.0
    cells = []
    counted = gate.LASTING
    for own, lasting in ((True, counted), (True, 1.0), (False, counted)):
        gate.LASTING = lasting
        quality, controls = mean_quality(users, own=own)
        cells.append(f"{(1.0 - quality) * worst:.3f} ({controls})")
    gate.LASTING = counted
    count = sum(len(user.following) for user in users)
    return f"| {task.name} | {len(users)}, {count} | {slope(users):+.2f} | {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--suite", type=Path, required=True, help="a folder of tasks")
    parser.add_argument("--tasks", default="", help="some of its labels and ratings")
    parser.add_argument("--most", type=int, default=200, help="newest records of a user")
    parser.add_argument("--encoder", default="all-minilm-l6-v2")
    parser.add_argument("--vectors", type=Path, help="keep vectors in this folder")
    flags = parser.parse_args()
    plain = open_text_encoder(flags.encoder)
    print("| | users, records | slope | a quarter lasts | all of it lasts | the others alone |")
    print("|---|---|---|---|---|---|")
    for name in suites.closed_tasks(flags.suite, [part for part in flags.tasks.split(",") if part]):
        path = flags.vectors and flags.vectors / f"{flags.suite.name}.{name}.npz"
        encoder = KeptVectors(plain, path)
        suite = suites.read_suite(flags.suite, name, encoder)
        histories = [
            history.take(range(max(len(history) - flags.most, 0), len(history)))
            for history in suite.train.histories
        ]
        print(row(users_of(histories, suite.task, encoder), suite.task), flush=True)
        encoder.save()


if __name__ == "__main__":
    main()
