"""What a method may look at while it answers a query. No reference is among it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from hydra_cli.core.plan import AnswerPlan
from hydra_cli.core.protocols import ChatRequest, Sampling
from hydra_cli.core.records import History
from hydra_cli.core.tasks import TaskSpec
from hydra_cli.evaluation.histories import Variant
from hydra_cli.pipeline.personalization import Personalization
from hydra_cli.pipeline.supervision import sampling_for

SUMMARY_TOKENS = 80
SUMMARY_RECORDS = 8


@dataclass(frozen=True, slots=True)
class Conditions:
    """One seed's settings, shared by all methods of a run.

    ``fallback`` is the label for a user without records: the training users'
    most frequent one (median of a rating). ``summaries`` holds PAG's texts by
    history and user, ``personal`` each personalized method's scorers by its
    ``fit_key`` and user, ``pool`` the training users' histories.
    """

    task: TaskSpec
    plan: AnswerPlan = field(default_factory=AnswerPlan)
    fallback: str = ""
    summaries: Mapping[tuple[Variant, str], str] = field(default_factory=dict)
    personal: Mapping[tuple[tuple[str, Variant], str], Personalization] = field(
        default_factory=dict
    )
    pool: Sequence[History] = ()

    def greedy(self) -> Sampling:
        """One answer at temperature 0."""
        return sampling_for(self.task, n=1, temperature=0.0, seed=self.plan.seed)

    def drawn(self) -> Sampling:
        """n answers at the run's temperature."""
        plan = self.plan
        return sampling_for(self.task, n=plan.answers, temperature=plan.temperature, seed=plan.seed)


def summary_request(user: str, history: History, task: TaskSpec) -> ChatRequest | None:
    """Asks for a summary of the user from their newest records (PAG, arXiv 2310.20081)."""
    records = history.records[-SUMMARY_RECORDS:]
    if not records:
        return None
    shown = "\n".join(f"- {_cut(record.input)} => {_cut(record.output)}" for record in records)
    goal = "labels they give" if task.closed else "style and topics of what they write"
    return ChatRequest(
        messages=(
            {
                "role": "system",
                "content": f"Describe this user in one short sentence: the {goal}.",
            },
            {"role": "user", "content": f"What the user saw => what the user wrote:\n{shown}"},
        ),
        sampling=Sampling(n=1, temperature=0.0, max_tokens=SUMMARY_TOKENS),
        user=user,
    )


def _cut(text: str) -> str:
    return " ".join(text.split()[:40])
