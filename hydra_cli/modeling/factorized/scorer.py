"""Base and head of one user at work: ordering records, answers and labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from hydra_cli.core.feedback import Heard
from hydra_cli.core.protocols import TextEncoder
from hydra_cli.core.records import Candidate, QueryContext, Record, Scored
from hydra_cli.core.tasks import TaskSpec
from hydra_cli.modeling.factorized.answer_features import answer_features, for_editing
from hydra_cli.modeling.factorized.feedback import moved_by
from hydra_cli.modeling.factorized.label_model import LabelModel
from hydra_cli.modeling.factorized.lists import (
    closed_features,
    expected_grades,
    label_scores,
    labels_of,
)
from hydra_cli.modeling.factorized.record_features import record_features
from hydra_cli.modeling.factorized.word_model import WordModel

Floats = NDArray[np.float64]
T = TypeVar("T")

SQUARED_SHARE = 0.2
"""How much squared error counts beside absolute error in a rating's expected loss."""


@dataclass(frozen=True, slots=True, eq=False)
class FactorizedScorer:
    """Scores are w . phi(context, item); higher is better."""

    task: TaskSpec
    encoder: TextEncoder
    rerank_weights: Floats  # (f,)
    adapt_weights: Floats  # (f,)
    labels: LabelModel
    words: WordModel
    feature_set: str = ""

    def after(self, heard: Heard) -> FactorizedScorer:
        """The scorer with the adapter's weights as feedback moves them."""
        weights = tuple(self.adapt_weights.tolist())
        editing = None if self.task.closed else for_editing(weights)
        moved = moved_by(heard, self.feature_set, weights, editing)
        return replace(self, adapt_weights=np.array(moved)) if moved is not None else self

    def rerank(
        self, context: QueryContext, shortlist: Sequence[Scored[Record]]
    ) -> list[Scored[Record]]:
        """The shortlist, best evidence first."""
        if not shortlist:
            return []
        expected = expected_grades(
            context, shortlist, self.task, self.labels, self.adapt_weights, self.encoder
        )
        scores = record_features(context, shortlist, expected) @ self.rerank_weights
        return _ordered([scored.item for scored in shortlist], scores)

    def adapt(
        self,
        context: QueryContext,
        evidence: Sequence[Scored[Record]],
        candidates: Sequence[Candidate],
    ) -> list[Scored[Candidate]]:
        """The answers, best first; for a closed set, every label of it.

        A label keeps the place and log-probability of the first answer that
        named it. Scores: log-probabilities for classification, minus the
        expected loss for ratings, so that the first is the Bayes choice.
        """
        if self.task.closed:
            labels = labels_of(context, self.task, self.labels.labels)
            if labels:
                return self._labels(context, labels, candidates)
        if not candidates:
            return []
        texts = [candidate.text for candidate in candidates]
        logprobs = [candidate.logprob for candidate in candidates]
        if self.task.closed:  # no label is known at all: the LLM's word stands
            scores = np.array([texts.count(text) / len(texts) for text in texts])
        else:
            features = answer_features(context, texts, logprobs, self.words)
            scores = features @ self.adapt_weights
            candidates = [
                replace(candidate, features=tuple(row))
                for candidate, row in zip(candidates, features.tolist(), strict=True)
            ]
        return _ordered(list(candidates), scores)

    def _labels(
        self, context: QueryContext, labels: Sequence[str], candidates: Sequence[Candidate]
    ) -> list[Scored[Candidate]]:
        answers = [candidate.text for candidate in candidates]
        features = closed_features(context, self.task, labels, answers, self.labels, self.encoder)
        scores = log_softmax(label_scores(features, self.adapt_weights))
        if self.task.kind == "rating":
            values = np.array([float(label) for label in labels])
            scores = -expected_loss(np.exp(scores), values)
        named: dict[str | None, Candidate] = {}
        for candidate in candidates:
            named.setdefault(self.task.parse(candidate.text, labels), candidate)
        items = []
        for label, row in zip(labels, features.tolist(), strict=True):
            by = named.get(label, Candidate(label))
            items.append(Candidate(label, by.sample, by.logprob, features=tuple(row)))
        return _ordered(items, scores)


def log_softmax(scores: Floats) -> Floats:
    shifted = scores - scores.max()
    logs: Floats = shifted - np.log(np.exp(shifted).sum())
    return logs


def expected_loss(probabilities: Floats, values: Floats) -> Floats:
    """Expected loss (n,) of answering each value, under ``probabilities`` (n,)."""
    distance = np.abs(values[:, None] - values[None, :])
    loss: Floats = (distance + SQUARED_SHARE * distance**2) @ probabilities
    return loss


def _ordered(items: Sequence[T], scores: Floats) -> list[Scored[T]]:
    order = np.argsort(-scores, kind="stable")
    return [Scored(items[i], float(scores[i])) for i in order]
