"""What methods are made of: evidence selectors, samplers and choosers."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence

from hydra_cli.core.controls import majority, nearest_vote
from hydra_cli.core.metrics import rouge
from hydra_cli.core.prompts import random_evidence
from hydra_cli.core.protocols import Sampling
from hydra_cli.core.records import Candidate, QueryContext, Record, Scored
from hydra_cli.evaluation.setting import Setting

Evidence = Sequence[Scored[Record]]
Selector = Callable[[Setting, QueryContext], Evidence]
Sampler = Callable[[Setting, QueryContext], "Sampling | None"]
Chooser = Callable[[Setting, QueryContext, Evidence, Sequence[Candidate]], str]


def no_evidence(setting: Setting, context: QueryContext) -> Evidence:
    return ()


def random_records(setting: Setting, context: QueryContext) -> Evidence:
    return random_evidence(context.history.records, context.query, setting.k, seed=setting.seed)


def first_stage(how: str | None = None) -> Selector:
    """The k best records of one retriever; None: the run's own."""

    def select(setting: Setting, context: QueryContext) -> Evidence:
        return setting.retrieve(context, how or setting.retriever, setting.k)

    return select


def personal_evidence(name: str, how: str | None = None, shortlist: int | None = None) -> Selector:
    """What ``ask`` would show: reranked where the user's reranker is on, or no record."""

    def select(setting: Setting, context: QueryContext) -> Evidence:
        retriever = how or setting.retriever
        personal = setting.personal[name, context.query.user]
        if not personal.records:
            return ()
        if not personal.rerank:
            return setting.retrieve(context, retriever, setting.k)
        found = setting.retrieve(context, retriever, max(setting.k, shortlist or setting.shortlist))
        return personal.scorer.rerank(context, found)[: setting.k]

    return select


def no_answers(setting: Setting, context: QueryContext) -> Sampling | None:
    return None


def greedy(setting: Setting, context: QueryContext) -> Sampling | None:
    return setting.greedy()


def drawn(setting: Setting, context: QueryContext) -> Sampling | None:
    return setting.drawn()


def personal_answers(name: str) -> Sampler:
    """What ``ask`` would draw: n answers where the user's adapter is on, else a greedy one."""

    def sample(setting: Setting, context: QueryContext) -> Sampling | None:
        on = setting.personal[name, context.query.user].adapt
        return setting.drawn() if on else setting.greedy()

    return sample


def first(
    setting: Setting, context: QueryContext, evidence: Evidence, candidates: Sequence[Candidate]
) -> str:
    return candidates[0].text


def by_chance(
    setting: Setting, context: QueryContext, evidence: Evidence, candidates: Sequence[Candidate]
) -> str:
    """One of the n answers, the same one for the same query and seed."""
    query = context.query
    chooser = random.Random(f"{setting.seed}\0{query.user}\0{query.id}")
    return chooser.choice(list(candidates)).text


def consensus(
    setting: Setting, context: QueryContext, evidence: Evidence, candidates: Sequence[Candidate]
) -> str:
    """Self-consistency: the answer given most often, or the medoid of free texts.

    Ties go to the earlier answer.
    """
    texts = [candidate.text for candidate in candidates]
    if not setting.task.closed:
        return medoid(texts)
    labels = [setting.task.parse(text, context.query.labels) for text in texts]
    named = [label for label in labels if label is not None]
    return Counter(named).most_common(1)[0][0] if named else texts[0]


def medoid(texts: Sequence[str]) -> str:
    """The text that is most like the others, by the mean of ROUGE-1 and ROUGE-L."""
    counts = Counter(texts)

    def likeness(text: str) -> float:
        return sum(sum(rouge(text, other)) * times for other, times in counts.items())

    return max(counts, key=likeness)


def personal_choice(name: str) -> Chooser:
    """The adapter's winner, or the greedy answer where the user's adapter is off."""

    def choose(
        setting: Setting,
        context: QueryContext,
        evidence: Evidence,
        candidates: Sequence[Candidate],
    ) -> str:
        personal = setting.personal[name, context.query.user]
        if not personal.adapt:
            return candidates[0].text
        return personal.scorer.adapt(context, evidence, candidates)[0].item.text

    return choose


def usual_label(
    setting: Setting, context: QueryContext, evidence: Evidence, candidates: Sequence[Candidate]
) -> str:
    """The user's most frequent label (a rating: their median)."""
    return majority(context, setting.task) or setting.fallback


def neighbours_vote(
    setting: Setting, context: QueryContext, evidence: Evidence, candidates: Sequence[Candidate]
) -> str:
    """The most frequent label of the k most similar records (a rating: its median)."""
    return nearest_vote(context, setting.task, k=setting.k) or setting.fallback
