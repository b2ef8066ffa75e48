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
from hydra_cli.core.records import Candidate, History, QueryContext, Record, Scored, TrainingExample
from hydra_cli.core.retrieval import retrieve
from hydra_cli.evaluation.engine import EvalPlan
from hydra_cli.evaluation.methods import Method, suited
from hydra_cli.evaluation.questions import Questions, build_contexts
from hydra_cli.evaluation.setting import SUMMARY_TOKENS, Setting, summary_request
from hydra_cli.evaluation.training import (
    TrainingPlan,
    held_examples,
    labels_for,
    own_examples,
    training_set,
)
from hydra_cli.pipeline.personalization import Personalization
from hydra_cli.pipeline.supervision import SupervisionPlan, label_requests

Stage = tuple[str, list[ChatRequest]]


def planned_requests(
    questions: Questions,
    train: Questions | None,
    plan: EvalPlan,
    *,
    encoder: TextEncoder,
    open_recipe: Callable[[str], Recipe],
    progress: Progress,
) -> Iterator[Stage]:
    """Each stage's requests, in the order of a run; a stage may come in several parts."""
    methods, _ = suited(plan.methods, questions.task)
    setting = Setting(questions.task, plan.answering)
    recipes = _recipes(methods, open_recipe)
    progress.start(f"{questions.task.name}: counting calls", None)
    if recipes and plan.training.llm:
        yield from _training(questions, train, plan, setting, methods, recipes, encoder)
    for chunk in questions.chunks():
        contexts, histories = build_contexts(chunk, encoder)
        if recipes and plan.training.llm:
            yield from _fits(histories, plan.training, setting, methods, recipes)
        if any(method.summary for method in methods):
            asked = [summary_request(u, h, questions.task) for u, h in histories.items()]
            yield "summaries", [request for request in asked if request is not None]
        expected = replace(
            setting,
            summaries=dict.fromkeys(histories, "x" * (3 * SUMMARY_TOKENS)),
            personal={
                (method.base_name, user): Personalization(
                    Untrained(), method.use.rerank, method.use.adapt, {}
                )
                for method in methods
                if method.use is not None
                for user in histories
            },
        )
        for seed in plan.seeds:
            own = replace(expected, plan=replace(plan.answering, seed=seed))
            drafts = [
                method.draft(method.settle(own), context)
                for context in contexts
                for method in methods
                if seed == plan.seeds[0] or method.seeded
            ]
            yield "answers", [each.request for each in drafts if each.request is not None]


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
    setting: Setting,
    methods: Sequence[Method],
    recipes: Mapping[str, Recipe],
    encoder: TextEncoder,
) -> Iterator[Stage]:
    material = training_set(train, questions, encoder, plan.training)
    for name, recipe in recipes.items():
        uses = [m.use for m in methods if m.use is not None and m.use.recipe == name]
        labels = labels_for(recipe, uses[0], setting, plan.training)
        gated = any(use.gated for use in uses)
        asked = replace(labels, plain=gated)
        yield f"labels for {name}", label_requests(material.examples, material.task, asked)
        if gated:
            judged = material.examples[: plan.training.judged]
            yield f"gate of {name}", _again(judged, labels, setting)


def _fits(
    histories: Mapping[str, History],
    plan: TrainingPlan,
    setting: Setting,
    methods: Sequence[Method],
    recipes: Mapping[str, Recipe],
) -> Iterator[Stage]:
    for name, recipe in recipes.items():
        uses = [m.use for m in methods if m.use is not None and m.use.recipe == name]
        labels = labels_for(recipe, uses[0], setting, plan)
        if any(use.fitted for use in uses):
            own = own_examples(histories, setting.task, plan)
            yield f"heads of {name}", label_requests(own, setting.task, labels)
        if any(use.fitted and use.gated for use in uses):
            held = held_examples(histories, setting.task, plan)
            bare = replace(labels, needs=frozenset(), plain=True)
            yield f"gate of {name}", label_requests(held, setting.task, bare)
            yield f"gate of {name}", _again(held, bare, setting)


def _again(
    examples: Sequence[TrainingExample], labels: SupervisionPlan, setting: Setting
) -> list[ChatRequest]:
    """Calls on reranked evidence, as ``Untrained`` orders it."""
    found = []
    for example in examples:
        shortlist = retrieve(example.context, how=labels.retriever, k=labels.k + 1)
        messages = build_messages(example.context.query, shortlist[1:], setting.task)
        for sampling in (setting.greedy(), setting.drawn()):
            found.append(ChatRequest(messages, sampling, example.user))
    return found
