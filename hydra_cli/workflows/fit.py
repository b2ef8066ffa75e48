"""Train a task's base and its users' heads, and judge each stage for each user.

The newest records of every user are held out: neither base nor head sees
them, and the gate is decided on them alone.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra_cli.core.errors import DataError
from hydra_cli.core.protocols import (
    ChatModel,
    ChatRequest,
    HistoryStore,
    Progress,
    Recipe,
    Scorer,
    TextEncoder,
)
from hydra_cli.core.records import History, TrainingExample, Usage
from hydra_cli.core.tasks import TaskSpec
from hydra_cli.pipeline.contexts import load_history
from hydra_cli.pipeline.outcomes import outcomes_of
from hydra_cli.pipeline.personalization import load_base
from hydra_cli.pipeline.supervision import (
    SupervisionPlan,
    label_requests,
    pseudo_queries,
    supervise,
)

if TYPE_CHECKING:
    from hydra_cli.modeling.gate import GateDecision, Outcome
    from hydra_cli.modeling.weights import Weights


@dataclass(frozen=True, slots=True)
class FitPlan:
    """How much is trained on. ``users`` None means everyone with records of the task.

    ``base_only`` leaves heads alone; ``without`` keeps users out of the base.
    """

    users: tuple[str, ...] | None = None
    without: tuple[str, ...] = ()
    base_only: bool = False
    new_base: bool = False
    train_users: int = 100
    per_user: int = 16
    held_out: int = 8
    enough: int = 4
    """Records a user needs to take part in training the base."""


@dataclass(frozen=True, slots=True)
class UserFit:
    """One user's result: the gate's decision in words, and what the head weighs."""

    user: str
    records: int
    examples: int
    rerank: bool
    adapt: bool
    lines: tuple[str, ...]
    bytes: int


@dataclass(frozen=True, slots=True)
class FitReport:
    task: str
    recipe: str
    supervision: str
    base_users: int
    """Users that the base was trained on in this run; 0 where it was kept."""
    base_lines: tuple[str, ...]
    fitted: tuple[UserFit, ...]
    usage: Usage
    seconds: Mapping[str, float] = field(default_factory=dict)


@dataclass(slots=True)
class _Fitting:
    """What the steps of one run share."""

    task: TaskSpec
    store: HistoryStore
    encoder: TextEncoder
    recipe: Recipe
    chat: ChatModel | None
    plan: FitPlan
    labels: SupervisionPlan
    progress: Progress
    usage: Usage = field(default_factory=Usage)
    seconds: dict[str, float] = field(default_factory=dict)
    histories: dict[str, History] = field(default_factory=dict)

    def history(self, user: str) -> History:
        if user not in self.histories:
            self.histories[user] = load_history(
                self.store, self.encoder, self.task, user, progress=self.progress
            )
        return self.histories[user]

    def past(self, user: str) -> History:
        """The history without its held-out end."""
        history = self.history(user)
        return history.take(range(len(history) - self.held(user)))

    def held(self, user: str) -> int:
        """How many of the newest records are held out: a quarter at the most."""
        return min(self.plan.held_out, len(self.history(user)) // 4)

    def training(self, users: Sequence[str]) -> list[TrainingExample]:
        return [
            example
            for user in users
            for example in pseudo_queries(
                self.past(user), self.task, limit=self.plan.per_user, seed=self.labels.seed
            )
        ]

    def held_out(self, users: Sequence[str]) -> list[TrainingExample]:
        return [
            example
            for user in users
            for example in pseudo_queries(
                self.history(user), self.task, limit=self.held(user), seed=0, newest=True
            )
        ]

    def supervised(
        self, examples: list[TrainingExample], base: Weights | None = None
    ) -> list[TrainingExample]:
        """Labels for a base, or for heads on ``base``, which may need no answers."""
        chat = self.chat if base is None or base.heads_need_answers else None
        shown, usage = supervise(
            examples, self.task, self.labels, chat=chat, progress=self.progress
        )
        self.usage += usage
        return shown


def fit(
    store: HistoryStore,
    folder: Path,
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

    Files are written at the end, heads of an older base are removed first, so
    a killed run leaves users without a head, never with a wrong one.
    """
    run = _Fitting(task, store, encoder, recipe, chat, plan, labels, progress)
    targets = _targets(run)
    trainers = _trainers(run)
    base = None if plan.new_base or plan.base_only else load_base(folder, task, recipe, encoder)
    examples: dict[str, list[TrainingExample]] = {}
    outcomes: list[Outcome] = []
    base_users = 0
    start = time.perf_counter()
    if base is None:
        if plan.users is not None and not plan.base_only:
            progress.note(f"{task.name} has no base model yet: training one on all users first")
        base, examples, outcomes = _train_base(run, trainers)
        base_users = len(trainers)
    run.seconds["base"] = time.perf_counter() - start

    start = time.perf_counter()
    wanted = [] if plan.base_only else targets
    fresh = run.supervised(run.training([u for u in wanted if u not in examples]), base)
    for example in fresh:
        examples.setdefault(example.user, []).append(example)
    own = {user: examples.get(user, []) for user in wanted}
    heads = (
        recipe.fit_heads(base, task, own, encoder, seed=labels.seed, progress=progress)
        if own
        else {}
    )
    run.seconds["heads"] = time.perf_counter() - start

    start = time.perf_counter()
    heads, fitted = _judge(run, base, heads, own, outcomes)
    run.seconds["gate"] = time.perf_counter() - start
    _save(store, folder, task, recipe, base if base_users else None, heads)
    return FitReport(
        task=task.name,
        recipe=recipe.name,
        supervision="history" if chat is None else f"llm ({chat.name})",
        base_users=base_users,
        base_lines=tuple(base.card.gate.get("lines", ())),
        fitted=fitted,
        usage=run.usage,
        seconds=run.seconds,
    )


def fit_requests(
    store: HistoryStore,
    encoder: TextEncoder,
    task: TaskSpec,
    *,
    recipe: Recipe,
    base_exists: bool,
    plan: FitPlan,
    labels: SupervisionPlan,
    progress: Progress,
) -> dict[str, list[ChatRequest]]:
    """The LLM calls of a fit by stage, from its real prompts, without making any.

    Calls on reranked evidence are counted with the first stage's evidence,
    because the reranker isn't trained yet.
    """
    run = _Fitting(task, store, encoder, recipe, None, plan, labels, progress)
    targets = _targets(run)
    users = targets if base_exists else list(dict.fromkeys([*_trainers(run), *targets]))
    judged = replace(labels, needs=frozenset(), plain=labels.answers)
    held = label_requests(run.held_out(users), task, judged)
    again = [request for request in held if len(request.messages) > 2]
    return {
        "labels": label_requests(run.training(users), task, labels),
        "held-out comparison": held + again,
    }


def _targets(run: _Fitting) -> list[str]:
    known = dict(run.store.users_of(run.task.name))
    users = list(known) if run.plan.users is None else list(run.plan.users)
    return [user for user in users if known.get(user)]


def _trainers(run: _Fitting) -> list[str]:
    """Users with enough history, those with most records first."""
    counts = sorted(run.store.users_of(run.task.name), key=lambda item: (-item[1], item[0]))
    return [
        user
        for user, records in counts
        if records >= run.plan.enough and user not in run.plan.without
    ][: run.plan.train_users]


def _train_base(
    run: _Fitting, trainers: Sequence[str]
) -> tuple[Weights, dict[str, list[TrainingExample]], list[Outcome]]:
    if not trainers:
        raise DataError(
            f"no user has {run.plan.enough} records of {run.task.name}",
            hint="ingest more histories; until then `ask` works with built-in weights",
        )
    run.progress.start("encoding histories", None)
    histories = [run.past(user) for user in trainers]
    examples = run.supervised(run.training(trainers))
    base = run.recipe.train_base(
        run.task, examples, histories, run.encoder, seed=run.labels.seed, progress=run.progress
    )
    by_user: dict[str, list[TrainingExample]] = {}
    for example in examples:
        by_user.setdefault(example.user, []).append(example)
    scorer = run.recipe.scorer(base, None, run.task, run.encoder)
    outcomes = _outcomes(run, trainers, dict.fromkeys(trainers, scorer))
    from hydra_cli.modeling.gate import decide
    from hydra_cli.modeling.weights import Weights

    decision = decide([], outcomes)
    groups = {user: number for number, user in enumerate(trainers)}
    shown = [[groups[o.user], dict(o.quality)] for o in outcomes]
    card = replace(base.card, gate=_gate_card(decision), held_out={"outcomes": shown})
    return Weights(card, base.tensors), by_user, outcomes


def _outcomes(run: _Fitting, users: Sequence[str], scorers: Mapping[str, Scorer]) -> list[Outcome]:
    labels = replace(run.labels, needs=frozenset(), plain=run.chat is not None)
    held, usage = supervise(
        run.held_out(users), run.task, labels, chat=run.chat, progress=run.progress
    )
    found, more = outcomes_of(
        held,
        run.task,
        labels,
        scorer_of=scorers.__getitem__,
        chat=run.chat,
        progress=run.progress,
    )
    run.usage += usage + more
    return found


def _judge(
    run: _Fitting,
    base: Weights,
    heads: Mapping[str, Weights],
    own: Mapping[str, Sequence[TrainingExample]],
    population: Sequence[Outcome],
) -> tuple[dict[str, Weights], tuple[UserFit, ...]]:
    """Every head with its gate in the card."""
    from hydra_cli.modeling.gate import Outcome, decide
    from hydra_cli.modeling.weights import Weights

    scorers = {
        user: run.recipe.scorer(base, heads.get(user), run.task, run.encoder) for user in own
    }
    outcomes = _outcomes(run, list(own), scorers) if own else []
    if not population:
        population = [
            Outcome(f"user {group}", quality)
            for group, quality in base.card.held_out.get("outcomes", [])
        ]
    judged: dict[str, Weights] = {}
    fitted = []
    for user, examples in own.items():
        decision = decide([o for o in outcomes if o.user == user], population)
        gate = _gate_card(decision)
        head = heads.get(user)
        if head is not None:
            held = {"outcomes": [dict(o.quality) for o in outcomes if o.user == user]}
            card = replace(head.card, gate=gate, held_out=held)
            head = judged[user] = Weights(card, head.tensors)
        fitted.append(
            UserFit(
                user=user,
                records=len(run.history(user)),
                examples=len(examples),
                rerank=bool(gate["rerank"]),
                adapt=bool(gate["adapt"]),
                lines=tuple(gate["lines"]),
                bytes=sum(t.numel() * t.element_size() for t in head.tensors.values())
                if head
                else 0,
            )
        )
    return judged, tuple(fitted)


def _gate_card(decision: GateDecision) -> dict[str, Any]:
    """The decision as a head's card keeps it."""
    return {**decision.card, "lines": list(decision.lines)}


def _save(
    store: HistoryStore,
    folder: Path,
    task: TaskSpec,
    recipe: Recipe,
    base: Weights | None,
    heads: Mapping[str, Weights],
) -> None:
    from hydra_cli.core.files import name_of
    from hydra_cli.modeling.weights import base_path, head_path
    from hydra_cli.store.lock import WriterLock

    with WriterLock(folder / "lock").held():
        # Under the lock: a user forgotten meanwhile must not come back as a head.
        left = dict(store.users_of(task.name))
        if base is not None:
            for stale in folder.glob(f"heads/*/{name_of(task.name)}.{recipe.name}.safetensors"):
                stale.unlink(missing_ok=True)
            base.save(base_path(folder, task.name, recipe.name))
        for user, head in heads.items():
            if left.get(user):
                head.save(head_path(folder, user, task.name, recipe.name))
