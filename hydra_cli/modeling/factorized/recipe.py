"""The default recipe: a shared conditional logit, and small heads shrunk to it.

Base: the population's weights of both stages, and for closed tasks the label
model. Head: a user's own weights, kept as differences from the base. Prior
knowledge flows one way: hand-set weights, then training users' histories,
then their answered examples, then the user.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from hydra_cli.core.errors import ModelError
from hydra_cli.core.protocols import Progress, Scorer, Supervision, TextEncoder
from hydra_cli.core.records import History, TrainingExample
from hydra_cli.core.tasks import TaskSpec
from hydra_cli.modeling.factorized import (
    answer_features,
    label_features,
    label_model,
    lists,
    listwise,
    record_features,
)
from hydra_cli.modeling.factorized.label_model import LabelModel
from hydra_cli.modeling.factorized.listwise import ItemList
from hydra_cli.modeling.factorized.scorer import FactorizedScorer
from hydra_cli.modeling.weights import Card, Weights

_LABEL_TENSORS = ("vectors", "words", "rarity", "frequency")

POPULATION_PRECISION = 5.0
HEAD_PRECISION = 100.0


@dataclass(frozen=True, slots=True)
class FactorizedRecipe:
    """``hydra-pers``: one conditional logit a stage, MAP heads of a few numbers."""

    name: str = "hydra-pers"
    needs: frozenset[Supervision] = frozenset({"relevance", "quality"})

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
        """The population's weights; without any data, the hand-set prior."""
        records = [found for e in examples if (found := lists.record_list(e)) is not None]
        tensors: dict[str, Tensor] = {"rerank": _population(records, record_features.PRIOR)}
        counts = {"record lists": len(records)}
        settings: dict[str, object] = {"features": feature_names(task)}
        if task.closed:
            labels = lists.label_set(task, histories, examples)
            model = label_model.train(histories, labels)
            honest = dict(label_model.cross_fit(histories, labels))
            seen = lists.history_lists(histories, task, honest, encoder, seed=seed)
            answered = [
                found
                for e in examples
                if e.candidates
                and (found := lists.label_list(e, task, honest.get(e.user, model), encoder))
            ]
            start = _population(seen, adapt_prior(task))
            tensors["adapt"] = _population(answered, start.tolist())
            tensors |= {
                f"label_{name}": torch.from_numpy(np.ascontiguousarray(getattr(model, name)))
                for name in _LABEL_TENSORS
            }
            settings["labels"] = list(model.labels)
            counts |= {"history lists": len(seen), "answer lists": len(answered)}
        else:
            answers = _answer_lists(examples, encoder)
            tensors["adapt"] = _population(answers, adapt_prior(task))
            counts["answer lists"] = len(answers)
        counts["users"] = len({h.user for h in histories} | {e.user for e in examples})
        progress.note(f"base of {task.name}: {counts}")
        card = Card(
            kind="base",
            recipe=self.name,
            task=task.name,
            encoder=encoder.fingerprint,
            seed=seed,
            counts=counts,
            settings=settings,
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
        """Every user's weights, shrunk to the population's, in one batched computation."""
        self._check(base, task, encoder)
        model = _label_model(base)
        users = list(examples)
        records: list[list[ItemList]] = []
        answers: list[list[ItemList]] = []
        for user in users:
            own = examples[user]
            records.append([x for e in own if (x := lists.record_list(e)) is not None])
            if task.closed:
                found = [lists.label_list(e, task, model, encoder) for e in own]
                answers.append([x for x in found if x is not None])
            else:
                answers.append(_answer_lists(own, encoder))
        rerank = _differences(records, base.tensors["rerank"])
        adapt = _differences(answers, base.tensors["adapt"])
        heads = {}
        for i, user in enumerate(users):
            counts = {"record lists": len(records[i]), "answer lists": len(answers[i])}
            card = Card(
                kind="head",
                recipe=self.name,
                task=task.name,
                encoder=encoder.fingerprint,
                seed=seed,
                base=base.fingerprint,
                user=user,
                counts=counts,
                settings={"precision": HEAD_PRECISION},
            )
            heads[user] = Weights(card, {"rerank": rerank[i].clone(), "adapt": adapt[i].clone()})
        return heads

    def scorer(
        self, base: Weights, head: Weights | None, task: TaskSpec, encoder: TextEncoder
    ) -> Scorer:
        """The user's weights, or the population's where there is no head."""
        self._check(base, task, encoder)
        weights = {stage: base.tensors[stage].double() for stage in ("rerank", "adapt")}
        if head is not None:
            head.check_base(base)
            weights = {stage: own + head.tensors[stage] for stage, own in weights.items()}
        return FactorizedScorer(
            task,
            encoder,
            weights["rerank"].numpy(),
            weights["adapt"].numpy(),
            _label_model(base),
        )

    def _check(self, base: Weights, task: TaskSpec, encoder: TextEncoder) -> None:
        """ModelError where the base is another recipe's, task's, encoder's or release's."""
        card = base.card
        for what, found, wanted in (
            ("recipe", card.recipe, self.name),
            ("task", card.task, task.name),
            ("encoder", card.encoder, encoder.fingerprint),
            ("release", card.settings.get("features"), feature_names(task)),
        ):
            if found != wanted:
                raise ModelError(
                    f"the base model of {card.task} was made for another {what}",
                    hint="run `hydra-pers fit` to train it anew",
                )


def feature_names(task: TaskSpec) -> dict[str, list[str]]:
    """The features of each stage, in order."""
    if task.kind == "generation":
        adapt = answer_features.NAMES
    elif task.kind == "rating":
        adapt = label_features.NAMES + label_features.ORDINAL_NAMES
    else:
        adapt = label_features.NAMES
    return {"rerank": list(record_features.NAMES), "adapt": list(adapt)}


def adapt_prior(task: TaskSpec) -> tuple[float, ...]:
    """The adapter's weights before any training."""
    if task.kind == "generation":
        return answer_features.PRIOR
    if task.kind == "rating":
        return label_features.PRIOR + label_features.ORDINAL_PRIOR
    return label_features.PRIOR


def _answer_lists(examples: Sequence[TrainingExample], encoder: TextEncoder) -> list[ItemList]:
    """All answers' lists, after one pass of the encoder over all of them."""
    texts = [candidate.text for e in examples if e.quality for candidate in e.candidates]
    vectors = dict(zip(texts, encoder.encode(texts), strict=True)) if texts else {}
    found = [lists.answer_list(e, vectors) for e in examples]
    return [x for x in found if x is not None]


def _population(found: Sequence[ItemList], prior: Sequence[float]) -> Tensor:
    """Weights (f,) of all lists together, shrunk to the prior."""
    mean = torch.tensor([list(prior)], dtype=torch.float64)
    precision = torch.full((mean.shape[1],), POPULATION_PRECISION, dtype=torch.float64)
    return listwise.fit(listwise.pack([found]), mean, precision)[0] if found else mean[0]


def _differences(users: Sequence[Sequence[ItemList]], population: Tensor) -> Tensor:
    """Each user's weights minus the population's (u, f), float32."""
    mean = population.double().expand(len(users), -1)
    if not any(users):
        return torch.zeros(len(users), len(population))
    precision = torch.full((len(population),), HEAD_PRECISION, dtype=torch.float64)
    return (listwise.fit(listwise.pack(users), mean, precision) - mean).float()


def _label_model(base: Weights) -> LabelModel:
    labels = tuple(base.card.settings.get("labels", ()))
    if not labels:
        return label_model.empty()
    return LabelModel(labels, *(base.tensors[f"label_{name}"].numpy() for name in _LABEL_TENSORS))
