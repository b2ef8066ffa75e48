"""Training lists: what each stage's conditional logit learns from."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from hydra_cli.core.protocols import TextEncoder
from hydra_cli.core.records import (
    History,
    Query,
    QueryContext,
    Record,
    Scored,
    TrainingExample,
)
from hydra_cli.core.similarity import grade
from hydra_cli.core.tasks import TaskSpec
from hydra_cli.modeling.factorized.answer_features import answer_features
from hydra_cli.modeling.factorized.label_features import (
    label_features,
    mixed_features,
    ordinal_features,
)
from hydra_cli.modeling.factorized.label_model import LabelModel
from hydra_cli.modeling.factorized.listwise import ItemList
from hydra_cli.modeling.factorized.record_features import record_features
from hydra_cli.modeling.factorized.word_model import WordModel

Floats = NDArray[np.float64]

OLDER_RECORDS = 8
"""A record with fewer older ones is judged by the newer ones, too."""
TEMPERATURE = 0.05
"""Graded labels become targets by softmax(grade / TEMPERATURE)."""
RECORDS_A_USER, RECORDS = 30, 1000
"""At most this many records of a history, and of all, become lists of labels."""


def soft_targets(grades: Sequence[float]) -> Floats:
    """Grades in [0, 1] as a distribution (n,)."""
    scaled = np.asarray(grades, dtype=np.float64) / TEMPERATURE
    weights = np.exp(scaled - scaled.max())
    shares: Floats = weights / weights.sum()
    return shares


def label_set(
    task: TaskSpec, histories: Sequence[History], examples: Sequence[TrainingExample]
) -> tuple[str, ...]:
    """Every label that training knows of, declared ones first."""
    found = dict.fromkeys(task.labels)
    for example in examples:
        found.update(dict.fromkeys(example.context.query.labels))
    seen = {record.output for history in histories for record in history.records}
    seen |= {example.reference for example in examples}
    if task.kind == "rating" and found:
        return tuple(found)
    return (*found, *sorted(seen - found.keys()))


def labels_of(context: QueryContext, task: TaskSpec, known: Sequence[str]) -> tuple[str, ...]:
    """The labels a query can have: its own closed set, the task's, else all that were seen."""
    if declared := context.query.labels or task.labels:
        return declared
    seen = {record.output for record in context.history.records}
    return (*known, *sorted(seen - set(known)))


def closed_features(
    context: QueryContext,
    task: TaskSpec,
    labels: Sequence[str],
    answers: Sequence[str],
    model: LabelModel,
    encoder: TextEncoder,
) -> Floats:
    """Features (l, f) of every label; ``answers`` are the LLM's, unparsed."""
    votes = [task.parse(answer, labels) for answer in answers]
    mixed = mixed_features(context, labels, model)
    if task.kind == "rating":
        names = np.zeros((len(labels), len(context.vector)), np.float32)
        common = label_features(context, labels, votes, model, names)
        ordinal = ordinal_features(context, labels, votes, model)
        return np.concatenate([common, ordinal, mixed], axis=1)
    common = label_features(context, labels, votes, model, encoder.encode(labels))
    return np.concatenate([common, mixed], axis=1)


def label_scores(features: Floats, weights: Floats) -> Floats:
    """w . x of every label (l,). A base of an older release knows the first features alone."""
    scores: Floats = features[:, : len(weights)] @ weights
    return scores


def label_list(
    example: TrainingExample, task: TaskSpec, model: LabelModel, encoder: TextEncoder
) -> ItemList | None:
    """All labels of one example; None where the reference is no label of the set."""
    labels = labels_of(example.context, task, model.labels)
    if example.reference not in labels:
        return None
    answers = [candidate.text for candidate in example.candidates]
    features = closed_features(example.context, task, labels, answers, model, encoder)
    targets = np.array([float(label == example.reference) for label in labels])
    return ItemList(features, targets)


def history_lists(
    histories: Sequence[History],
    task: TaskSpec,
    models: Mapping[str, LabelModel],
    encoder: TextEncoder,
    *,
    seed: int,
) -> list[ItemList]:
    """Records of training users as label lists without LLM votes.

    A record leaves its own history first. Users weigh by the square root of
    how much they wrote.
    """
    lists = []
    each = min(RECORDS_A_USER, max(RECORDS // max(len(histories), 1), 4))
    for history in histories:
        chooser = random.Random(f"{seed}\0{history.user}")
        count = min(each, len(history))
        for row in sorted(chooser.sample(range(len(history)), count)):
            record = history.records[row]
            # Only what is older, as a query has it, and of any length; where that is next to
            # nothing, all the rest.
            enough = row >= OLDER_RECORDS
            rest = history.before(record) if enough else history.without(record)
            if not len(rest):
                continue
            query = Query(record.user, record.id, task.name, record.input, labels=task.labels)
            context = QueryContext(query, history.inputs[row], rest)
            found = label_list(
                TrainingExample(context, record.output), task, models[history.user], encoder
            )
            if found is not None:
                lists.append(ItemList(found.features, found.targets, count**-0.5))
    return lists


def answer_list(example: TrainingExample, model: WordModel) -> ItemList | None:
    """The LLM's answers of one example; None without graded answers that differ."""
    if not example.quality or max(example.quality) == min(example.quality):
        return None
    texts = [candidate.text for candidate in example.candidates]
    logprobs = [candidate.logprob for candidate in example.candidates]
    features = answer_features(example.context, texts, logprobs, model)
    return ItemList(features, soft_targets(example.quality))


def expected_grades(
    context: QueryContext,
    shortlist: Sequence[Scored[Record]],
    task: TaskSpec,
    model: LabelModel,
    weights: Floats,
    encoder: TextEncoder,
) -> Floats:
    """How well each record's output is expected to fit the query (n,); zeros for generation.

    A closed task's labels have probabilities before any answer of the LLM is
    seen; a record's expected grade is their mean likeness to its label.
    """
    labels = labels_of(context, task, model.labels) if task.closed else ()
    if not labels or not shortlist:
        return np.zeros(len(shortlist))
    scores = label_scores(closed_features(context, task, labels, (), model, encoder), weights)
    chances = np.exp(scores - scores.max())
    chances /= chances.sum()
    likeness = np.array(
        [[_likeness(scored.item.output, label, task) for label in labels] for scored in shortlist]
    )
    expected: Floats = likeness.reshape(len(shortlist), len(labels)) @ chances
    return expected


def _likeness(output: str, label: str, task: TaskSpec) -> float:
    if task.kind == "rating" and output in task.labels:
        return grade(prediction=output, reference=label, task=task)
    return float(output == label)


def record_list(example: TrainingExample, expected: Floats) -> ItemList | None:
    """The shortlist of one example; None without relevance that differs.

    ``expected`` (n,) are the expected grades of its records.
    """
    if not example.relevance or max(example.relevance) == min(example.relevance):
        return None
    features = record_features(example.context, example.shortlist, expected)
    return ItemList(features, soft_targets(example.relevance))
