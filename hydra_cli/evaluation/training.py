"""Bases, heads and gates for the personalized methods, as ``fit`` would make them.

The base is trained on other users. The gate's population evidence is
cross-fitted: each fifth of the training users is judged by a base that never
saw them. A user's own head and own evidence come from records that are older
than all of the user's queries, the newest of them held out from the head.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from hydra_cli.core.protocols import ChatModel, Progress, Recipe, Scorer, TextEncoder
from hydra_cli.core.records import History, TrainingExample, Usage
from hydra_cli.core.tasks import TaskSpec
from hydra_cli.evaluation.methods import RecipeUse
from hydra_cli.evaluation.questions import Questions, build_contexts
from hydra_cli.evaluation.setting import Setting
from hydra_cli.pipeline.outcomes import outcomes_of
from hydra_cli.pipeline.personalization import STAGES, Personalization
from hydra_cli.pipeline.supervision import (
    SupervisionPlan,
    example_from_query,
    pseudo_queries,
    supervise,
)

if TYPE_CHECKING:
    from hydra_cli.modeling.gate import GateDecision, Outcome
    from hydra_cli.modeling.weights import Weights

FOLDS = 5


@dataclass(frozen=True, slots=True)
class TrainingPlan:
    """How much is trained on.

    ``examples`` training queries of at most ``users`` users, all of whom lend
    their histories. The first ``judged`` examples are asked again with
    reranked evidence, for the gate. A user's head gets up to
    ``own`` of their records, the gate up to ``held_out`` newer ones.
    ``llm`` says whether labels may come from the LLM's answers.
    """

    examples: int = 120
    users: int = 100
    judged: int = 60
    own: int = 4
    held_out: int = 2
    llm: bool = True


@dataclass(frozen=True, slots=True)
class TrainingSet:
    """Pseudo-queries and whole histories of the training users."""

    task: TaskSpec
    examples: tuple[TrainingExample, ...]
    histories: tuple[History, ...]

    @property
    def users(self) -> tuple[str, ...]:
        return tuple(history.user for history in self.histories)

    def only(self, users: set[str]) -> TrainingSet:
        return TrainingSet(
            self.task,
            tuple(example for example in self.examples if example.user in users),
            tuple(history for history in self.histories if history.user in users),
        )


@dataclass(slots=True)
class Trained:
    """A base with what the gate knows about other users, and what both cost."""

    recipe: Recipe
    base: Weights
    labels: SupervisionPlan
    outcomes: list[Outcome] = field(default_factory=list)
    usage: Usage = field(default_factory=Usage)


def training_set(
    train: Questions | None, questions: Questions, encoder: TextEncoder, plan: TrainingPlan
) -> TrainingSet:
    """Training queries with their golds, topped up with records as pseudo-queries.

    Without ``train`` the users' own records stand in, never their queries.
    """
    source = (train or questions).limited(users=plan.users)
    contexts, histories = build_contexts(source, encoder)
    examples: list[TrainingExample] = []
    if train is not None:
        asked = {item.key for item in source.limited(queries=plan.examples).items}
        examples = [
            example_from_query(
                context.query,
                context.vector,
                context.history,
                train.references[context.query.user, context.query.id],
            )
            for context in contexts
            if len(context.history) and (context.query.user, context.query.id) in asked
        ]
    missing = plan.examples - len(examples)
    if missing > 0 and histories:
        each = math.ceil(missing / len(histories))
        more = [
            pseudo_queries(history, source.task, limit=each, seed=0)
            for history in histories.values()
        ]
        # Users in turn, so that a short limit still hears everyone.
        turns = [found[i] for i in range(each) for found in more if i < len(found)]
        examples += turns[:missing]
    return TrainingSet(source.task, tuple(examples), tuple(histories.values()))


def labels_for(
    recipe: Recipe, use: RecipeUse, setting: Setting, plan: TrainingPlan
) -> SupervisionPlan:
    """The labels that a recipe needs, on the evidence that its method shows."""
    answering = use.plan(setting.plan)
    return SupervisionPlan(
        needs=recipe.needs,
        answers=plan.llm,
        plain=False,
        retriever=answering.retriever,
        shortlist=answering.shortlist,
        k=answering.k,
        n=answering.n,
        temperature=answering.temperature,
        seed=0,
    )


def train(
    recipe: Recipe,
    material: TrainingSet,
    labels: SupervisionPlan,
    encoder: TextEncoder,
    chat: ChatModel | None,
    *,
    gated: bool,
    plan: TrainingPlan,
    seed: int,
    progress: Progress,
) -> Trained:
    """The base, and for the gate what each method achieves on users it never saw."""
    chat = chat if plan.llm else None
    asked = replace(labels, plain=gated and chat is not None)
    examples, usage = supervise(
        material.examples, material.task, asked, chat=chat, progress=progress
    )
    material = replace(material, examples=tuple(examples))

    def base_of(part: TrainingSet) -> Weights:
        return recipe.train_base(
            part.task, part.examples, part.histories, encoder, seed=seed, progress=progress
        )

    trained = Trained(recipe, base_of(material), labels, usage=usage)
    if not gated:
        return trained
    judged = {_key(example) for example in material.examples[: plan.judged]}
    for part, rest in folds(material):
        scorer = recipe.scorer(base_of(rest), None, material.task, encoder)
        found, more = outcomes_of(
            part.examples,
            material.task,
            labels,
            scorer_of=lambda user, scorer=scorer: scorer,  # type: ignore[misc]  # bound now
            chat=chat,
            asked_again={i for i, e in enumerate(part.examples) if _key(e) in judged},
            progress=progress,
        )
        trained.outcomes += found
        trained.usage += more
    return trained


def folds(material: TrainingSet) -> list[tuple[TrainingSet, TrainingSet]]:
    """(held out, trained on), by users; none where a single user is all there is."""
    users = sorted({example.user for example in material.examples})
    if len(users) < 2:
        return []
    random.Random(0).shuffle(users)
    count = min(FOLDS, len(users))
    parts = [set(users[i::count]) for i in range(count)]
    everyone = {*users, *material.users}
    return [(material.only(part), material.only(everyone - part)) for part in parts]


def _key(example: TrainingExample) -> tuple[str, str]:
    return example.user, example.context.query.id


@dataclass(slots=True)
class Fits:
    """Users' scorers, and what the gate decided where it was asked."""

    scorers: dict[str, Scorer]
    gates: dict[str, GateDecision] = field(default_factory=dict)
    usage: Usage = field(default_factory=Usage)

    def personalization(self, user: str, use: RecipeUse) -> Personalization:
        """The user's scorer with the stages that the method has and the gate allows."""
        if not use.gated:
            words = dict.fromkeys(STAGES, "on")
            return Personalization(self.scorers[user], use.rerank, use.adapt, words)
        gate = self.gates[user]
        return Personalization(
            self.scorers[user],
            use.rerank and gate.rerank,
            use.adapt and gate.adapt,
            dict(zip(STAGES, gate.lines, strict=False)),
            gate.records,
        )


def fit_users(
    trained: Trained,
    task: TaskSpec,
    histories: Mapping[str, History],
    encoder: TextEncoder,
    chat: ChatModel | None,
    *,
    fitted: bool,
    gated: bool,
    plan: TrainingPlan,
    seed: int,
    progress: Progress,
) -> Fits:
    """Every user's scorer: the head fitted on their own past, or the population's."""
    from hydra_cli.modeling.gate import decide

    recipe, base, labels = trained.recipe, trained.base, trained.labels
    chat = chat if plan.llm else None
    heads: Mapping[str, Weights] = {}
    usage = Usage()
    if fitted:
        examples = own_examples(histories, task, plan)
        asked = chat if base.heads_need_answers else None
        shown, usage = supervise(examples, task, labels, chat=asked, progress=progress)
        own: dict[str, list[TrainingExample]] = {}
        for example in shown:
            own.setdefault(example.user, []).append(example)
        if own:
            heads = recipe.fit_heads(base, task, own, encoder, seed=seed, progress=progress)
    population = recipe.scorer(base, None, task, encoder)
    scorers = {
        user: recipe.scorer(base, heads[user], task, encoder) if user in heads else population
        for user in histories
    }
    fits = Fits(scorers, usage=usage)
    if not gated:
        return fits
    outcomes: list[Outcome] = []
    if fitted:
        held = held_examples(histories, task, plan)
        bare = replace(labels, needs=frozenset(), plain=chat is not None)
        shown, usage = supervise(held, task, bare, chat=chat, progress=progress)
        outcomes, more = outcomes_of(
            shown, task, bare, scorer_of=scorers.__getitem__, chat=chat, progress=progress
        )
        fits.usage += usage + more
    for user in histories:
        fits.gates[user] = decide([o for o in outcomes if o.user == user], trained.outcomes)
    return fits


def own_examples(
    histories: Mapping[str, History], task: TaskSpec, plan: TrainingPlan
) -> list[TrainingExample]:
    """What users' heads are fitted on."""
    return [
        example
        for history in histories.values()
        for example in pseudo_queries(_past(history, plan), task, limit=plan.own, seed=0)
    ]


def held_examples(
    histories: Mapping[str, History], task: TaskSpec, plan: TrainingPlan
) -> list[TrainingExample]:
    """What users' gates are decided on: newer than all their heads are fitted on."""
    return [
        example
        for history in histories.values()
        for example in pseudo_queries(
            history, task, limit=_held(history, plan), seed=0, newest=True
        )
    ]


def _held(history: History, plan: TrainingPlan) -> int:
    """How many of the newest records the head doesn't see: a quarter at the most."""
    return min(plan.held_out, len(history) // 4)


def _past(history: History, plan: TrainingPlan) -> History:
    return history.take(range(len(history) - _held(history, plan)))
