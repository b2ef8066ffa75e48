"""Does feedback on some answers help to choose among the next ones? On recorded answers.

    python -m tests.benchmarks.simulate_feedback --data ../shared/data [--tasks LaMP_4]

A training user's recorded queries come one after another. Each is answered by the
built-in weights as they are (frozen), and by those that the user's feedback so far
has moved; the user edits what is shown into the reference. The cost is the word
edits. A hostile word grades the candidates the wrong way round. No LLM is asked,
so edits never reach a prompt: this is the head's part alone, over few rounds.
The encoder is the hash one, for all arms. Intervals are bootstrapped over users.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from hydra_cli.core.feedback import Feedback, Heard
from hydra_cli.core.progress import Silent
from hydra_cli.core.protocols import LearningScorer
from hydra_cli.core.records import Candidate, Scored, TrainingExample
from hydra_cli.core.similarity import word_edits, words_kept
from hydra_cli.core.sortable_ids import new_id
from hydra_cli.core.tasks import TaskSpec
from hydra_cli.modeling.recipes import recipe_named
from hydra_cli.models.hash_encoder import HashEncoder
from tests.benchmarks.compare_scorers import interval
from tests.benchmarks.recorded import read_recorded

ARMS = {"all honest": 0.0, "20 % hostile": 0.2, "all hostile": 1.0}
START = datetime(2026, 1, 1, tzinfo=UTC)


def said(
    example: TrainingExample,
    chosen: Sequence[Scored[Candidate]],
    task: TaskSpec,
    feature_set: str,
    *,
    hostile: bool,
) -> Feedback:
    """The edit of one answer into its reference, or its opposite."""
    grades = [words_kept(one.item.text, example.reference) for one in chosen]
    return Feedback(
        new_id("fb"), new_id("ans"), example.user, task.name, "edit", START, START, "", "",
        features=tuple(one.item.features for one in chosen),
        grades=tuple(1.0 - value for value in grades) if hostile else tuple(grades),
        feature_set=feature_set,
    )  # fmt: skip


def costs(
    examples: Sequence[TrainingExample], task: TaskSpec, scorer: LearningScorer, hostile: float
) -> list[int]:
    """Word edits of each of one user's answers, each heard before the next."""
    heard: list[Feedback] = []
    found = []
    dice = random.Random(examples[0].user)
    for example in examples:
        now = scorer.after(Heard(tuple(heard))) if heard else scorer
        chosen = now.adapt(example.context, example.evidence, example.candidates)
        found.append(word_edits(chosen[0].item.text, example.reference))
        wrong = dice.random() < hostile
        heard.append(said(example, chosen, task, scorer.feature_set, hostile=wrong))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--tasks", default="LaMP_4")
    options = parser.parse_args()
    encoder, recipe = HashEncoder(), recipe_named("hydra-pers")
    print("| task | users | answers | frozen, words | arm | change | 95 % interval |")
    print("|---|---|---|---|---|---|---|")
    for name in options.tasks.split(","):
        recorded = read_recorded(options.data, name, encoder)
        task = recorded.task
        prior = recipe.train_base(task, [], [], encoder, seed=0, progress=Silent())
        scorer = recipe.scorer(prior, None, task, encoder)
        assert isinstance(scorer, LearningScorer)
        by_user: dict[str, list[TrainingExample]] = {}
        for example in recorded.train:
            by_user.setdefault(example.user, []).append(example)
        frozen = {
            u: [
                word_edits(
                    scorer.adapt(e.context, e.evidence, e.candidates)[0].item.text, e.reference
                )
                for e in own
            ]
            for u, own in by_user.items()
        }
        users = [u for u, own in by_user.items() for _ in own]
        base = [cost for own in frozen.values() for cost in own]
        mean = sum(base) / len(base)
        for arm, hostile in ARMS.items():
            learned = [c for own in by_user.values() for c in costs(own, task, scorer, hostile)]
            gains = [(new - old) / mean for new, old in zip(learned, base, strict=True)]
            low, high = interval(users, gains)
            change = sum(gains) / len(gains)
            print(
                f"| {name} | {len(by_user)} | {len(base)} | {mean:.2f} | {arm} "
                f"| {change:+.1%} | {low:+.1%} to {high:+.1%} |"
            )


if __name__ == "__main__":
    main()
