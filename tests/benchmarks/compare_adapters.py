"""Whose adapter chooses best among the very same answers? The table of docs/results.md.

    python -m tests.benchmarks.compare_adapters --suite ../shared/data/long --tasks commits,jokes \\
        --answers bank.jsonl.gz --vectors vectors.sqlite

HYDRA's, MoF's and ours, each trained on training users and used without a fit on dev
users' queries. The yardsticks learn from the LLM's recorded answers to training users'
queries and records; ours learns from histories alone, as a plain ``fit`` does, and, in
a row of its own, from those answers as well. Where answers to dev users' own records are
recorded, too, a second row has each method with heads fitted on them. No LLM is asked, so no
reranker is trained: every method is handed the same records and the same eight answers.
Figures are means over queries; intervals of ours less theirs are bootstrapped over users.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from hydra_cli.core.progress import Silent
from hydra_cli.core.protocols import Recipe, TextEncoder
from hydra_cli.core.records import TrainingExample
from hydra_cli.core.tasks import TaskSpec
from hydra_cli.core.weights import Weights
from hydra_cli.modeling.recipes import recipe_named
from hydra_cli.models.hf_encoder import HFEncoder
from hydra_cli.models.kept_encoder import KeptEncoder
from tests.benchmarks.compare_scorers import interval, quality
from tests.benchmarks.recorded_texts import Texts, read_texts
from tests.benchmarks.text_measures import rouge

OURS, TAUGHT = "hydra-pers, from histories", "hydra-pers, from histories and answers"
RAG, ORACLE = "RAG (greedy)", "best of the answers (oracle)"
YARDSTICKS = ("hydra", "mof")
HEADS = ", heads of their own"

Found = dict[str, list[float]]


def score(text: str | None, example: TrainingExample, task: TaskSpec) -> float:
    """Accuracy, minus the distance in stars, or ROUGE without stemming, as in ``eval``."""
    if task.closed:
        return quality(text, example, task)
    return rouge(text or "", example.reference)


def compared(
    data: Texts, encoder: TextEncoder, yardsticks: Sequence[str], *, seed: int = 0
) -> Found:
    """Every method's score on every dev query."""
    task = data.task
    pools = [[score(c.text, e, task) for c in e.candidates] for e in data.dev]
    found = {RAG: [score(e.greedy, e, task) for e in data.dev], ORACLE: [max(p) for p in pools]}
    answered = [e for e in data.train if e.candidates]
    own: dict[str, list[TrainingExample]] = {}
    for example in data.own:
        own.setdefault(example.user, []).append(example)
    ways: list[tuple[str, str, Sequence[TrainingExample]]] = [
        (OURS, "hydra-pers", []),
        (TAUGHT, "hydra-pers", answered),
        *((name, name, answered) for name in yardsticks),
    ]
    for label, name, examples in ways:
        recipe = recipe_named(name)
        base = recipe.train_base(
            task, examples, data.histories, encoder, seed=seed, progress=Silent()
        )
        found[label] = _chosen(data, recipe, base, {}, encoder)
        if own and label != OURS:  # without answers ours has no head beside the history
            heads = recipe.fit_heads(base, task, own, encoder, seed=seed, progress=Silent())
            found[label + HEADS] = _chosen(data, recipe, base, heads, encoder)
    return found


def _chosen(
    data: Texts, recipe: Recipe, base: Weights, heads: Mapping[str, Weights], encoder: TextEncoder
) -> list[float]:
    """The score of what is chosen for each dev query, by its user's head where there is one."""
    scorers = {
        user: recipe.scorer(base, heads.get(user), data.task, encoder)
        for user in {example.user for example in data.dev}
    }
    scores = []
    for example in data.dev:
        ranked = scorers[example.user].adapt(example.context, example.evidence, example.candidates)
        scores.append(score(ranked[0].item.text, example, data.task))
    return scores


def table(data: Texts, found: Found) -> str:
    """A Markdown table: each method, and what ours has over it."""
    users = [e.user for e in data.dev]
    answered = [e for e in data.train if e.candidates]
    sign = -1.0 if data.task.kind == "rating" else 1.0
    lines = [
        f"### {data.task.name} ({len(users)} queries, {len(set(users))} users;"
        f" trained on {len(answered)} answered queries of {len({e.user for e in answered})} users;"
        f" heads on {len(data.own)} answered records)",
        "",
        "| | score | ours, from histories, less this [95 %] |",
        "|---|---|---|",
    ]
    for name, values in found.items():
        ahead = [a - b for a, b in zip(found[OURS], values, strict=True)]
        low, high = interval(users, ahead)
        gain = "" if name == OURS else f"{np.mean(ahead):+.3f} [{low:+.3f}, {high:+.3f}]"
        lines.append(f"| {name} | {sign * float(np.mean(values)):.3f} | {gain} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--suite", type=Path, required=True)
    parser.add_argument("--tasks", required=True)
    parser.add_argument("--answers", type=Path, nargs="+", required=True)
    parser.add_argument("--vectors", type=Path, required=True)
    parser.add_argument("--yardsticks", default=",".join(YARDSTICKS))
    parser.add_argument("--encoder", default="all-minilm-l6-v2")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    for name in options.tasks.split(","):
        encoder = KeptEncoder(HFEncoder.open(options.encoder), options.vectors)
        data = read_texts(options.suite, name, options.answers, encoder, default_draw=True)
        yardsticks = [one for one in options.yardsticks.split(",") if one]
        found = compared(data, encoder, yardsticks, seed=options.seed)
        print(table(data, found), end="\n\n", flush=True)


if __name__ == "__main__":
    main()
