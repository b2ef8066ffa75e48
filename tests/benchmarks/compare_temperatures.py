"""How hot should the answers be drawn? The live table of docs/design/scoring.md.

    python -m tests.benchmarks.compare_temperatures --suite ../shared/data/lamp --task LaMP_4

For each temperature: the greedy answer, the mean and the best of the n
answers, and the one that the default adapter chooses, cross-validated over
training users and on dev users by a base of all training queries. Answers are
kept in ``--cache``: the second run of a temperature asks the LLM nothing.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from hydra_cli.config import DEFAULT_MODEL, Settings
from hydra_cli.core.plan import AnswerPlan
from hydra_cli.core.progress import Silent
from hydra_cli.core.protocols import ChatModel, Scorer, TextEncoder
from hydra_cli.core.records import History, TrainingExample
from hydra_cli.core.similarity import grade
from hydra_cli.core.tasks import PRESETS, TaskSpec
from hydra_cli.evaluation.questions import build_contexts
from hydra_cli.evaluation.training import TrainingPlan, training_set
from hydra_cli.modeling.recipes import recipe_named
from hydra_cli.models.hf_encoder import HFEncoder
from hydra_cli.pipeline.supervision import SupervisionPlan, supervise
from hydra_cli.wiring import open_chat
from hydra_cli.workflows.evaluate import DataLimits, read_files, suite_files

Figures = dict[str, float]
FOLDS = 5


@dataclass(frozen=True, slots=True)
class Material:
    """Pseudo-queries and pasts of the training users."""

    task: TaskSpec
    examples: tuple[TrainingExample, ...]
    histories: tuple[History, ...]

    def only(self, users: set[str]) -> Material:
        return Material(
            self.task,
            tuple(example for example in self.examples if example.user in users),
            tuple(history for history in self.histories if history.user in users),
        )


def folds(material: Material) -> list[tuple[Material, Material]]:
    """(held out, trained on), by users; none where a single user is all there is."""
    users = sorted({example.user for example in material.examples})
    if len(users) < 2:
        return []
    random.Random(0).shuffle(users)
    count = min(FOLDS, len(users))
    parts = [set(users[i::count]) for i in range(count)]
    everyone = {*users, *(history.user for history in material.histories)}
    return [(material.only(part), material.only(everyone - part)) for part in parts]


def compare(
    material: Material,
    dev: Sequence[TrainingExample],
    plan: SupervisionPlan,
    chat: ChatModel,
    encoder: TextEncoder,
) -> tuple[Figures, Figures]:
    """Mean grades at the plan's temperature: of training queries, and of dev queries."""
    recipe, task = recipe_named("hydra-pers"), material.task
    plan = replace(plan, needs=recipe.needs, answers=True)
    train, _ = supervise(material.examples, task, plan, chat=chat)
    dev, _ = supervise(dev, task, plan, chat=chat)
    material = replace(material, examples=tuple(train))

    def scorer(part: Material) -> Scorer:
        base = recipe.train_base(
            task, part.examples, part.histories, encoder, seed=0, progress=Silent()
        )
        return recipe.scorer(base, None, task, encoder)

    chosen = [
        quality
        for held_out, rest in folds(material)
        for quality in qualities(scorer(rest), held_out.examples, task)
    ]
    everyone = qualities(scorer(material), dev, task)
    return (
        describe(train, task) | {"adapter": float(np.mean(chosen))},
        describe(dev, task) | {"adapter": float(np.mean(everyone))},
    )


def qualities(scorer: Scorer, examples: Sequence[TrainingExample], task: TaskSpec) -> list[float]:
    """The grade of the answer that the adapter puts first, for each example."""
    chosen = [scorer.adapt(e.context, e.evidence, e.candidates)[0].item.text for e in examples]
    return [
        grade(prediction=text, reference=example.reference, task=task)
        for text, example in zip(chosen, examples, strict=True)
    ]


def describe(examples: Sequence[TrainingExample], task: TaskSpec) -> Figures:
    """What there was to choose from."""
    greedy = [grade(prediction=e.greedy or "", reference=e.reference, task=task) for e in examples]
    return {
        "greedy": float(np.mean(greedy)),
        "mean of n": float(np.mean([np.mean(e.quality or 0.0) for e in examples])),
        "best of n": float(np.mean([max(e.quality or (0.0,)) for e in examples])),
    }


def load(
    suite: Path, task: str, encoder: TextEncoder, *, train: int, queries: int
) -> tuple[Material, list[TrainingExample]]:
    """Training queries with their users' histories, and dev queries, as ``eval`` takes them."""
    (files,) = suite_files(suite, [task])
    read = read_files(files, PRESETS, DataLimits(queries=queries))
    contexts, _ = build_contexts(read.questions, encoder)
    dev = [
        TrainingExample(context, read.questions.references[context.query.user, context.query.id])
        for context in contexts
    ]
    plan = TrainingPlan(examples=train, held_out=0)
    found = training_set(read.train, read.questions, encoder, plan)
    pasts = tuple(one.past for one in found.splits)
    return Material(found.task, tuple(found.examples), pasts), dev


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--suite", type=Path, required=True, help="a folder of LaMP tasks")
    parser.add_argument("--task", default="LaMP_4")
    parser.add_argument("--temperatures", default="0.8,0.5")
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--train-limit", type=int, default=60)
    parser.add_argument("--limit-queries", type=int, default=30)
    parser.add_argument("--encoder", default="all-minilm-l6-v2")
    parser.add_argument("--concurrency", type=int, default=48)
    parser.add_argument("--cache", type=Path, required=True, help="folder of kept answers")
    flags = parser.parse_args()
    encoder = HFEncoder.open(flags.encoder)
    material, dev = load(
        flags.suite, flags.task, encoder, train=flags.train_limit, queries=flags.limit_queries
    )
    settings = Settings(store=flags.cache, model=flags.model, concurrency=flags.concurrency)
    chat = open_chat(settings)
    print(f"{flags.task}: {len(material.examples)} training and {len(dev)} dev queries\n")
    print("| temperature | greedy | mean of n | best of n | adapter |\n|---|---|---|---|---|")
    for temperature in flags.temperatures.split(","):
        plan = SupervisionPlan(answering=AnswerPlan(temperature=float(temperature)))
        pair = compare(material, dev, plan, chat, encoder)
        cells = [f"{pair[0][name]:.3f} / {pair[1][name]:.3f}" for name in pair[0]]
        print(f"| {temperature} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
