"""The recipe ``mof``: shared facets, mixed for each user by what they wrote."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict

import torch
from torch import Tensor

from hydra_cli.core.errors import ModelError
from hydra_cli.core.plan import FirstStage
from hydra_cli.core.protocols import Progress, Supervision, TextEncoder
from hydra_cli.core.records import History, QueryContext, TrainingExample
from hydra_cli.core.tasks import TaskSpec
from hydra_cli.core.weights import Array, Card, Weights
from hydra_cli.modeling.hydra.bases import OpenBases, part_of, under
from hydra_cli.modeling.hydra.pair_encoder import PairEncoder
from hydra_cli.modeling.hydra.pairs import STAGES, Scoring, count_pairs
from hydra_cli.modeling.hydra.recipe import BM25_TEN
from hydra_cli.modeling.hydra.scoring import PairScorer
from hydra_cli.modeling.mof.histories import router_rows
from hydra_cli.modeling.mof.modules import FacetHeads, Router, uniform
from hydra_cli.modeling.mof.pairs import stage_pairs
from hydra_cli.modeling.mof.training import FacetSettings, train_facets


class MofRecipe:
    """Facets and router as a Recipe.

    A base holds, for each stage, the tuned encoder (float16), the facets and
    the router. A head only keeps the mixture (7 numbers a stage) that the
    router gave the user's history; without one, the router reads the history
    of each query. Without training examples the base is empty and keeps the
    given orders.
    """

    name = "mof"
    needs: frozenset[Supervision] = frozenset({"hydra_relevance", "quality"})
    first_stage: FirstStage = BM25_TEN
    labels_alone: bool = False

    def __init__(self, settings: FacetSettings | None = None) -> None:
        self.settings = settings or FacetSettings()
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
        """Encoder, facets and router of both stages."""
        tensors: dict[str, Array] = {}
        counts = {"users": len({e.user for e in examples}), "examples": len(examples)}
        for stage in STAGES:
            pairs = stage_pairs(stage, examples, task)
            counts |= count_pairs(stage, pairs)
            if not pairs:
                progress.note(f"{self.name}: no labels for {stage}, so it keeps the given order")
                continue
            network = PairEncoder(encoder, self.settings.pair_tokens)
            facets, router = train_facets(
                network,
                pairs,
                examples,
                encoder,
                self.settings,
                seed=f"{seed}\0{stage}",
                progress=progress,
            )
            tensors |= under(f"{stage}.encoder.", network.tensors())
            tensors |= under(f"{stage}.facets.", facets.state_dict())
            tensors |= under(f"{stage}.router.", router.state_dict())
        card = Card(
            kind="base",
            recipe=self.name,
            task=task.name,
            encoder=encoder.fingerprint,
            seed=seed,
            counts=counts,
            settings=asdict(self.settings),
        )
        return Weights(card, tensors)

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
        """Every given user's mixture, averaged over the histories of their examples."""
        stages = list(self._bases.encoders(base, self.name, encoder))
        routers = {stage: _router(base, stage, encoder) for stage in stages}
        progress.start("routing users", len(examples))
        heads = {}
        for user, own in examples.items():
            histories = [example.context.history for example in own]
            mixtures = {
                f"{stage}.mixture": mixtures_of(router, histories, encoder).mean(0)
                for stage, router in routers.items()
                if histories
            }
            heads[user] = base.head(
                user,
                under("", mixtures),
                seed=seed,
                counts={"examples": len(own)},
                settings=asdict(self.settings),
            )
            progress.advance()
        return heads

    def scorer(
        self, base: Weights, head: Weights | None, task: TaskSpec, encoder: TextEncoder
    ) -> PairScorer:
        """The head's mixture where one is given, else the router's for each history."""
        if head is not None:
            head.check_base(base)
        encoders = self._bases.encoders(base, self.name, encoder)
        heads = {
            stage: _FacetStage(
                _facets(base, stage, encoder),
                _router(base, stage, encoder),
                encoder,
                None if head is None else part_of(head, f"{stage}.").get("mixture"),
            )
            for stage in encoders
        }
        return PairScorer(task, encoders, heads)


class _FacetStage:
    """Facets of one stage, mixed for one user."""

    def __init__(
        self, facets: FacetHeads, router: Router, encoder: TextEncoder, mixture: Tensor | None
    ) -> None:
        self._facets = facets
        self._router = router
        self._encoder = encoder
        self._mixture = mixture

    @torch.no_grad()
    def __call__(self, states: Tensor, context: QueryContext) -> Tensor:
        mixture = self._mixture
        if mixture is None:
            mixture = mixtures_of(self._router, [context.history], self._encoder)[0]
        scores: Tensor = self._facets(states) @ mixture
        return scores


@torch.no_grad()
def mixtures_of(router: Router, histories: Sequence[History], encoder: TextEncoder) -> Tensor:
    """Mixtures (n, F); a user without any history hears all facets alike."""
    mixtures, _ = router(*router_rows(histories, encoder, torch.device("cpu")))
    empty = torch.tensor([not len(history) for history in histories])
    return torch.where(empty[:, None], uniform(), mixtures)


def _facets(base: Weights, stage: Scoring, encoder: TextEncoder) -> FacetHeads:
    facets = FacetHeads(encoder.dimension)
    _load(facets, base, f"{stage}.facets.")
    return facets.eval()


def _router(base: Weights, stage: Scoring, encoder: TextEncoder) -> Router:
    router = Router(encoder.dimension)
    _load(router, base, f"{stage}.router.")
    return router.eval()


def _load(module: torch.nn.Module, base: Weights, prefix: str) -> None:
    try:
        module.load_state_dict(dict(part_of(base, prefix)))
    except RuntimeError as error:
        raise ModelError(
            "the base model was made by another release",
            hint="run `hydra-pers fit` to train it anew",
        ) from error
