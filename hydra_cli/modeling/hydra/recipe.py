"""The recipe ``hydra``: a fine-tuned base for each stage, a dense head for each user."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace

import torch
from torch import Tensor

from hydra_cli.core.plan import FirstStage
from hydra_cli.core.protocols import Progress, Supervision, TextEncoder
from hydra_cli.core.records import History, QueryContext, TrainingExample
from hydra_cli.core.tasks import TaskSpec
from hydra_cli.core.weights import Array, Card, Weights
from hydra_cli.modeling.hydra.bases import OpenBases, part_of, under
from hydra_cli.modeling.hydra.heads import HeadTensors, log_odds, stack
from hydra_cli.modeling.hydra.pair_encoder import PairEncoder
from hydra_cli.modeling.hydra.pairs import STAGES, Scoring, count_pairs, stage_pairs
from hydra_cli.modeling.hydra.scoring import PairScorer
from hydra_cli.modeling.hydra.training import DenseSettings, fit_heads, train_together

BM25_TEN: FirstStage = (("retriever", "bm25"), ("shortlist", 10))
"""The paper's first stage: BM25's ten best records."""


class HydraRecipe:
    """HYDRA (arXiv 2406.02888).

    A base holds, for each stage, the fine-tuned encoder (float16) and the mean
    of the training users' heads; their own heads are not kept, so that
    forgetting a user never means training a base again for a head's sake.
    Without training examples the base is empty and keeps the given orders.
    """

    needs: frozenset[Supervision] = frozenset({"hydra_relevance", "quality"})
    first_stage: FirstStage = BM25_TEN
    labels_alone: bool = False

    def __init__(self, settings: DenseSettings | None = None, *, name: str = "hydra") -> None:
        self.name = name
        self.settings = settings or DenseSettings()
        self._bases = OpenBases()

    def train_base(
        self,
        task: TaskSpec,
        examples: Sequence[TrainingExample],
        histories: Sequence[History],
        encoder: TextEncoder,
        *,
        seed: int,
        progress: Progress,
    ) -> Weights:
        """Both stages' encoders, each trained together with the training users' heads."""
        tensors: dict[str, Array] = {}
        counts = {"users": len({e.user for e in examples}), "examples": len(examples)}
        for stage in STAGES:
            pairs = stage_pairs(stage, examples, task)
            counts |= count_pairs(stage, pairs)
            if not pairs:
                progress.note(f"{self.name}: no labels for {stage}, so it keeps the given order")
                continue
            network = PairEncoder(encoder, self.settings.pair_tokens)
            mean = train_together(
                network, pairs, self.settings, seed=f"{seed}\0{stage}", progress=progress
            )
            tensors |= under(f"{stage}.encoder.", network.tensors())
            tensors |= under(f"{stage}.head.", mean)
        return Weights(
            Card(
                kind="base",
                recipe=self.name,
                task=task.name,
                encoder=encoder.fingerprint,
                seed=seed,
                counts=counts,
                settings=asdict(self.settings),
            ),
            tensors,
        )

    def fit_heads(
        self,
        base: Weights,
        task: TaskSpec,
        examples: Mapping[str, Sequence[TrainingExample]],
        encoder: TextEncoder,
        *,
        seed: int,
        progress: Progress,
    ) -> dict[str, Weights]:
        """Every given user's head; a stage without labels stays the population's."""
        tensors: dict[str, dict[str, Array]] = {user: {} for user in examples}
        counts: dict[str, dict[str, int]] = {
            user: {"examples": len(own)} for user, own in examples.items()
        }
        for stage, network in self._encoders(base, encoder).items():
            pairs_of = {
                user: [replace(pair, user=user) for pair in stage_pairs(stage, own, task)]
                for user, own in examples.items()
            }
            heads = fit_heads(
                network,
                [pair for pairs in pairs_of.values() for pair in pairs],
                self._population(base, stage),
                self.settings,
                seed=f"{seed}\0{stage}",
                progress=progress,
            )
            for user, pairs in pairs_of.items():
                counts[user] |= count_pairs(stage, pairs)
                tensors[user] |= under(f"{stage}.head.", heads.get(user, {}))
        settings = asdict(self.settings)
        return {
            user: base.head(user, own, seed=seed, counts=counts[user], settings=settings)
            for user, own in tensors.items()
        }

    def scorer(
        self, base: Weights, head: Weights | None, task: TaskSpec, encoder: TextEncoder
    ) -> PairScorer:
        """The user's head where one is given, else the mean of the training users'."""
        if head is not None:
            head.check_base(base)
        encoders = self._encoders(base, encoder)
        heads = {}
        for stage in encoders:
            own = {} if head is None else dict(part_of(head, f"{stage}.head."))
            heads[stage] = _DenseStage(own or self._population(base, stage))
        return PairScorer(task, encoders, heads)

    def _encoders(self, base: Weights, encoder: TextEncoder) -> dict[Scoring, PairEncoder]:
        return self._bases.encoders(base, self.name, encoder)

    def _population(self, base: Weights, stage: Scoring) -> HeadTensors:
        return dict(part_of(base, f"{stage}.head."))


class _DenseStage:
    """One user's head of one stage."""

    def __init__(self, tensors: HeadTensors) -> None:
        self._heads = stack([tensors])

    def __call__(self, states: Tensor, context: QueryContext) -> Tensor:
        with torch.no_grad():
            return log_odds(self._heads(states[None]))[0]
