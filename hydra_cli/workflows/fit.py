"""Fit one task from the store: load histories, run the pipeline's fitting, save."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hydra_cli.core.errors import DataError, ModelError
from hydra_cli.core.protocols import (
    ChatModel,
    ChatRequest,
    HistoryStore,
    Progress,
    Recipe,
    TextEncoder,
)
from hydra_cli.core.records import Usage
from hydra_cli.core.tasks import TaskSpec
from hydra_cli.core.verdicts import Gate
from hydra_cli.pipeline import fitting
from hydra_cli.pipeline.contexts import load_history, texts_a_record
from hydra_cli.pipeline.earlier import Earlier, judge_of, same_kind
from hydra_cli.pipeline.fitting import Fitting, Split, split, trainers
from hydra_cli.pipeline.personalization import load_base, load_head
from hydra_cli.pipeline.supervision import SupervisionPlan, label_requests

if TYPE_CHECKING:
    from hydra_cli.core.weights import Weights
    from hydra_cli.store.contract import Store, WeightStore


@dataclass(frozen=True, slots=True)
class FitPlan(fitting.FitPlan):
    """Whom to fit, beside how much to train on. ``users`` None means everyone with records.

    ``new_base`` trains the base anew; ``without`` keeps users out of it.
    """

    users: tuple[str, ...] | None = None
    without: tuple[str, ...] = ()
    new_base: bool = False


@dataclass(frozen=True, slots=True)
class UserFit:
    """One user's result: the gate's verdicts, and what the head weighs."""

    user: str
    records: int
    examples: int
    gate: Gate
    bytes: int


@dataclass(frozen=True, slots=True)
class FitReport:
    """What a fit of one task came to."""

    task: str
    kind: str
    labels: tuple[str, ...]
    recipe: str
    evidence: str
    """``"history"`` where no LLM judged, else its name."""
    asked: bool
    """Whether an LLM was asked in this run; an earlier fit's answers may go on judging."""
    base_users: int
    """Users that the base was trained on in this run; 0 where it was kept."""
    judged_users: int
    """Users whose held-out records judged the base in this run."""
    base_gate: Gate
    fitted: tuple[UserFit, ...]
    usage: Usage
    seconds: Mapping[str, float] = field(default_factory=dict)


@dataclass(slots=True)
class _Loading:
    """Users' splits, each loaded once."""

    store: HistoryStore
    encoder: TextEncoder
    task: TaskSpec
    plan: FitPlan
    progress: Progress
    found: dict[str, Split] = field(default_factory=dict)

    def splits(self, users: Sequence[str]) -> list[Split]:
        missing = [user for user in users if user not in self.found]
        if missing:
            records = dict(self.store.users_of(self.task.name))
            total = sum(records.get(user, 0) for user in missing) * texts_a_record(self.task)
            self.progress.start("reading histories", total)
        for user in missing:
            history = load_history(
                self.store, self.encoder, self.task, user, progress=self.progress
            )
            self.found[user] = split(history, self.task, self.plan)
        return [self.found[user] for user in users]

    def targets(self) -> list[str]:
        known = dict(self.store.users_of(self.task.name))
        users = list(known) if self.plan.users is None else list(self.plan.users)
        return [user for user in users if known.get(user)]

    def trainers(self) -> list[str]:
        counts = self.store.users_of(self.task.name)
        return trainers(counts, self.plan, without=self.plan.without)


def fit(
    store: Store,
    encoder: TextEncoder,
    recipe: Recipe,
    task: TaskSpec,
    *,
    plan: FitPlan,
    labels: SupervisionPlan,
    chat: ChatModel | None,
    progress: Progress,
) -> FitReport:
    """Fit one task. ``chat`` None makes labels from the histories alone.

    A base that is there is kept; where its card has no outcomes that were judged as
    this run judges, its users' held-out records are judged first. What an LLM told
    in an earlier fit goes on judging where this one asks none. Files are written
    at the end, heads of an older base are removed first, so a killed run leaves
    users without a head, never with a wrong one.
    """
    loading = _Loading(store, encoder, task, plan, progress)
    targets, users = loading.targets(), loading.trainers()
    base = None if plan.new_base else load_base(store.weights, task, recipe, encoder)
    earlier = None if chat else earlier_of(store.weights, targets, task, recipe, encoder)
    run = Fitting(recipe, task, encoder, labels, plan, chat, progress, earlier)
    run.said_by = lambda user: store.answer_log.feedback(user, task=task.name)
    seconds = {}
    start = time.perf_counter()
    changed = base is None
    judged = users
    if base is None:
        if not users:
            raise DataError(
                f"no user has {plan.enough} records of {task.name}",
                hint="ingest more histories; until then `ask` works with built-in weights",
            )
        if plan.users is not None and not plan.new_base:
            progress.note(f"{task.name} has no base model yet: training one on all users first")
        trained = run.train_base(loading.splits(users), judged=earlier is None)
        if earlier is not None and not same_kind(trained.base, earlier.base):
            run.earlier = None
            trained = run.judge_base(trained, loading.splits(users))
        elif earlier is not None:
            everyone = [user for user, _ in store.users_of(task.name)]
            trained, judged = run.judged_before(trained, everyone), []
    else:
        trained = run.opened(base)
        changed = not trained.outcomes and bool(users) and plan.held_out > 0
        if changed:
            trained = run.judge_base(trained, loading.splits(users))
        else:
            judged = []
    seconds["base"] = time.perf_counter() - start

    start = time.perf_counter()
    splits = loading.splits(targets)
    heads = run.fit_heads(trained, splits)
    seconds["heads"] = time.perf_counter() - start

    start = time.perf_counter()
    heads, gates = run.judge(trained, splits, heads)
    seconds["gate"] = time.perf_counter() - start
    store.save_fit(
        task.name,
        recipe.name,
        base=trained.base if changed else None,
        heads=heads,
        new_base=base is None,
    )
    own = fitting.own_examples(splits, task, plan, seed=run.seed)
    fitted = tuple(
        UserFit(
            one.user,
            len(one.history),
            len(own[one.user]),
            gates[one.user],
            sum(array.nbytes for array in heads[one.user].tensors.values())
            if one.user in heads
            else 0,
        )
        for one in splits
    )
    return FitReport(
        task=task.name,
        kind=task.kind,
        labels=task.labels,
        recipe=recipe.name,
        evidence=run.evidence,
        asked=chat is not None,
        base_users=len(users) if base is None else 0,
        judged_users=len(judged),
        base_gate=Gate.of(trained.base.card.gate),
        fitted=fitted,
        usage=run.usage,
        seconds=seconds,
    )


def earlier_of(
    weights: WeightStore,
    users: Sequence[str],
    task: TaskSpec,
    recipe: Recipe,
    encoder: TextEncoder,
) -> Earlier | None:
    """What the last LLM told of the stored base and of these users' heads, if any did."""
    try:
        base = load_base(weights, task, recipe, encoder)
    except ModelError:  # another encoder's, or damaged: it says nothing about this one
        return None
    if base is None or not (name := judge_of(base)):
        return None
    heads = {}
    for user in users:
        with suppress(ModelError):  # one of an older base
            if (head := load_head(weights, user, task, recipe, base)) is not None:
                heads[user] = head
    return Earlier(name, base, heads)


def fit_requests(
    store: HistoryStore,
    encoder: TextEncoder,
    task: TaskSpec,
    *,
    recipe: Recipe,
    base: Weights | None,
    evidence: str,
    plan: FitPlan,
    labels: SupervisionPlan,
    progress: Progress,
) -> dict[str, list[ChatRequest]]:
    """The LLM calls of a fit by stage, from its real prompts, without making any.

    ``base`` is the one that would be kept, ``evidence`` the name of the LLM. Calls on
    reranked evidence are counted with the first stage's, because the reranker isn't
    trained yet.
    """
    loading = _Loading(store, encoder, task, plan, progress)
    run = Fitting(recipe, task, encoder, labels, plan, None, progress)
    splits = loading.splits(loading.targets())
    seed = run.seed
    asked = {e.context.query.id + "\0" + e.user: e
             for own in fitting.own_examples(splits, task, plan, seed=seed).values()
             for e in own}  # fmt: skip
    held = {e.context.query.id + "\0" + e.user: e for one in splits for e in one.held}
    if base is not None and not base.heads_need_answers:
        asked = {}
    from hydra_cli.modeling.gate import judged_itself

    if base is None or not judged_itself(base.card.held_out, evidence):
        users = loading.splits(loading.trainers())
        judging = fitting.judging_examples(users, plan, seed=seed, asked=True)
        held |= {e.context.query.id + "\0" + e.user: e for e in judging}
        if base is None:
            bare = fitting.training_examples(users, task, plan, seed=seed)
            asked |= {e.context.query.id + "\0" + e.user: e for e in bare}
    return {
        "labels": label_requests(asked.values(), task, labels),
        "held-out comparison": fitting.judging_requests(list(held.values()), task, labels),
    }
