"""What a method may look at while it answers a query. No reference is among it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from hydra_cli.core.protocols import ChatRequest, Sampling
from hydra_cli.core.records import History, QueryContext, Record, Scored
from hydra_cli.core.retrieval import retrieve
from hydra_cli.core.tasks import TaskSpec
from hydra_cli.pipeline.personalization import Personalization
from hydra_cli.pipeline.supervision import sampling_for

SUMMARY_TOKENS = 80
SUMMARY_RECORDS = 8


@dataclass(frozen=True, slots=True)
class Setting:
    """One seed's settings, shared by all methods of a run.

    ``fallback`` is the label for a user without records: the training users'
    most frequent one (median of a rating). ``summaries`` holds PAG's texts by
    user, ``personal`` each personalized method's scorers by (method, user),
    ``ranked`` the first stage's rankings by (user, query, retriever).
    """

    task: TaskSpec
    k: int = 4
    n: int = 8
    temperature: float = 0.5
    seed: int = 0
    retriever: str = "fused"
    shortlist: int = 20
    fallback: str = ""
    summaries: Mapping[str, str] = field(default_factory=dict)
    personal: Mapping[tuple[str, str], Personalization] = field(default_factory=dict)
    ranked: dict[tuple[str, str, str], Sequence[Scored[Record]]] = field(default_factory=dict)

    def retrieve(self, context: QueryContext, how: str, k: int) -> Sequence[Scored[Record]]:
        """The first stage's best k records; each ranking is made once for all methods."""
        key = (context.query.user, context.query.id, how)
        known = self.ranked.get(key)
        if known is None or (len(known) < k and len(known) < len(context.history)):
            known = retrieve(context, how=how, k=max(k, self.shortlist))
            self.ranked[key] = known
        return known[:k]

    def greedy(self) -> Sampling:
        """One answer at temperature 0; the same for every seed, so asked once."""
        return sampling_for(self.task, n=1, temperature=0.0, seed=0)

    def drawn(self) -> Sampling:
        """n answers at the run's temperature."""
        return sampling_for(self.task, n=self.n, temperature=self.temperature, seed=self.seed)


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
