"""Labelled text pairs of both stages, with the paper's labels (arXiv 2406.02888, section 3)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from hydra_cli.core.records import Query, Record, TrainingExample
from hydra_cli.core.tasks import TaskSpec

Scoring = Literal["rerank", "adapt"]
STAGES: tuple[Scoring, ...] = ("rerank", "adapt")


@dataclass(frozen=True, slots=True)
class LabelledPair:
    """A text pair as the cross-encoder reads it, with its label 0 or 1.

    ``weight`` is how many equal pairs it stands for; ``example`` is the place
    of the training example that it comes from.
    """

    user: str
    example: int
    left: str
    right: str
    label: int
    weight: float = 1.0


def stage_pairs(
    stage: Scoring, examples: Sequence[TrainingExample], task: TaskSpec
) -> list[LabelledPair]:
    """Every labelled pair of a stage; examples without its supervision give none."""
    return rerank_pairs(examples) if stage == "rerank" else adapt_pairs(examples, task)


def rerank_pairs(examples: Sequence[TrainingExample]) -> list[LabelledPair]:
    """(query, record) with the label that the LLM's answer to that one record earned."""
    return [
        LabelledPair(
            user=example.user,
            example=place,
            left=example.context.query.text,
            right=record_text(scored.item),
            label=int(label > 0.5),
        )
        for place, example in enumerate(examples)
        for scored, label in zip(example.shortlist, example.hydra_relevance or (), strict=False)
    ]


def adapt_pairs(examples: Sequence[TrainingExample], task: TaskSpec) -> list[LabelledPair]:
    """(query, answer) with the paper's labels.

    Generation: the user's own output is 1, every answer of the LLM 0. Closed
    tasks: an answer is 1 where it is the right label. Equal answers to one
    query are one pair that weighs as much as all of them. An answer that is
    the user's own output to the letter would be both 0 and 1: it counts as 1
    alone.
    """
    pairs = []
    for place, example in enumerate(examples):
        query = example.context.query
        counted = Counter(answer_text(c.text, query, task) for c in example.candidates)
        if not counted:
            continue
        if task.closed:
            labels = {text: int(text == example.reference) for text in counted}
        else:
            labels = {text: 0 for text in counted if text != example.reference}
            labels[example.reference] = 1
        pairs += [
            LabelledPair(
                user=example.user,
                example=place,
                left=query.text,
                right=text,
                label=label,
                weight=float(counted[text]) if task.closed or not label else 1.0,
            )
            for text, label in labels.items()
        ]
    return pairs


def record_text(record: Record) -> str:
    """A record as the right side of a pair. Its output comes first: cuts happen at the end."""
    return f"{record.output}: {record.input}"


def answer_text(text: str, query: Query, task: TaskSpec) -> str:
    """An answer as the right side of a pair: a valid label where it names one."""
    return task.parse(text, query.labels) or text


def count_pairs(stage: Scoring, pairs: Sequence[LabelledPair]) -> dict[str, int]:
    """What a card says about a stage's supervision."""
    return {
        f"{stage}_pairs": len(pairs),
        f"{stage}_positives": sum(pair.label for pair in pairs),
    }
