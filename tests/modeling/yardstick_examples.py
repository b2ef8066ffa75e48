"""Made-up training examples for the yardsticks' tests."""

from __future__ import annotations

import numpy as np

from hydra_cli.core.records import Candidate, History, Query, QueryContext, Record, Scored
from hydra_cli.core.records import TrainingExample as Example

TOPICS = ("cat", "dog", "bird", "tree", "house", "music", "guitar", "string")
DIMENSION = 32


def history_of(user: str, task: str, outputs: list[str]) -> History:
    """Records on ``TOPICS`` with seeded unit vectors of the tiny encoder's size."""
    records = tuple(
        Record(user, f"{user}{i}", task, f"an article on {TOPICS[i]}", output)
        for i, output in enumerate(outputs)
    )
    vectors = np.random.default_rng(len(user)).normal(size=(2, len(records), DIMENSION))
    vectors = (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)
    closed = task != "LaMP_4"
    return History(user, records, vectors[0], None if closed else vectors[1])


def example_of(history: History, row: int, answers: list[str], quality: list[float]) -> Example:
    """A record as a pseudo-query; every second record of its shortlist is relevant."""
    record = history.records[row]
    rest = history.without(record)
    context = QueryContext(
        Query(history.user, record.id, record.task, record.input), history.inputs[row], rest
    )
    shortlist = tuple(Scored(other, 1.0 - i / 10) for i, other in enumerate(rest.records[:4]))
    labels = tuple(float(i % 2) for i in range(len(shortlist)))
    return Example(
        context=context,
        reference=record.output,
        shortlist=shortlist,
        relevance=labels,
        hydra_relevance=labels,
        evidence=shortlist[:2],
        candidates=tuple(Candidate(text, i) for i, text in enumerate(answers)),
        quality=tuple(quality),
    )


def open_examples(count: int = 2) -> list[Example]:
    """Headlines of two users: their own titles are "good ...", the LLM's "bad ..."."""
    made = []
    for i in range(count):
        user = ("ann", "cleo")[i % 2]
        titles = [f"good {topic}" for topic in TOPICS]
        history = history_of(user, "LaMP_4", titles)
        row = (i // 2) % len(TOPICS)
        answers = ["bad paper", f"bad {TOPICS[row]}", "bad paper"]
        made.append(example_of(history, row, answers, [0.1, 0.4, 0.1]))
    return made


def closed_examples() -> list[Example]:
    """Labels of one user: sports and comedy by turns."""
    history = history_of("bob", "LaMP_2N", ["sports", "comedy"] * 4)
    return [
        example_of(history, row, ["sports", "comedy", "sports"], [1.0 - row % 2, row % 2, 1.0])
        for row in range(4)
    ]
