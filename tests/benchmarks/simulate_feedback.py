"""Do edits of some drafts help to choose among the next ones? On training users' recorded answers.

    python -m tests.benchmarks.simulate_feedback --suite ../shared/data/long --tasks LaMP_4 \\
        --answers bank.jsonl.gz --vectors vectors.sqlite

A training user's recorded queries come one after another, oldest first, each with the
answers of the default draw. Who edits makes the reference of what is shown; the cost is
word edits. A hostile user chooses the worst candidate instead. No LLM is asked, so no
edit reaches a prompt: this is the head's part alone, over few rounds, and what its
constants were chosen by. `hydra-pers eval --simulate` plays the whole on other users.
The word model that answers a user has not seen their records. Intervals are
bootstrapped over users. Vectors are those of ``eval --cache``.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean

from hydra_cli.core.feedback import Feedback, Heard, KeptAnswer, KeptCandidate
from hydra_cli.core.progress import Silent
from hydra_cli.core.records import Candidate, Scored, TrainingExample
from hydra_cli.core.similarity import word_edits
from hydra_cli.core.sortable_ids import ANSWER_ID, new_id
from hydra_cli.core.tasks import TaskSpec
from hydra_cli.evaluation.simulation import heard
from hydra_cli.modeling.factorized import word_training
from hydra_cli.modeling.factorized.scorer import FactorizedScorer
from hydra_cli.modeling.recipes import recipe_named
from hydra_cli.models.bert_encoder import open_text_encoder
from hydra_cli.models.kept_encoder import KeptEncoder
from tests.benchmarks.compare_scorers import interval
from tests.benchmarks.recorded_texts import read_texts
from tests.benchmarks.text_measures import rouge

ARMS = {"nothing heard": None, "all honest": 0.0, "20 % hostile": 0.2, "all hostile": 1.0}
POOLS: dict[str, Callable[[Sequence[float]], float]] = {
    "a draft by chance": fmean,
    "the best draft": min,
}
START = datetime(2026, 1, 1, tzinfo=UTC)


def said(
    example: TrainingExample,
    chosen: Sequence[Scored[Candidate]],
    task: TaskSpec,
    feature_set: str,
    *,
    hostile: bool,
) -> Feedback:
    """What the user says of one answer."""
    answer = KeptAnswer(
        new_id(ANSWER_ID), example.user, task.name, "hydra-pers", "", chosen[0].item.text, START,
        tuple(map(KeptCandidate.of, chosen)), feature_set=feature_set,
    )  # fmt: skip
    return heard(answer, example.reference, task, hostile=hostile)


def shown(
    examples: Sequence[TrainingExample],
    task: TaskSpec,
    scorer: FactorizedScorer,
    hostile: float | None,
) -> list[str]:
    """What one user is shown, each answer heard before the next."""
    words: list[Feedback] = []
    found = []
    dice = random.Random(examples[0].user)
    for example in examples:
        now = scorer.after(Heard(tuple(words))) if words else scorer
        chosen = now.adapt(example.context, example.evidence, example.candidates)
        found.append(chosen[0].item.text)
        if hostile is not None:
            wrong = dice.random() < hostile
            words.append(said(example, chosen, task, scorer.feature_set, hostile=wrong))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--suite", type=Path, required=True)
    parser.add_argument("--tasks", default="LaMP_4")
    parser.add_argument("--answers", type=Path, nargs="+", required=True)
    parser.add_argument("--vectors", type=Path, required=True)
    parser.add_argument("--encoder", default="all-minilm-l6-v2")
    options = parser.parse_args()
    encoder = KeptEncoder(open_text_encoder(options.encoder), options.vectors)
    recipe = recipe_named("hydra-pers")
    print("| task | users | answers | shown | words edited | saved over RAG | 95 % | ROUGE |")
    print("|---|---|---|---|---|---|---|---|")
    for name in options.tasks.split(","):
        data = read_texts(options.suite, name, options.answers, encoder, default_draw=True)
        _, apart = word_training.train(data.histories)
        prior = recipe.train_base(data.task, [], [], encoder, seed=0, progress=Silent())
        scorer = recipe.scorer(prior, None, data.task, encoder)
        assert isinstance(scorer, FactorizedScorer)
        by_user: dict[str, list[TrainingExample]] = {}
        for example in sorted(data.train, key=lambda e: len(e.context.history)):
            if example.greedy is not None and example.user in apart:
                by_user.setdefault(example.user, []).append(example)
        order = [example for own in by_user.values() for example in own]
        texts = {"RAG, greedy": [example.greedy or "" for example in order]}
        for arm, hostile in ARMS.items():
            texts[arm] = [
                text
                for user, own in by_user.items()
                for text in shown(own, data.task, replace(scorer, words=apart[user]), hostile)
            ]
        costs = {arm: costs_of(found, order) for arm, found in texts.items()}
        costs = {**costs, **{pool: pool_costs(order, take) for pool, take in POOLS.items()}}
        for arm, edits in costs.items():
            print(row(name, order, arm, edits, costs["RAG, greedy"], texts.get(arm)), flush=True)


def row(
    task: str,
    examples: Sequence[TrainingExample],
    arm: str,
    edits: Sequence[float],
    base: Sequence[float],
    texts: Sequence[str] | None,
) -> str:
    """A line of the table; ``texts`` is None where nothing is chosen, so nothing is scored."""
    users = [example.user for example in examples]
    saved = [(old - new) / fmean(base) for new, old in zip(edits, base, strict=True)]
    low, high = interval(users, saved)
    scores = [rouge(t, e.reference) for t, e in zip(texts, examples, strict=True)] if texts else []
    cells = [
        *(task, str(len(set(users))), str(len(examples)), arm, f"{fmean(edits):.2f}"),
        *(f"{fmean(saved):+.1%}", f"{low:+.1%} to {high:+.1%}"),
        f"{fmean(scores):.3f}" if scores else "",
    ]
    return f"| {' | '.join(cells)} |"


def costs_of(texts: Sequence[str], examples: Sequence[TrainingExample]) -> list[float]:
    """Word edits from each text to what the user wrote."""
    return [float(word_edits(t, e.reference)) for t, e in zip(texts, examples, strict=True)]


def pool_costs(
    examples: Sequence[TrainingExample], take: Callable[[Sequence[float]], float]
) -> list[float]:
    """What ``take`` makes of the edits that each of an example's drafts would need."""
    return [take([float(word_edits(c.text, e.reference)) for c in e.candidates]) for e in examples]


if __name__ == "__main__":
    main()
