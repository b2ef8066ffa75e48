"""The default recipe: a shared conditional logit, and small heads shrunk to it.

Base: the population's weights of both stages, and for closed tasks the label
model. Head: a user's own weights, kept as differences from the base. Prior
knowledge flows one way: hand-set weights, then training users' histories,
then their answered examples, then the user.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hydra_cli.core.errors import ModelError
from hydra_cli.core.files import name_of
from hydra_cli.core.plan import FirstStage
from hydra_cli.core.protocols import Progress, Scorer, Supervision, TextEncoder
from hydra_cli.core.records import History, TrainingExample
from hydra_cli.core.tasks import TaskSpec
from hydra_cli.core.weights import Array, Card, Weights
from hydra_cli.modeling.factorized import (
    answer_features,
    label_features,
    label_model,
    lists,
    listwise,
    mixed_model,
    mixed_training,
    record_features,
    word_model,
    word_training,
)
from hydra_cli.modeling.factorized.items import Items
from hydra_cli.modeling.factorized.label_model import LabelModel
from hydra_cli.modeling.factorized.listwise import Floats, ItemList
from hydra_cli.modeling.factorized.mixed_model import MixedModel
from hydra_cli.modeling.factorized.scorer import FactorizedScorer
from hydra_cli.modeling.factorized.shrinkage import choose_precision
from hydra_cli.modeling.factorized.word_model import WordModel, WordTables

_WORD_TABLES = ("outputs", "inputs", "kept")
_LABEL_TENSORS = ("vectors", "words", "rarity", "frequency")
_MIXED_TENSORS = ("mean", "vectors", "words", "rarity", "own")
_ITEM_TENSORS = ("keys", "effects", "factors")

HISTORY_PRECISION = 3.0
"""Prior precision of weights that learn from training users' records alone."""
ANSWER_PRECISION = 20.0
"""Prior precision of weights that learn from the LLM's graded answers, or from relevance."""
TEXT_PRECISION = 200.0
"""The same for answers to text tasks, whose hand-set weights come from four tasks' answers."""
VOTE_PRECISION = 3.0
"""The same for features of the LLM's votes: how far an LLM can be trusted differs most."""


@dataclass(frozen=True, slots=True)
class FactorizedRecipe:
    """``hydra-pers``: one conditional logit a stage, MAP heads of a few numbers."""

    name: str = "hydra-pers"
    needs: frozenset[Supervision] = frozenset({"relevance", "quality"})
    first_stage: FirstStage = ()
    labels_alone: bool = True

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
        users = list(dict.fromkeys(e.user for e in examples))
        tensors: dict[str, Array] = {}
        settings: dict[str, Any] = {"features": feature_names(task)}
        model = label_model.empty()
        honest: Mapping[str, LabelModel] = {}
        start = np.array(adapt_prior(task))
        counts: dict[str, int] = {}
        answers: dict[str, list[ItemList]]
        if task.closed:
            labels = lists.label_set(task, histories, examples)
            model = label_model.train(histories, labels)
            honest = label_model.cross_fit(histories, labels)
            model, honest = _with_mixed(histories, labels, task, model, honest)
            seen = lists.history_lists(histories, task, honest, encoder, seed=seed)
            start = _population(seen, start, np.full_like(start, HISTORY_PRECISION))
            counts["history lists"] = len(seen)
            asked = [e for e in examples if e.candidates]
            answers = {
                u: _label_lists(_of(u, asked), task, honest.get(u, model), encoder) for u in users
            }
            tensors |= {
                f"label_{name}": np.ascontiguousarray(getattr(model, name))
                for name in _LABEL_TENSORS
            }
            settings["labels"] = list(model.labels)
            tensors |= _mixed_tensors(model.mixed)
        else:
            graded = [e for e in examples if e.quality]
            everyone, apart = word_training.train(histories)
            answers = {u: _answer_lists(_of(u, graded), apart.get(u, everyone)) for u in users}
            tensors["word_weights"] = everyone.weights.astype(np.float32)
            tensors |= {
                f"word_{name}": getattr(everyone.tables, name).astype(np.float32)
                for name in _WORD_TABLES
            }
        records = {
            u: _record_lists(_of(u, examples), task, honest.get(u, model), start, encoder)
            for u in users
        }
        for stage, prior, found in (
            ("rerank", np.array(record_features.PRIOR), records),
            ("adapt", start, answers),
        ):
            every = [one for own in found.values() for one in own]
            tensors[stage] = _population(every, prior, _precision(task, stage))
            precision = choose_precision(list(found.values()), tensors[stage])
            settings[f"{stage}_head_precision"] = precision
            if stage == "adapt":
                settings["heads_need_answers"] = precision is not None
            counts[f"{stage} lists"] = len(every)
            if precision is None and every:
                progress.note(f"{stage}: users' own weights don't beat the shared ones")
        counts["users"] = len({h.user for h in histories} | set(users))
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
        """Every user's weights, shrunk to the population's, in one batched computation.

        A stage whose base lets no user's weights leave its own makes no
        features either; its count is 0.
        """
        self._check(base, task, encoder)
        model = _label_model(base)
        users = list(examples)
        weights = _weights_of(base, task)
        precision = {
            stage: base.card.settings.get(f"{stage}_head_precision")
            for stage in ("rerank", "adapt")
        }
        records: list[list[ItemList]] = [[] for _ in users]
        answers: list[list[ItemList]] = [[] for _ in users]
        if precision["rerank"] is not None:
            records = [
                _record_lists(examples[u], task, model, weights["adapt"], encoder) for u in users
            ]
        if precision["adapt"] is not None and task.closed:
            answers = [_label_lists(examples[u], task, model, encoder) for u in users]
        elif precision["adapt"] is not None:
            answers = [_answer_lists(examples[user], _word_model(base)) for user in users]
        rerank = _differences(records, weights["rerank"], precision["rerank"])
        adapt = _differences(answers, weights["adapt"], precision["adapt"])
        heads = {}
        for i, user in enumerate(users):
            counts = {"rerank lists": len(records[i]), "adapt lists": len(answers[i])}
            own = {"rerank": rerank[i].copy(), "adapt": adapt[i].copy()}
            heads[user] = base.head(
                user, own, seed=seed, counts=counts, settings={"precision": precision}
            )
        return heads

    def scorer(
        self, base: Weights, head: Weights | None, task: TaskSpec, encoder: TextEncoder
    ) -> Scorer:
        """The user's weights, or the population's where there is no head."""
        self._check(base, task, encoder)
        weights = _weights_of(base, task)
        if head is not None:
            head.check_base(base)
            for stage, own in head.tensors.items():
                # Else it is an older text adapter's, of other features.
                if own.shape == weights[stage].shape or _goes_on(base, task):
                    weights[stage][: len(own)] += own
        return FactorizedScorer(
            task,
            encoder,
            weights["rerank"],
            weights["adapt"],
            _label_model(base),
            _word_model(base),
            feature_set(task),
        )

    def _check(self, base: Weights, task: TaskSpec, encoder: TextEncoder) -> None:
        """ModelError where the base is another recipe's, task's, encoder's or release's."""
        card = base.card
        features, today = card.settings.get("features") or {}, feature_names(task)
        if not task.closed and features.get("rerank") == today["rerank"]:
            features = today  # an older text adapter gives way to the hand-set weights
        known = features.get("adapt") or []
        if task.closed and known and known == today["adapt"][: len(known)]:
            features = {**features, "adapt": today["adapt"]}  # it goes on with what it knows
        for what, found, wanted in (
            ("recipe", card.recipe, self.name),
            ("task", card.task, task.name),
            ("encoder", card.encoder, encoder.fingerprint),
            ("release", features, today),
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
        adapt = label_features.NAMES + label_features.ORDINAL_NAMES + label_features.MIXED_NAMES
    else:
        adapt = label_features.NAMES + label_features.MIXED_NAMES
    return {"rerank": list(record_features.NAMES), "adapt": list(adapt)}


def feature_set(task: TaskSpec) -> str:
    """A name for the adapter's features, as kept answers hold them."""
    return name_of("\0".join(feature_names(task)["adapt"]))[:8]


def _weights_of(base: Weights, task: TaskSpec) -> dict[str, Floats]:
    """Each stage's weights (f,); hand-set ones for what a text adapter's base didn't know."""
    weights = {stage: base.tensors[stage].astype(np.float64) for stage in ("rerank", "adapt")}
    if not task.closed:
        prior = np.array(adapt_prior(task))
        learned = weights["adapt"] if _goes_on(base, task) else prior[:0]
        weights["adapt"] = np.concatenate([learned, prior[len(learned) :]])
    return weights


def _goes_on(base: Weights, task: TaskSpec) -> bool:
    """Whether the base's features of answers are the first of today's."""
    known = (base.card.settings.get("features") or {}).get("adapt") or []
    return bool(known) and known == feature_names(task)["adapt"][: len(known)]


def adapt_prior(task: TaskSpec) -> tuple[float, ...]:
    """The adapter's weights before any training."""
    if task.kind == "generation":
        return answer_features.PRIOR
    if task.kind == "rating":
        return label_features.RATING_PRIOR + label_features.MIXED_PRIOR
    return label_features.PRIOR + label_features.MIXED_PRIOR


def _of(user: str, examples: Sequence[TrainingExample]) -> list[TrainingExample]:
    return [example for example in examples if example.user == user]


def _record_lists(
    examples: Sequence[TrainingExample],
    task: TaskSpec,
    model: LabelModel,
    adapt: Floats,
    encoder: TextEncoder,
) -> list[ItemList]:
    """Shortlists; ``adapt`` are label weights that have seen no answers of these examples."""
    found = []
    for example in examples:
        expected = lists.expected_grades(
            example.context, example.shortlist, task, model, adapt, encoder
        )
        if (one := lists.record_list(example, expected)) is not None:
            found.append(one)
    return found


def _label_lists(
    examples: Sequence[TrainingExample], task: TaskSpec, model: LabelModel, encoder: TextEncoder
) -> list[ItemList]:
    found = [lists.label_list(example, task, model, encoder) for example in examples]
    return [one for one in found if one is not None]


def _answer_lists(examples: Sequence[TrainingExample], model: WordModel) -> list[ItemList]:
    found = [lists.answer_list(example, model) for example in examples]
    return [one for one in found if one is not None]


def _precision(task: TaskSpec, stage: str) -> Floats:
    """Prior precision (f,) of the population's weights."""
    names = feature_names(task)[stage]
    if stage == "adapt" and not task.closed:
        return np.full(len(names), TEXT_PRECISION)
    votes = label_features.VOTE_NAMES if task.closed else frozenset[str]()
    return np.array([VOTE_PRECISION if name in votes else ANSWER_PRECISION for name in names])


def _population(found: Sequence[ItemList], prior: Floats, precision: Floats) -> Floats:
    """Weights (f,) of all lists together, shrunk to the prior."""
    if not found:
        return prior
    fitted: Floats = listwise.fit(listwise.pack([found]), prior[None], precision)[0]
    return fitted


def _differences(
    users: Sequence[Sequence[ItemList]], population: Array, precision: float | None
) -> NDArray[np.float32]:
    """Each user's weights minus the population's (u, f), float32; zero at infinite precision."""
    mean = np.tile(population.astype(np.float64), (len(users), 1))
    if precision is None or not any(users):
        return np.zeros((len(users), len(population)), np.float32)
    fitted = listwise.fit(listwise.pack(users), mean, np.full_like(mean[0], precision))
    return (fitted - mean).astype(np.float32)


def _label_model(base: Weights) -> LabelModel:
    labels = tuple(base.card.settings.get("labels", ()))
    if not labels:
        return label_model.empty()
    vectors, words, rarity, frequency = (base.tensors[f"label_{name}"] for name in _LABEL_TENSORS)
    return LabelModel(labels, vectors, words, rarity, frequency, _mixed_model(base))


def _with_mixed(
    histories: Sequence[History],
    labels: Sequence[str],
    task: TaskSpec,
    model: LabelModel,
    honest: Mapping[str, LabelModel],
) -> tuple[LabelModel, Mapping[str, LabelModel]]:
    """The label models with their mixed models; without, where most histories are too short."""
    lengths = [len(history) for history in histories]
    if not lengths or np.median(lengths) < lists.OLDER_RECORDS:
        return model, honest
    everyone, apart = mixed_training.train(histories, labels, numeric=task.kind == "rating")
    kept = {user: replace(one, mixed=apart.get(user, everyone)) for user, one in honest.items()}
    return replace(model, mixed=everyone), kept


def _mixed_tensors(model: MixedModel) -> dict[str, Array]:
    if not model.trained:
        return {}
    tensors: dict[str, Array] = {
        f"mixed_{name}": np.ascontiguousarray(getattr(model, name)) for name in _MIXED_TENSORS
    }
    tensors |= {
        f"item_{name}": np.ascontiguousarray(getattr(model.items, name)) for name in _ITEM_TENSORS
    }
    return tensors


def _mixed_model(base: Weights) -> MixedModel:
    """The base's mixed model; a base of an older release has none."""
    if "mixed_own" not in base.tensors:
        return mixed_model.untrained()
    settings = base.card.settings
    mean, vectors, words, rarity, own = (base.tensors[f"mixed_{name}"] for name in _MIXED_TENSORS)
    return MixedModel(
        tuple(settings["labels"]),
        "history mean" in settings["features"]["adapt"],
        mean,
        vectors,
        words,
        rarity,
        Items(*(base.tensors[f"item_{name}"] for name in _ITEM_TENSORS)),
        own,
    )


def _word_model(base: Weights) -> WordModel:
    if "word_kept" not in base.tensors:  # a closed task's, or made by the first release
        return word_model.untrained()
    tables = (base.tensors[f"word_{name}"].astype(np.float64) for name in _WORD_TABLES)
    return WordModel(base.tensors["word_weights"].astype(np.float64), WordTables(*tables))
