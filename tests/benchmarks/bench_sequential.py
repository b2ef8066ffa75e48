"""How many answers does stopping early save, and what does it lose?

    python -m tests.benchmarks.bench_sequential --data ../shared/data --vectors vectors.npz

Replays recorded answers of dev users in the order in which they came, scored
by the default recipe trained on training users. Prints Markdown, and the margin
for ``pipeline.answering.CLEAR_MARGIN``: the one that saves most and loses nothing.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from hydra_cli.core.progress import Silent
from hydra_cli.core.records import Candidate, Scored, TrainingExample
from hydra_cli.modeling.recipes import recipe_named
from hydra_cli.models.hf_encoder import HFEncoder
from tests.benchmarks.compare_scorers import TASKS, quality
from tests.benchmarks.recorded import KeptVectors, Recorded, read_recorded
from tests.benchmarks.stopping import Trace, calibrate, tradeoffs

MARGINS = (0.1, 0.25, 0.5, 1.0, 2.0, 4.0)


def traces(data: Recorded, encoder: KeptVectors) -> list[Trace]:
    """One trace a dev query of a generation task."""
    recipe = recipe_named("hydra-pers")
    base = recipe.train_base(
        data.task, data.train, data.train_histories, encoder, seed=0, progress=Silent()
    )
    scorer = recipe.scorer(base, None, data.task, encoder)

    def trace(example: TrainingExample) -> Trace:
        def score(answers: Sequence[Candidate]) -> list[Scored[Candidate]]:
            return scorer.adapt(example.context, example.evidence, answers)

        graded = tuple(quality(c.text, example, data.task) for c in example.candidates)
        return Trace(example.candidates, graded, score)

    return [trace(example) for example in data.dev if example.candidates]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--vectors", type=Path)
    parser.add_argument("--tasks", default="LaMP_4,LaMP_5")
    options = parser.parse_args()
    encoder = KeptVectors(HFEncoder.open("all-minilm-l6-v2"), options.vectors)
    print("| task | margin | answers of 8 | saved | quality | lost |\n|---|---|---|---|---|---|")
    chosen = []
    for name in TASKS:
        if name not in options.tasks.split(","):
            continue
        rows = tradeoffs(traces(read_recorded(options.data, name, encoder), encoder), MARGINS)
        best = calibrate(rows, tolerance=0.0)
        chosen.append(f"{name}: {best.rule.margin:g}" if best else f"{name}: ask for all")
        for row in rows:
            print(
                f"| {name} | {row.rule.margin:g} | {row.answers:.1f} | {row.saved:.0%} "
                f"| {row.quality:.4f} | {row.lost:+.4f} |"
            )
    print(f"\nMargins that lose nothing: {'; '.join(chosen)}.")
    encoder.save()


if __name__ == "__main__":
    main()
