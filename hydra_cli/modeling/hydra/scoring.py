"""Base and head of one user, bound together: dense cross-encoder scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor

from hydra_cli.core.records import Candidate, QueryContext, Record, Scored, T
from hydra_cli.core.tasks import TaskSpec
from hydra_cli.modeling.hydra.pair_encoder import PairEncoder
from hydra_cli.modeling.hydra.pairs import Scoring, answer_text, record_text


class StageHead(Protocol):
    """Scores (n,) of first-token states (n, d) for one context; higher is better."""

    def __call__(self, states: Tensor, context: QueryContext) -> Tensor: ...


class PairScorer:
    """Scores pairs with each stage's encoder and head, in eval mode.

    A stage that was never trained keeps the given order: the shortlist's, and
    the LLM's own.
    """

    def __init__(
        self,
        task: TaskSpec,
        encoders: Mapping[Scoring, PairEncoder],
        heads: Mapping[Scoring, StageHead],
    ) -> None:
        self._task = task
        self._encoders = encoders
        self._heads = heads

    def rerank(
        self, context: QueryContext, shortlist: Sequence[Scored[Record]]
    ) -> list[Scored[Record]]:
        records = [scored.item for scored in shortlist]
        scores = self._scores("rerank", context, [record_text(record) for record in records])
        return list(shortlist) if scores is None else best_first(records, scores)

    def adapt(
        self,
        context: QueryContext,
        evidence: Sequence[Scored[Record]],
        candidates: Sequence[Candidate],
    ) -> list[Scored[Candidate]]:
        """The LLM's answers, best first. HYDRA adds no labels that no answer named."""
        texts = [answer_text(c.text, context.query, self._task) for c in candidates]
        scores = self._scores("adapt", context, texts)
        if scores is None:
            return [Scored(candidate, 0.0) for candidate in candidates]
        return best_first(candidates, scores)

    @torch.no_grad()
    def _scores(
        self, stage: Scoring, context: QueryContext, texts: Sequence[str]
    ) -> list[float] | None:
        """Scores in the texts' order; equal texts are read once. None: no such stage."""
        if stage not in self._encoders or not texts:
            return None
        encoder = self._encoders[stage]
        unique = list(dict.fromkeys(texts))
        states = encoder.states(encoder.tokenize([(context.query.text, t) for t in unique]))
        by_text = dict(zip(unique, self._heads[stage](states, context).tolist(), strict=True))
        return [by_text[text] for text in texts]


def best_first(items: Sequence[T], scores: Sequence[float]) -> list[Scored[T]]:
    """Highest score first; ties keep their order."""
    scored = [Scored(item, score) for item, score in zip(items, scores, strict=True)]
    return sorted(scored, key=lambda one: -one.score)
