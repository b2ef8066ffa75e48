"""The LLM calls a run would make, from its real prompts, without making any.

Methods draft as in a run. What depends on answers or on trained weights is taken
as it is likely to be: reranked evidence is as long as the first stage's, and the
gate keeps every stage.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

from hydra_cli.core.prompts import build_messages
from hydra_cli.core.protocols import ChatRequest, Progress, Recipe, TextEncoder
from hydra_cli.core.records import Candidate, QueryContext, Record, Scored, TrainingExample
from hydra_cli.core.retrieval import retrieve
from hydra_cli.core.tasks import TaskSpec
from hydra_cli.core.verdicts import Standing
from hydra_cli.evaluation.conditions import SUMMARY_TOKENS, Conditions, summary_request
from hydra_cli.evaluation.engine import EvalPlan
from hydra_cli.evaluation.histories import Chunk, Histories, Variant
from hydra_cli.evaluation.methods import Method, suited
from hydra_cli.evaluation.questions import Questions
from hydra_cli.evaluation.training import (
    TrainingPlan,
    labels_for,
    own_examples,
    splits_of,
    training_set,
)
from hydra_cli.pipeline.fitting import judging_examples, judging_labels, training_examples
from hydra_cli.pipeline.personalization import Personalization
from hydra_cli.pipeline.supervision import SupervisionPlan, label_requests, sampling_for

NamedRequests = tuple[str, list[ChatRequest]]
Judging = Callable[[Sequence[TrainingExample], TaskSpec, SupervisionPlan], list[ChatRequest]]


def planned_requests(
    questions: Questions,
    train: Questions | None,
    plan: EvalPlan,
    *,
    encoder: TextEncoder,
    open_recipe: Callable[[str], Recipe],
    progress: Progress,
) -> Iterator[NamedRequests]:
    """Each stage's requests, in the order of a run; a stage may come in several parts."""
    methods, _ = suited(plan.methods, questions.task)
    setting = Conditions(questions.task, plan.answering)
    recipes = _recipes(methods, open_recipe)
    progress.start(f"{questions.task.name}: counting calls", None)
    if recipes and plan.training.llm:
        yield from _training(questions, train, plan, setting, methods, recipes, encoder, _judging)
    histories = _histories(questions, methods, plan, encoder)
    for part in questions.chunks():
        chunks = histories.chunk(part)
        if recipes and plan.training.llm:
            yield from _fits(chunks, plan, setting, methods, recipes, _judging)
        summed = [(m.variant, u) for m in methods if m.summary for u in part.users]
        asked = [
            summary_request(user, chunks[variant].histories[user], questions.task)
            for variant, user in dict.fromkeys(summed)
        ]
        if asked:
            yield "summaries", [request for request in asked if request is not None]
        expected = replace(
            setting,
            summaries=dict.fromkeys(summed, "x" * (3 * SUMMARY_TOKENS)),
            personal={
                (method.fit_key, user): Personalization(
                    Untrained(),
                    method.use.rerank,
                    method.use.adapt,
                    Standing("method", user),
                    first_stage=recipes[method.use.recipe].first_stage,
                )
                for method in methods
                if method.use is not None
                for user in part.users
            },
        )
        for seed in plan.seeds:
            own = replace(expected, plan=replace(plan.answering, seed=seed))
            drafts = [
                method.draft(method.settle(own), chunks[method.variant].contexts[i])
                for i in range(len(part.items))
                for method in methods
                if seed == plan.seeds[0] or method.seeded
            ]
            yield "answers", [each.request for each in drafts if each.request is not None]


def first_requests(
    questions: Questions,
    train: Questions | None,
    plan: EvalPlan,
    *,
    encoder: TextEncoder,
    open_recipe: Callable[[str], Recipe],
) -> Iterator[list[ChatRequest]]:
    """What ``--supervision llm`` asks that depends on no answer: to the letter, all at once."""
    methods, _ = suited(plan.methods, questions.task)
    recipes = _recipes(methods, open_recipe)
    if not recipes or not plan.training.llm:
        return
    setting = Conditions(questions.task, plan.answering)
    for _, found in _training(
        questions, train, plan, setting, methods, recipes, encoder, _first_judging
    ):
        yield found
    histories = _histories(questions, methods, plan, encoder)
    for part in questions.chunks():
        chunks = histories.chunk(part)
        for _, found in _fits(chunks, plan, setting, methods, recipes, _first_judging):
            yield found


def _histories(
    questions: Questions, methods: Sequence[Method], plan: EvalPlan, encoder: TextEncoder
) -> Histories:
    return Histories(questions, encoder, frozenset(m.variant for m in methods), plan.seeds[0])


class Untrained:
    """Stands in for a scorer that isn't trained yet: reranked evidence is other evidence."""

    def rerank(
        self, context: QueryContext, shortlist: Sequence[Scored[Record]]
    ) -> list[Scored[Record]]:
        return [*shortlist[1:], *shortlist[:1]]

    def adapt(
        self,
        context: QueryContext,
        evidence: Sequence[Scored[Record]],
        candidates: Sequence[Candidate],
    ) -> list[Scored[Candidate]]:
        return [Scored(candidate, 0.0) for candidate in candidates]


def _recipes(methods: Sequence[Method], open_recipe: Callable[[str], Recipe]) -> dict[str, Recipe]:
    return {m.use.recipe: open_recipe(m.use.recipe) for m in methods if m.use is not None}


def _training(
    questions: Questions,
    train: Questions | None,
    plan: EvalPlan,
    setting: Conditions,
    methods: Sequence[Method],
    recipes: Mapping[str, Recipe],
    encoder: TextEncoder,
    judging: Judging,
) -> Iterator[NamedRequests]:
    material = training_set(train, questions, encoder, plan.training)
    task, splits = material.task, material.splits
    for name, recipe in recipes.items():
        uses = [m.use for m in methods if m.use is not None and m.use.recipe == name]
        for seed in plan.seeds:
            labels = _labels(recipe, setting, plan.training, seed)
            bare = training_examples(splits, task, plan.training, seed=seed)
            yield f"labels for {name}", label_requests(bare, task, labels)
            if any(use.gated for use in uses):
                held = judging_examples(splits, plan.training, seed=seed, asked=True)
                yield f"gate of {name}", judging(held, task, labels)


def _fits(
    chunks: Mapping[Variant, Chunk],
    plan: EvalPlan,
    setting: Conditions,
    methods: Sequence[Method],
    recipes: Mapping[str, Recipe],
    judging: Judging,
) -> Iterator[NamedRequests]:
    task = setting.task
    used = {(m.use.recipe, m.variant) for m in methods if m.use is not None}
    for name, variant in sorted(used, key=str):
        recipe, histories = recipes[name], chunks[variant].histories
        splits = [one for one in splits_of(histories, task, plan.training) if len(one.history)]
        uses = [
            m.use
            for m in methods
            if m.use is not None and (m.use.recipe, m.variant) == (name, variant)
        ]
        for seed in plan.seeds:
            labels = _labels(recipe, setting, plan.training, seed)
            if any(use.fitted for use in uses):
                own = own_examples(splits, task, plan.training, seed)
                yield f"heads of {name}", label_requests(own, task, labels)
            if any(use.fitted and use.gated for use in uses):
                held = [example for one in splits for example in one.held]
                yield f"gate of {name}", judging(held, task, labels)


def _labels(recipe: Recipe, setting: Conditions, plan: TrainingPlan, seed: int) -> SupervisionPlan:
    labels = labels_for(recipe, setting, plan)
    return replace(labels, answering=replace(labels.answering, seed=seed))


def _first_judging(
    held: Sequence[TrainingExample], task: TaskSpec, labels: SupervisionPlan
) -> list[ChatRequest]:
    """Calls on held-out records with the first stage's evidence or none."""
    return label_requests(held, task, judging_labels(labels, asked=True))


def _judging(
    held: Sequence[TrainingExample], task: TaskSpec, labels: SupervisionPlan
) -> list[ChatRequest]:
    """The same, and those on reranked evidence as ``Untrained`` orders it."""
    found = _first_judging(held, task, labels)
    how = labels.answering
    for example in held:
        shortlist = retrieve(example.context, how=how.retriever, k=how.k + 1)
        messages = build_messages(example.context.query, shortlist[1:], task)
        for n, temperature in ((1, 0.0), (how.answers, how.temperature)):
            sampling = sampling_for(task, n=n, temperature=temperature, seed=how.seed)
            found.append(ChatRequest(messages, sampling, example.user))
    return found
