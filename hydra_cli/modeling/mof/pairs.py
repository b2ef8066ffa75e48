"""Labelled pairs for facets: answers are compared with the LLM's other answers."""

from __future__ import annotations

from collections.abc import Sequence

from hydra_cli.core.records import TrainingExample
from hydra_cli.core.tasks import TaskSpec
from hydra_cli.modeling.hydra.pairs import LabelledPair, Scoring, adapt_pairs, answer_text
from hydra_cli.modeling.hydra.pairs import stage_pairs as dense_pairs


def stage_pairs(
    stage: Scoring, examples: Sequence[TrainingExample], task: TaskSpec
) -> list[LabelledPair]:
    """Every labelled pair of a stage; examples without its supervision give none."""
    if stage == "rerank":
        return dense_pairs(stage, examples, task)
    return adapt_pairs(examples, task) if task.closed else relative_pairs(examples, task)


def relative_pairs(examples: Sequence[TrainingExample], task: TaskSpec) -> list[LabelledPair]:
    """(query, answer) of generation tasks: 1 where the grade is above the query's mean.

    Equal answers to one query are one pair that weighs as much as all of them.
    A query whose answers are all equally good teaches nothing and gives none.
    """
    pairs: list[LabelledPair] = []
    for place, example in enumerate(examples):
        quality = example.quality or ()
        if len(set(quality)) < 2:
            continue
        mean = sum(quality) / len(quality)
        query = example.context.query
        found: dict[str, LabelledPair] = {}
        for candidate, value in zip(example.candidates, quality, strict=True):
            text = answer_text(candidate.text, query, task)
            weight = found[text].weight + 1.0 if text in found else 1.0
            found[text] = LabelledPair(
                example.user, place, query.text, text, int(value > mean), weight
            )
        pairs += found.values()
    return pairs
