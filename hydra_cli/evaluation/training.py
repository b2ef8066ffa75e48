"""Bases, heads and gates for the personalized methods: the pipeline's, on a run's questions.

Training queries with their references are the newest records of their users, as if these
had been ingested. A user's own head and gate come from records that are older than
all of the user's queries.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from hydra_cli.core.protocols import ChatModel, Progress, Recipe, Scorer, TextEncoder
from hydra_cli.core.records import History, Record, TrainingExample, Usage
from hydra_cli.core.tasks import TaskSpec
from hydra_cli.core.verdicts import Gate, Source, Standing
from hydra_cli.evaluation.conditions import Conditions
from hydra_cli.evaluation.methods import RecipeUse
from hydra_cli.evaluation.questions import EncodedTexts, Questions
from hydra_cli.pipeline import fitting
from hydra_cli.pipeline.fitting import FitPlan, Fitting, Split, split, trainers
from hydra_cli.pipeline.personalization import Personalization
from hydra_cli.pipeline.supervision import SupervisionPlan

if TYPE_CHECKING:
    from hydra_cli.core.weights import Weights


@dataclass(frozen=True, slots=True)
class TrainingPlan(FitPlan):
    """As ``fit`` has it; ``llm`` says whether labels may come from the LLM's answers."""

    llm: bool = False


@dataclass(frozen=True, slots=True)
class TrainingSet:
    """The training users' records, split into past and held out."""

    task: TaskSpec
    splits: tuple[Split, ...]
    plan: FitPlan

    @property
    def users(self) -> tuple[str, ...]:
        return tuple(one.user for one in self.splits)

    @property
    def examples(self) -> list[TrainingExample]:
        """What a base of seed 0 is trained on."""
        return fitting.training_examples(self.splits, self.task, self.plan, seed=0)


@dataclass(slots=True)
class Trained:
    """A base with what the gate knows about other users, and what both cost."""

    recipe: Recipe
    labels: SupervisionPlan
    known: fitting.Trained
    usage: Usage

    @property
    def base(self) -> Weights:
        return self.known.base


def training_set(
    train: Questions | None, questions: Questions, encoder: TextEncoder, plan: TrainingPlan
) -> TrainingSet:
    """The histories that would be ingested: training queries with their golds come last.

    Without ``train`` the users' own records stand in, never their queries.
    """
    source = train or questions
    records = {user: list(found) for user, found in source.own_records().items()}
    for item in train.items if train else ():
        query = item.query
        gold = source.references[item.key]
        # An id of its own: a record of the user may have the query's.
        asked = Record(query.user, f"asked\0{query.id}", query.task, query.text, gold)
        records[query.user].append(asked)
    chosen = trainers([(user, len(found)) for user, found in records.items()], plan)
    task = source.task
    texts = [record.input for user in chosen for record in records[user]]
    if not task.closed:
        texts += [record.output for user in chosen for record in records[user]]
    vectors = EncodedTexts(encoder, texts)
    histories = [vectors.history(user, records[user], task) for user in chosen]
    return TrainingSet(task, tuple(split(history, task, plan) for history in histories), plan)


def labels_for(recipe: Recipe, setting: Conditions, plan: TrainingPlan) -> SupervisionPlan:
    """The labels that a recipe needs, on the evidence that its method shows."""
    answering = setting.plan.with_first_stage(recipe.first_stage)
    return SupervisionPlan(
        recipe.needs, answers=plan.llm, lone=recipe.labels_alone, answering=answering
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
    """The base, and for the gate what each method achieves on its users' held-out records."""
    labels = replace(labels, answering=replace(labels.answering, seed=seed))
    run = Fitting(
        recipe, material.task, encoder, labels, plan, chat if plan.llm else None, progress
    )
    known = run.train_base(material.splits, judged=gated)
    return Trained(recipe, labels, known, run.usage)


@dataclass(slots=True)
class Fits:
    """Users' heads and scorers, and what the gate decided where it was asked."""

    recipe: Recipe
    scorers: dict[str, Scorer]
    heads: Mapping[str, Weights] = field(default_factory=dict)
    gates: Mapping[str, Gate] = field(default_factory=dict)
    usage: Usage = field(default_factory=Usage)

    def personalization(self, user: str, use: RecipeUse) -> Personalization:
        """The user's scorer with the stages that the method has and the gate allows."""
        gate = self.gates.get(user, Gate()) if use.gated else Gate()
        source: Source = "head" if user in self.heads else "population"
        personal = Personalization.of(self.scorers[user], Standing(source, user, gate), self.recipe)
        return replace(
            personal, rerank=use.rerank and personal.rerank, adapt=use.adapt and personal.adapt
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
    recipe, base = trained.recipe, trained.base
    run = Fitting(recipe, task, encoder, trained.labels, plan, chat if plan.llm else None, progress)
    if not fitted:
        population = recipe.scorer(base, None, task, encoder)
        everyone = dict.fromkeys(histories, Gate.of(base.card.gate))
        return Fits(recipe, dict.fromkeys(histories, population), gates=everyone)
    # Who has no record gets the population's, as a user who is new to a store.
    splits = [one for one in splits_of(histories, task, plan) if len(one.history)]
    heads = run.fit_heads(trained.known, splits)
    gates: Mapping[str, Gate] = dict.fromkeys(histories, Gate.of(base.card.gate)) if gated else {}
    if gated and splits:
        heads, judged = run.judge(trained.known, splits, heads)
        gates = {**gates, **judged}
    scorers = {u: recipe.scorer(base, heads.get(u), task, encoder) for u in histories}
    return Fits(recipe, scorers, heads, gates, run.usage)


def splits_of(histories: Mapping[str, History], task: TaskSpec, plan: FitPlan) -> list[Split]:
    """Each user's past and held-out records."""
    return [split(history, task, plan) for history in histories.values()]


def own_examples(
    splits: Iterable[Split], task: TaskSpec, plan: TrainingPlan, seed: int
) -> list[TrainingExample]:
    """What users' heads are fitted on."""
    own = fitting.own_examples(list(splits), task, plan, seed=seed)
    return [example for examples in own.values() for example in examples]
