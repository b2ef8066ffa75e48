"""What is a user's history worth for labels and ratings? The tables of docs/design/histories.md.

    python -m tests.benchmarks.compare_histories --suite ../shared/data/long --vectors vectors

One table a task, without an LLM: a base trained on the training users answers
dev users' queries without a fit, from their own history, from its newest 5, 20
and 80 records, from another user's of like length and from none, beside what
needs no training at all. ``--on train`` cross-fits over the training users
instead, whose newest records are the queries: for choosing. ``--unseen`` takes
the very texts of the queries out of the training users' records. ``--recorded``
adds an LLM's recorded answers, 8, 1 and 0 of them. Figures are means over
queries (accuracy; ratings: mean absolute error), gains have 95 % intervals
bootstrapped over users.
"""

from __future__ import annotations

import argparse
import statistics
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from hydra_cli.core.controls import majority, nearest_vote
from hydra_cli.core.progress import Silent
from hydra_cli.core.protocols import Scorer, TextEncoder
from hydra_cli.core.records import History, TrainingExample
from hydra_cli.core.statistics import interval, resamples
from hydra_cli.core.tasks import TaskSpec
from hydra_cli.modeling.recipes import recipe_named
from hydra_cli.models.bert_encoder import open_text_encoder
from tests.benchmarks import suites
from tests.benchmarks.recorded import KeptVectors
from tests.benchmarks.suites import Answers, Suite

LENGTHS = (5, 20, 80)
NEIGHBOURS = 4
FOLDS = 3
OWN, OTHER, NONE = "own history", "another user's history", "no history"

Values = dict[str, list[float]]
"""Each way's quality on every case, in the cases' order."""


def quality(text: str | None, reference: str, task: TaskSpec) -> float:
    """1 or 0 for labels; for ratings minus the distance, no answer as the worst one."""
    if task.kind != "rating":
        return float(text == reference)
    if text is None:
        return -max(abs(float(label) - float(reference)) for label in task.labels)
    return -abs(float(text) - float(reference))


def controls(case: TrainingExample, task: TaskSpec, everyone: Sequence[History]) -> dict[str, str]:
    """Answers that need no training; ``everyone`` are other users' histories."""
    context = case.context
    found = {
        "user's majority or median": majority(context, task),
        "nearest 4 of the user": nearest_vote(context, task, k=NEIGHBOURS),
        "nearest 4 of everybody": _nearest_of_all(case, task, everyone),
    }
    if task.kind == "rating":
        mean = statistics.fmean(float(r.output) for r in context.history.records)
        found["user's mean"] = min(task.labels, key=lambda label: abs(float(label) - mean))
    return {name: answer for name, answer in found.items() if answer is not None}


def _nearest_of_all(case: TrainingExample, task: TaskSpec, everyone: Sequence[History]) -> str:
    histories = [case.context.history, *everyone]
    near = []
    for history in histories:
        similar = history.inputs @ case.context.vector
        rows = np.argsort(-similar, kind="stable")[:NEIGHBOURS]
        near += [(float(similar[i]), history.records[i].output) for i in rows]
    outputs = [output for _, output in sorted(near, key=lambda one: -one[0])[:NEIGHBOURS]]
    if task.kind == "rating":
        return sorted(outputs, key=float)[(len(outputs) - 1) // 2]
    return Counter(outputs).most_common(1)[0][0]


def trained(
    histories: Sequence[History],
    examples: Sequence[TrainingExample],
    task: TaskSpec,
    encoder: TextEncoder,
) -> Scorer:
    """The population's scorer, from histories and answered examples."""
    recipe = recipe_named("hydra-pers")
    base = recipe.train_base(task, examples, histories, encoder, seed=0, progress=Silent())
    return recipe.scorer(base, None, task, encoder)


def ways(
    cases: Sequence[TrainingExample],
    histories: Sequence[History],
    everyone: Sequence[History],
    scorer: Scorer,
    task: TaskSpec,
) -> Values:
    """Every way's quality on the cases; other histories come from ``histories``."""
    others = suites.strangers(cases, histories)

    def by(view: Callable[[TrainingExample], TrainingExample]) -> list[float]:
        found = []
        for case in cases:
            seen = view(case)
            chosen = scorer.adapt(seen.context, (), seen.candidates)[0].item.text
            found.append(quality(chosen, case.reference, task))
        return found

    found: Values = {OWN: by(lambda case: case)}
    for count in LENGTHS:
        found[f"newest {count}"] = by(lambda case, n=count: suites.newest(case, n))  # type: ignore[misc]
    found[OTHER] = by(lambda case: suites.with_history(case, others[case.user]))
    found[NONE] = by(lambda case: suites.newest(case, 0))
    answers = [controls(case, task, everyone) for case in cases]
    for name in answers[0]:
        found[name] = [
            quality(own.get(name), case.reference, task)
            for own, case in zip(answers, cases, strict=True)
        ]
    return found


def dev_values(
    suite: Suite, encoder: TextEncoder, *, without_items: bool = False
) -> tuple[list[TrainingExample], Values]:
    """Dev users' queries, by a base of the training users."""
    cases, task = list(suite.dev.cases), suite.task
    known = suites.unseen(suite.train.histories, cases) if without_items else suite.train.histories
    scorer = trained(known, [], task, encoder)
    return cases, ways(cases, suite.dev.histories, known, scorer, task)


def train_values(
    suite: Suite, encoder: TextEncoder, *, without_items: bool = False
) -> tuple[list[TrainingExample], Values]:
    """Training users' newest records, each fold's by a base of the other folds' users."""
    task = suite.task
    fold_of = suites.folds_of([history.user for history in suite.train.histories], FOLDS)
    every: list[TrainingExample] = []
    found: Values = {}
    for fold in range(FOLDS):
        held = tuple(h for h in suite.train.histories if fold_of[h.user] == fold)
        known: Sequence[History] = [h for h in suite.train.histories if fold_of[h.user] != fold]
        cases = suites.newest_cases(suites.Part(held, ()), task)
        if without_items:
            known = suites.unseen(known, cases)
        own = ways(cases, held, known, trained(known, [], task, encoder), task)
        every += cases
        for name, values in own.items():
            found.setdefault(name, []).extend(values)
    return every, found


def answer_values(
    suite: Suite, encoder: TextEncoder, answers: Answers
) -> tuple[list[TrainingExample], Values]:
    """Dev users' queries with 8, 1 and 0 recorded answers; bases learn from as many."""
    task = suite.task
    cases = [case for case in suite.dev.cases if case.context.query.id in answers]
    found: Values = {}
    for count in (0, 1, 8):
        examples = suites.answered_records(suite.train.histories, task, answers, count)
        scorer = trained(suite.train.histories, examples, task, encoder)
        seen = [suites.answered(case, answers, count) for case in cases]
        found[f"{count} answers"] = [
            quality(scorer.adapt(c.context, (), c.candidates)[0].item.text, c.reference, task)
            for c in seen
        ]
    return cases, found


def show(
    title: str, cases: Sequence[TrainingExample], found: Mapping[str, list[float]], task: TaskSpec
) -> str:
    """A Markdown table; gains are the first row's over each other row."""
    sign = -1.0 if task.kind == "rating" else 1.0
    users = sorted({case.user for case in cases})
    user_of = np.array([users.index(case.user) for case in cases])
    weights = resamples(list(users))
    counts = np.bincount(user_of, minlength=len(users)).astype(np.float64)
    first = next(iter(found))
    lines = [
        f"### {task.name}: {title} ({len(cases)} queries, {len(users)} users)",
        "",
        f"| | {'MAE' if sign < 0 else 'accuracy'} | gain of {first} [95 %] |",
        "|---|---|---|",
    ]
    for name, values in found.items():
        gain = np.array(found[first]) - np.array(values)
        sums = np.bincount(user_of, weights=gain, minlength=len(users))
        low, high = interval((weights @ sums) / (weights @ counts))
        told = "" if name == first else f"{gain.mean():+.3f} [{low:+.3f}, {high:+.3f}]"
        lines.append(f"| {name} | {sign * float(np.mean(values)):.3f} | {told} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--suite", type=Path, required=True, help="a folder of tasks")
    parser.add_argument("--tasks", default="", help="some of its labels and ratings")
    parser.add_argument("--on", choices=("dev", "train"), default="dev")
    parser.add_argument("--unseen", action="store_true", help="take the queries' texts out first")
    parser.add_argument("--recorded", type=Path, help="a folder of recorded answers")
    parser.add_argument("--encoder", default="all-minilm-l6-v2")
    parser.add_argument("--vectors", type=Path, help="keep vectors in this folder")
    flags = parser.parse_args()
    plain = open_text_encoder(flags.encoder)
    for name in suites.closed_tasks(flags.suite, [part for part in flags.tasks.split(",") if part]):
        path = flags.vectors and flags.vectors / f"{flags.suite.name}.{name}.npz"
        encoder = KeptVectors(plain, path)
        suite = suites.read_suite(flags.suite, name, encoder)
        measure = dev_values if flags.on == "dev" else train_values
        title = f"{flags.on} users" + (", unseen items" if flags.unseen else "")
        cases, found = measure(suite, encoder, without_items=flags.unseen)
        print(show(title, cases, found, suite.task), flush=True)
        if flags.recorded and (answers := suites.recorded_answers(flags.recorded, name)):
            cases, found = answer_values(suite, encoder, answers)
            print(f"\n{show('recorded answers', cases, found, suite.task)}", flush=True)
        print(flush=True)
        encoder.save()


if __name__ == "__main__":
    main()
