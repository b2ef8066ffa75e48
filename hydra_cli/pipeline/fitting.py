"""Train a base, fit heads, judge both: on histories split into past and held out.

No store is involved: ``fit`` brings histories from one, ``eval`` from its questions,
and both get the same bytes. Neither base nor head sees a held-out record; the gate
is decided on those alone.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from hydra_cli.core.feedback import Feedback
from hydra_cli.core.protocols import ChatModel, ChatRequest, Progress, Recipe, Scorer, TextEncoder
from hydra_cli.core.records import History, TrainingExample, Usage
from hydra_cli.core.tasks import TaskSpec
from hydra_cli.core.verdicts import Gate
from hydra_cli.pipeline.live_outcomes import live_outcomes
from hydra_cli.pipeline.outcomes import outcomes_of, with_many_answers
from hydra_cli.pipeline.supervision import (
    SupervisionPlan,
    label_requests,
    pseudo_queries,
    supervise,
)

if TYPE_CHECKING:
    from hydra_cli.core.weights import Weights
    from hydra_cli.modeling.gate import Outcome
    from hydra_cli.pipeline.earlier import Earlier


@dataclass(frozen=True, slots=True)
class FitPlan:
    """How much is trained on, the same for ``fit`` and ``eval``."""

    per_user: int = 16
    """Pseudo-queries per user."""
    held_out: int = 8
    """Newest records of each user, held out for the gate; a quarter of the history at the most."""
    train_users: int = 100
    """Users whose pseudo-queries train the base: those with most records."""
    history_users: int | None = None
    """Users whose histories train it, and judge it where no LLM is asked, since that costs no
    call; None: three times those."""
    history_records: int = 20_000
    """No further users are taken for that once theirs are so many records."""
    enough: int = 4
    """Records a user needs to be among them."""
    examples: int | None = None
    """Pseudo-queries that train the base, at most; None: as many as its users have."""
    judged: int = 200
    """Held-out records that an LLM is asked about to judge the base, at most."""
    judged_free: int = 1600
    """The same where no LLM is asked."""


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """One user's records: the past, and the newest as pseudo-queries that judge.

    A record whose input is held out, too, is in neither: it would tell the answer.
    """

    history: History
    past: History
    held: tuple[TrainingExample, ...]

    @property
    def user(self) -> str:
        return self.history.user


def split(history: History, task: TaskSpec, plan: FitPlan) -> Split:
    """The history with its newest records held out."""
    count = min(plan.held_out, len(history) // 4)
    past = history.take(range(len(history) - count))
    for record in history.records[len(history) - count :]:
        past = past.without(record)
    held = pseudo_queries(history, task, limit=count, seed=0, newest=True)
    return Split(history, past, tuple(held))


def trainers(
    counts: Iterable[tuple[str, int]], plan: FitPlan, *, without: Collection[str] = ()
) -> list[str]:
    """The users that train the base, out of (user, records): those with most come first.

    ``train_users`` of them at least; then more, as far as their histories are short enough.
    """
    chosen: list[str] = []
    records = 0
    for user, n in sorted(counts, key=lambda item: (-item[1], item[0])):
        if n < plan.enough or user in without:
            continue
        records += n
        if len(chosen) >= plan.train_users and records > plan.history_records:
            break
        chosen.append(user)
    most_users = 3 * plan.train_users if plan.history_users is None else plan.history_users
    return chosen[: max(most_users, plan.train_users)]


def training_examples(
    splits: Sequence[Split], task: TaskSpec, plan: FitPlan, *, seed: int
) -> list[TrainingExample]:
    """What the base is trained on, without labels: of the users who come first."""
    splits = splits[: plan.train_users]
    each = plan.per_user
    if plan.examples is not None and splits:
        each = min(each, math.ceil(plan.examples / len(splits)))
    found = [pseudo_queries(one.past, task, limit=each, seed=seed) for one in splits]
    if plan.examples is None or sum(map(len, found)) <= plan.examples:
        return [example for own in found for example in own]
    # Users in turn, so that a short limit still hears everyone.
    turns = [own[i] for i in range(each) for own in found if i < len(own)]
    return turns[: plan.examples]


def own_examples(
    splits: Sequence[Split], task: TaskSpec, plan: FitPlan, *, seed: int
) -> dict[str, list[TrainingExample]]:
    """What each user's head is fitted on, without labels."""
    return {one.user: pseudo_queries(one.past, task, limit=plan.per_user, seed=seed)
            for one in splits}  # fmt: skip


def judging_examples(
    splits: Sequence[Split], plan: FitPlan, *, seed: int, asked: bool
) -> list[TrainingExample]:
    """The held-out records that judge the base: a draw where there are many.

    Where each costs LLM calls, a smaller one, of users whose answers train it too.
    """
    of, most = (splits[: plan.train_users], plan.judged) if asked else (splits, plan.judged_free)
    held = [example for one in of for example in one.held]
    if len(held) <= most:
        return held
    kept = set(random.Random(f"{seed}\0judged").sample(range(len(held)), most))
    return [example for i, example in enumerate(held) if i in kept]


@dataclass(frozen=True, slots=True, eq=False)
class Trained:
    """A base with its gate in the card, and what is known of other users.

    ``examples`` are those that it was trained on in this run, with their labels;
    ``outcomes`` are the held-out ones of its users, named by pseudonyms.
    """

    base: Weights
    examples: tuple[TrainingExample, ...] = ()
    outcomes: tuple[Outcome, ...] = ()


@dataclass(slots=True)
class Fitting:
    """One recipe on one task. ``chat`` None makes and judges by the histories alone.

    ``earlier`` is what an LLM told before, which then goes on judging. ``said_by``
    gives a user's feedback on this task, which the gate counts.
    """

    recipe: Recipe
    task: TaskSpec
    encoder: TextEncoder
    labels: SupervisionPlan
    plan: FitPlan
    chat: ChatModel | None
    progress: Progress
    earlier: Earlier | None = None
    usage: Usage = field(default_factory=Usage)
    said_by: Callable[[str], Sequence[Feedback]] = lambda user: ()

    @property
    def evidence(self) -> str:
        """What a gate of this run is decided by: ``"history"``, or an LLM's name."""
        if self.chat is None:
            return "history" if self.earlier is None else self.earlier.evidence
        return self.chat.name

    @property
    def seed(self) -> int:
        return self.labels.answering.seed

    def train_base(self, splits: Sequence[Split], *, judged: bool = True) -> Trained:
        """The base on the users' pasts, judged on what was held out of them."""
        bare = training_examples(splits, self.task, self.plan, seed=self.seed)
        examples = self._supervised(bare, self.chat)
        base = self.recipe.train_base(
            self.task,
            examples,
            [one.past for one in splits],
            self.encoder,
            seed=self.seed,
            progress=self.progress,
        )
        trained = Trained(base, tuple(examples))
        return self.judge_base(trained, splits) if judged else trained

    def opened(self, base: Weights) -> Trained:
        """A base that was trained before, with the outcomes that its card has of this kind.

        An LLM that is asked judges the base itself, where it judged only the one before.
        """
        from hydra_cli.modeling.gate import judged_itself, kept_outcomes

        if self.chat is not None and not judged_itself(base.card.held_out, self.evidence):
            return Trained(base, ())
        return Trained(base, (), kept_outcomes(base.card.held_out, self.evidence))

    def judged_before(self, trained: Trained, users: Sequence[str]) -> Trained:
        """A new base with the gate that the earlier LLM's outcomes decide; they are handed on."""
        from hydra_cli.core.weights import Weights
        from hydra_cli.modeling.gate import with_outcomes

        assert self.earlier is not None
        base = trained.base
        outcomes = self.earlier.others(base, users)
        held_out = with_outcomes(base.card.held_out, self.evidence, outcomes, of_another=True)
        card = replace(base.card, gate=self._gate([], outcomes).card, held_out=held_out)
        return Trained(Weights(card, base.tensors), trained.examples, tuple(outcomes))

    def judge_base(self, trained: Trained, splits: Sequence[Split]) -> Trained:
        """The base with a gate of this run's evidence beside what its card has of other kinds."""
        from hydra_cli.core.weights import Weights
        from hydra_cli.modeling.gate import with_outcomes

        base = trained.base
        scorer = self.recipe.scorer(base, None, self.task, self.encoder)
        asked = self.chat is not None
        examples = judging_examples(splits, self.plan, seed=self.seed, asked=asked)
        scorers = dict.fromkeys([one.user for one in splits], scorer)
        outcomes = self._outcomes(examples, scorers, base, [])
        gate = self._gate([], outcomes)
        held_out = with_outcomes(base.card.held_out, self.evidence, outcomes)
        card = replace(base.card, gate=gate.card, held_out=held_out)
        # The tensors stay as they are, so heads that stand on this base still do.
        return Trained(Weights(card, base.tensors), trained.examples, tuple(outcomes))

    def fit_heads(self, trained: Trained, splits: Sequence[Split]) -> dict[str, Weights]:
        """Every user's head. Examples that the base was trained on keep their labels."""
        own = own_examples(splits, self.task, self.plan, seed=self.seed)
        if not own:
            return {}
        known = {_key(example): example for example in trained.examples}
        missing = [e for examples in own.values() for e in examples if _key(e) not in known]
        chat = self.chat if trained.base.heads_need_answers else None
        known |= {_key(example): example for example in self._supervised(missing, chat)}
        labelled = {user: [known[_key(e)] for e in examples] for user, examples in own.items()}
        return self.recipe.fit_heads(
            trained.base,
            self.task,
            labelled,
            self.encoder,
            seed=self.seed,
            progress=self.progress,
        )

    def judge(
        self, trained: Trained, splits: Sequence[Split], heads: Mapping[str, Weights]
    ) -> tuple[dict[str, Weights], dict[str, Gate]]:
        """The heads with their gates in the cards, and every user's gate."""
        from hydra_cli.core.weights import Weights
        from hydra_cli.modeling.gate import pseudonym

        base = trained.base
        scorers = {
            one.user: self.recipe.scorer(base, heads.get(one.user), self.task, self.encoder)
            for one in splits
        }
        examples = [example for one in splits for example in one.held]
        outcomes = (
            [] if self._by_earlier else self._outcomes(examples, scorers, base, trained.outcomes)
        )
        judged, gates = {}, {}
        for one in splits:
            name = pseudonym(base.fingerprint, one.user)
            own = [outcome for outcome in outcomes if outcome.user == name]
            if self._by_earlier and self.earlier is not None:
                own = self.earlier.own(one.user, trained.outcomes, name)
            others = [outcome for outcome in trained.outcomes if outcome.user != name]
            # They are in the log: the card keeps those of held-out records alone.
            live = self._live(one, name)
            gate = gates[one.user] = self._gate([*own, *live], others)
            if (head := heads.get(one.user)) is not None:
                held = {"outcomes": [dict(outcome.quality) for outcome in own]}
                card = replace(head.card, gate=gate.card, held_out=held)
                judged[one.user] = Weights(card, head.tensors)
        return judged, gates

    def _live(self, split: Split, name: str) -> list[Outcome]:
        """What feedback says, but for that which is a held-out record: it judges already."""
        held = {example.context.query.id for example in split.held}
        said = [one for one in self.said_by(split.user) if one.record not in held]
        return live_outcomes(said, self.task, model=self.evidence, name=name)

    @property
    def _by_earlier(self) -> bool:
        return self.chat is None and self.earlier is not None

    def _gate(self, own: Sequence[Outcome], others: Sequence[Outcome]) -> Gate:
        from hydra_cli.modeling.gate import decide

        gate = decide(own, others, answers=self.labels.answering.answers)
        return replace(gate, evidence=self.evidence)

    def _supervised(
        self, examples: Sequence[TrainingExample], chat: ChatModel | None
    ) -> list[TrainingExample]:
        shown, usage = supervise(
            examples, self.task, self.labels, chat=chat, progress=self.progress
        )
        self.usage += usage
        return shown

    def _outcomes(
        self,
        examples: Sequence[TrainingExample],
        scorers: Mapping[str, Scorer],
        base: Weights,
        known: Sequence[Outcome],
    ) -> list[Outcome]:
        """What every pipeline would have answered; ``known`` outcomes say what is still open."""
        from hydra_cli.modeling.gate import pseudonym

        labels = judging_labels(self.labels, asked=self.chat is not None)
        shown, usage = supervise(
            examples, self.task, labels, chat=self.chat, progress=self.progress
        )
        found, more = outcomes_of(
            shown,
            self.task,
            labels,
            scorer_of=scorers.__getitem__,
            chat=self.chat,
            progress=self.progress,
        )
        self.usage += usage + more
        if self.chat is not None and not labels.draws(self.task):
            gate = self._gate([], [*found, *known])
            # Where one vote wins nothing over none, more of them are no open question.
            if gate.n:
                found, more = with_many_answers(
                    shown,
                    found,
                    self.task,
                    labels,
                    rerank=gate.rerank,
                    scorer_of=scorers.__getitem__,
                    chat=self.chat,
                    progress=self.progress,
                )
                self.usage += more
        return [replace(o, user=pseudonym(base.fingerprint, o.user)) for o in found]


def judging_labels(labels: SupervisionPlan, *, asked: bool) -> SupervisionPlan:
    """What held-out records need: answers with and without evidence, no labels."""
    return replace(labels, needs=frozenset(), plain=asked)


def judging_requests(
    examples: Sequence[TrainingExample], task: TaskSpec, labels: SupervisionPlan
) -> list[ChatRequest]:
    """The LLM calls that judging the examples makes, as far as they can be known before.

    Calls on reranked evidence are counted with the first stage's, as long as it. Whether
    labels and ratings are worth more than one answer is asked of one kind of evidence.
    """
    asked = judging_labels(labels, asked=True)
    held = label_requests(examples, task, asked)
    many = []
    if not asked.draws(task):
        drawing = replace(asked, lone=False, plain=False)
        many = [r for r in label_requests(examples, task, drawing) if r.sampling.temperature]
    return held + [request for request in held if len(request.messages) > 2] + many


def _key(example: TrainingExample) -> tuple[str, str]:
    return example.user, example.context.query.id
