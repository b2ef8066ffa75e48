"""Which way of scoring answers is best? The tables of docs/design/scoring.md.

    python -m tests.benchmarks.compare_scorers --data ../shared/data --vectors vectors.npz

Two tables a task, on recorded answers, so no LLM is asked: (1) recipes trained
on training users and used without a fit on dev users, beside prompts and
controls; (2) directions tried, cross-validated over all users: the default
with groups of features left out, and with users' own weights at several
precisions. Figures are means over queries with 95 % intervals of the paired
gain, bootstrapped over users. Ratings show the mean absolute error.
"""

from __future__ import annotations

import argparse
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from hydra_cli.core.progress import Silent
from hydra_cli.core.protocols import TextEncoder
from hydra_cli.core.records import History, TrainingExample
from hydra_cli.core.similarity import grade
from hydra_cli.core.tasks import TaskSpec
from hydra_cli.modeling.factorized import label_model, lists, listwise, word_training
from hydra_cli.modeling.factorized.listwise import ItemList
from hydra_cli.modeling.factorized.recipe import adapt_prior, feature_names
from hydra_cli.modeling.factorized.scorer import expected_loss, log_softmax
from hydra_cli.modeling.recipes import recipe_named
from hydra_cli.models.hf_encoder import HFEncoder
from tests.benchmarks.recorded import KeptVectors, Recorded, read_recorded

TASKS = ("LaMP_2N", "LaMP_2M", "LaMP_3", "LaMP_4", "LaMP_5")
PRECISION = 20.0
GROUPS: dict[str, tuple[str, ...]] = {
    "other users' records": ("population", "vector model", "word model", "word mean"),
    "the user's label counts": ("history", "history mean"),
    "the user's similar records": ("similar records", "closest"),
    "the LLM's votes": ("votes", "votes mean"),
    "the label's name": ("name",),
    "expected overlap": ("expected overlap",),
    "agreement of answers": ("agreement", "agreement of pairs"),
    "the query": (
        *("words in query", "query opening"),
        *("names not in query", "numbers not in query"),
    ),
    "form": (
        *("user's words", "longer than usual", "length off usual", "capitals off usual"),
        *("habits", "opening word", "repetition", "cut off", "odd characters"),
    ),
}
"""Groups of features, left out one at a time."""

Results = dict[str, list[float]]


def quality(text: str | None, example: TrainingExample, task: TaskSpec) -> float:
    """The grade of an answer; for ratings minus the distance, unparsable as the worst."""
    if task.kind != "rating":
        return grade(prediction=text or "", reference=example.reference, task=task)
    reference = float(example.reference)
    parsed = task.parse(text or "", task.labels)
    if parsed is None:
        return -max(abs(float(label) - reference) for label in task.labels)
    return -abs(float(parsed) - reference)


def controls(example: TrainingExample, task: TaskSpec) -> dict[str, str]:
    """Answers without any LLM: the user's majority (median), the nearest records' vote."""
    history = example.context.history
    outputs = [record.output for record in history.records]
    near = np.argsort(-(history.inputs @ example.context.vector), kind="stable")[:4]
    if task.kind == "rating":
        middle = sorted(outputs, key=float)[len(outputs) // 2]
        return {"majority": middle, "knn": sorted((outputs[i] for i in near), key=float)[-2]}
    votes = Counter(outputs[i] for i in near)
    return {"majority": Counter(outputs).most_common(1)[0][0], "knn": votes.most_common(1)[0][0]}


def recipes_table(data: Recorded, encoder: TextEncoder, names: Sequence[str]) -> Results:
    """Quality of each method on every dev query."""
    task = data.task
    found = {"RAG (greedy)": [quality(e.greedy, e, task) for e in data.dev]}
    if task.closed:
        for name in ("majority", "knn"):
            found[name] = [quality(controls(e, task)[name], e, task) for e in data.dev]
    per_answer = [[quality(c.text, e, task) for c in e.candidates] for e in data.dev]
    found["mean of the answers"] = [float(np.mean(own)) for own in per_answer]
    found["best of the answers (oracle)"] = [max(own) for own in per_answer]
    for name in names:
        recipe = recipe_named(name)
        bases = {name: (data.train, data.train_histories)}
        if name == "hydra-pers":
            bases = {"hydra-pers, hand-set weights": ([], []), **bases}
        for label, (examples, histories) in bases.items():
            base = recipe.train_base(task, examples, histories, encoder, seed=0, progress=Silent())
            scorer = recipe.scorer(base, None, task, encoder)
            found[label] = [
                quality(scorer.adapt(e.context, e.evidence, e.candidates)[0].item.text, e, task)
                for e in data.dev
            ]
    return found


def directions_table(
    data: Recorded, encoder: TextEncoder, *, folds: int = 5
) -> tuple[list[str], Results]:
    """Cross-validated quality of the default and of what was tried around it, and whose it is."""
    task = data.task
    histories = [*data.train_histories, *data.dev_histories]
    examples = [e for e in (*data.train, *data.dev) if e.candidates]
    rows = _rows(task, histories, examples, encoder)
    names = feature_names(task)["adapt"]
    everything = list(range(len(names)))
    found = {"default": _cross_validate(task, rows, everything, folds)}
    for group, members in GROUPS.items():
        left = [i for i, name in enumerate(names) if name not in members]
        if len(left) < len(names):
            found[f"without {group}"] = _cross_validate(task, rows, left, folds)
    for precision in (300.0, 30.0, 3.0):
        found[f"own weights, precision {precision:g}"] = _cross_validate(
            task, rows, everything, folds, head=precision
        )
    return [user for user, _, _ in rows], found


Row = tuple[str, ItemList, list[float]]
"""Whose query it is, its items, and each item's quality."""


def _rows(
    task: TaskSpec,
    histories: Sequence[History],
    examples: Sequence[TrainingExample],
    encoder: TextEncoder,
) -> list[Row]:
    rows: list[Row] = []
    if task.closed:
        labels = lists.label_set(task, histories, examples)
        honest = label_model.cross_fit(histories, labels)
        for example in examples:
            one = lists.label_list(example, task, honest[example.user], encoder)
            known = lists.labels_of(example.context, task, labels)
            if one is not None:
                rows.append((example.user, one, [quality(x, example, task) for x in known]))
        return rows
    _, apart = word_training.train(histories)
    for example in examples:
        one = lists.answer_list(example, apart[example.user])
        if one is not None and example.quality:
            rows.append((example.user, one, list(example.quality)))
    return rows


def _cross_validate(
    task: TaskSpec, rows: Sequence[Row], columns: list[int], folds: int, head: float | None = None
) -> list[float]:
    """Quality of the chosen item, every user's by weights of other folds' users.

    ``head``: the weights are fitted further to the user's other lists with
    that precision.
    """
    users = sorted({user for user, _, _ in rows})
    random.Random(0).shuffle(users)
    fold_of = {user: i % folds for i, user in enumerate(users)}
    prior = torch.tensor(adapt_prior(task), dtype=torch.float64)[columns][None]
    cut = [(u, ItemList(x.features[:, columns], x.targets), q) for u, x, q in rows]
    found = [0.0] * len(rows)
    for fold in range(folds):
        train = [x for u, x, _ in cut if fold_of[u] != fold]
        held = [i for i, (u, _, _) in enumerate(cut) if fold_of[u] == fold]
        shared = listwise.fit(listwise.pack([train]), prior, torch.full_like(prior[0], PRECISION))
        weights = shared.expand(len(held), -1)
        if head is not None:
            own = [
                [x for j, (u, x, _) in enumerate(cut) if u == cut[i][0] and j != i] for i in held
            ]
            if any(own):
                weights = listwise.fit(listwise.pack(own), weights, torch.full_like(prior[0], head))
        for i, w in zip(held, weights.numpy(), strict=True):
            _, one, grades = cut[i]
            scores = one.features @ w
            if task.kind == "rating":
                values = np.array([float(label) for label in task.labels])
                scores = -expected_loss(np.exp(log_softmax(scores)), values)
            found[i] = grades[int(scores.argmax())]
    return found


def interval(
    users: Sequence[str], gains: Sequence[float], *, draws: int = 2000
) -> tuple[float, float]:
    """95 % interval of the mean gain, bootstrapped over users."""
    own: dict[str, list[float]] = {}
    for user, gain in zip(users, gains, strict=True):
        own.setdefault(user, []).append(gain)
    sums = np.array([[sum(x), len(x)] for x in own.values()])
    chosen = np.random.default_rng(0).integers(0, len(sums), (draws, len(sums)))
    totals = sums[chosen].sum(1)
    low, high = np.quantile(totals[:, 0] / totals[:, 1], [0.025, 0.975])
    return float(low), float(high)


def show(title: str, users: Sequence[str], found: Mapping[str, list[float]], task: TaskSpec) -> str:
    """A Markdown table; gains are over its first row."""
    sign = -1.0 if task.kind == "rating" else 1.0
    first = next(iter(found))
    lines = [
        f"### {task.name}: {title} ({len(users)} queries, {len(set(users))} users)",
        "",
        f"| | {'MAE' if sign < 0 else 'quality'} | gain over {first} [95 %] |",
        "|---|---|---|",
    ]
    for name, values in found.items():
        gains = [a - b for a, b in zip(values, found[first], strict=True)]
        low, high = interval(users, gains)
        gain = "" if name == first else f"{np.mean(gains):+.4f} [{low:+.4f}, {high:+.4f}]"
        lines.append(f"| {name} | {sign * float(np.mean(values)):.4f} | {gain} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with lamp/ and recorded/")
    parser.add_argument("--tasks", default=",".join(TASKS))
    parser.add_argument("--recipes", default="hydra-pers,hydra,mof", help="the slow ones last")
    parser.add_argument("--encoder", default="all-minilm-l6-v2")
    parser.add_argument("--vectors", type=Path, help="keep vectors in this .npz file")
    parser.add_argument("--no-directions", action="store_true")
    flags = parser.parse_args()
    torch.manual_seed(0)
    for name in flags.tasks.split(","):
        plain = HFEncoder.open(flags.encoder)
        encoder = KeptVectors(plain, flags.vectors)
        data = read_recorded(flags.data, name, encoder)
        found = recipes_table(data, encoder, ["hydra-pers"])
        # the yardsticks train the encoder itself, and need it as it is
        others = [recipe for recipe in flags.recipes.split(",") if recipe != "hydra-pers"]
        found.update(recipes_table(data, plain, others) if others else {})
        print(show("recipes on dev users", [e.user for e in data.dev], found, data.task))
        print(flush=True)
        if not flags.no_directions:
            users, found = directions_table(data, encoder)
            print(show("directions, cross-validated", users, found, data.task))
            print(flush=True)
        encoder.save()


if __name__ == "__main__":
    main()
