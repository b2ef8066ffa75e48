"""Several tasks' fits in one command, and what they would cost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from hydra_cli.core.errors import NotAnswered, NotFound, UsageError
from hydra_cli.core.protocols import (
    ChatModel,
    ChatRequest,
    HistoryStore,
    Progress,
    Recipe,
    TextEncoder,
)
from hydra_cli.core.tasks import TaskSpec
from hydra_cli.pipeline.personalization import load_base
from hydra_cli.pipeline.supervision import SupervisionPlan
from hydra_cli.workflows.choosing import nothing_stored, unknown_user
from hydra_cli.workflows.fit import FitPlan, FitReport, fit, fit_requests
from hydra_cli.workflows.pricing import Price, price

if TYPE_CHECKING:
    from hydra_cli.config import Settings
    from hydra_cli.store.contract import Store


SUPERVISIONS = ("history", "llm")
"""Where labels come from."""


def check_supervision(name: str) -> None:
    """UsageError for a source of labels that doesn't exist."""
    if name not in SUPERVISIONS:
        raise UsageError(
            f"supervision can't be {name!r}", hint=f"one of: {', '.join(SUPERVISIONS)}"
        )


def fit_plan(users: Sequence[str] | None, given: Mapping[str, Any]) -> FitPlan:
    """The plan for these users (None: everyone); UsageError for what makes no plan."""
    if unknown := sorted(set(given) - {field.name for field in fields(FitPlan)}):
        raise UsageError(f"a fit has no setting {unknown[0]!r}")
    plan = FitPlan(**{**given, "users": tuple(users) if users else None})
    if plan.without and not plan.new_base:
        raise UsageError("--without needs --base", hint="a base is trained on everyone or not")
    return plan


def choose_tasks(store: HistoryStore, users: Sequence[str] | None, task: str | None) -> list[str]:
    """The task that was named, else every task of the users, else every task there is."""
    for user in users or ():
        if not store.tasks_of(user):
            raise unknown_user(store, user)
    known = sorted(
        {name for user in users for name, _ in store.tasks_of(user)}
        if users
        else {name for summary in store.users() for name in summary.tasks}
    )
    if not known:
        raise nothing_stored()
    if task is None:
        return known
    if task not in known:
        raise NotFound(f"no records of task {task!r}", hint=f"known: {', '.join(known)}")
    return [task]


def label_plan(settings: Settings, recipe: Recipe, *, answers: bool) -> SupervisionPlan:
    """The labels a recipe needs. Those that only an LLM can give need ``answers``."""
    answering = settings.plan.with_first_stage(recipe.first_stage)
    return SupervisionPlan(
        needs=recipe.needs, answers=answers, lone=recipe.labels_alone, answering=answering
    )


def fit_tasks(
    store: Store,
    settings: Settings,
    encoder: TextEncoder,
    recipe: Recipe,
    tasks: Sequence[TaskSpec],
    *,
    plan: FitPlan,
    labels: SupervisionPlan,
    chat: ChatModel | None,
    progress: Progress,
) -> list[FitReport]:
    """Fit each task; what is finished stays, whatever happens to the next.

    A fit that is killed leaves a note, so that the next command tells of it.
    NotAnswered at the end where an LLM that writes its requests down wants answers.
    """
    reports = []
    waiting: NotAnswered | None = None
    for task in tasks:
        with store.noted("fit", what=task.name):
            try:
                reports.append(
                    fit(
                        store,
                        encoder,
                        recipe,
                        task,
                        plan=plan,
                        labels=labels,
                        chat=chat,
                        progress=progress,
                    )
                )
            except NotAnswered as error:
                waiting = error  # the next tasks' requests are wanted too
    if waiting is not None:
        raise waiting
    return reports


def price_of_fit(
    store: Store,
    settings: Settings,
    encoder: TextEncoder,
    recipe: Recipe,
    tasks: Sequence[TaskSpec],
    *,
    plan: FitPlan,
    labels: SupervisionPlan,
    progress: Progress,
) -> Price:
    """What the fits would use, by stage, from the real prompts.

    Labels from the history alone ask no LLM: there is no stage then.
    """
    from hydra_cli.llm.providers import resolve

    def stages() -> Iterator[tuple[str, Sequence[ChatRequest]]]:
        for task in tasks if labels.answers else ():
            base = None if plan.new_base else load_base(store.weights, task, recipe, encoder)
            by_stage = fit_requests(
                store,
                encoder,
                task,
                recipe=recipe,
                base=base,
                evidence=resolve(settings.model).model,
                plan=plan,
                labels=labels,
                progress=progress,
            )
            for stage, requests in by_stage.items():
                yield f"{task.name}: {stage}", requests

    return price(stages(), settings)
