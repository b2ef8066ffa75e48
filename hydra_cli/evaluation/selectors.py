"""What prompts and controls are made of: evidence selectors, samplers and choosers."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from hydra_cli.core.controls import lead, majority, nearest_vote
from hydra_cli.core.metrics import rouge
from hydra_cli.core.prompts import random_evidence
from hydra_cli.core.protocols import Sampling
from hydra_cli.core.records import Candidate, History, QueryContext, Record, Scored
from hydra_cli.core.retrieval import retrieve
from hydra_cli.evaluation.conditions import Conditions

Evidence = Sequence[Scored[Record]]
Selector = Callable[[Conditions, QueryContext], Evidence]
Sampler = Callable[[Conditions], "Sampling | None"]
Chooser = Callable[[Conditions, QueryContext, Sequence[Candidate]], str]


def no_evidence(setting: Conditions, context: QueryContext) -> Evidence:
    return ()


def random_records(setting: Conditions, context: QueryContext) -> Evidence:
    plan = setting.plan
    return random_evidence(context.history.records, context.query, plan.k, seed=plan.seed)


def first_stage(how: str | None = None) -> Selector:
    """The k best records of one retriever; None: the run's own."""

    def select(setting: Conditions, context: QueryContext) -> Evidence:
        return retrieve(context, how=how or setting.plan.retriever, k=setting.plan.k)

    return select


def no_answers(setting: Conditions) -> Sampling | None:
    return None


def greedy(setting: Conditions) -> Sampling | None:
    return setting.greedy()


def drawn(setting: Conditions) -> Sampling | None:
    return setting.drawn()


def first(setting: Conditions, context: QueryContext, candidates: Sequence[Candidate]) -> str:
    return candidates[0].text


def by_chance(setting: Conditions, context: QueryContext, candidates: Sequence[Candidate]) -> str:
    """One of the n answers, the same one for the same query and seed."""
    query = context.query
    chooser = random.Random(f"{setting.plan.seed}\0{query.user}\0{query.id}")
    return chooser.choice(list(candidates)).text


def consensus(setting: Conditions, context: QueryContext, candidates: Sequence[Candidate]) -> str:
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


def usual_label(setting: Conditions, context: QueryContext, candidates: Sequence[Candidate]) -> str:
    """The user's most frequent label (a rating: their median)."""
    return majority(context, setting.task) or setting.fallback


def neighbours_vote(
    setting: Conditions, context: QueryContext, candidates: Sequence[Candidate]
) -> str:
    """The most frequent label of the k most similar records (a rating: its median)."""
    return nearest_vote(context, setting.task, k=setting.plan.k) or setting.fallback


def everyones_vote(
    setting: Conditions, context: QueryContext, candidates: Sequence[Candidate]
) -> str:
    """The same among the records of all users: the training users', and the user's own."""
    k = setting.plan.k
    near: list[tuple[float, History]] = []
    for history in (*setting.pool, context.history):
        if len(history):
            cosines = history.inputs @ context.vector
            rows = np.argsort(-cosines, kind="stable")[:k]
            near += [(float(cosines[row]), history.take([row])) for row in rows]
    near = sorted(near, key=lambda found: -found[0])[:k]
    if not near or not k:
        return setting.fallback
    merged = History(
        context.query.user,
        tuple(history.records[0] for _, history in near),
        np.concatenate([history.inputs for _, history in near]),
    )
    return nearest_vote(replace(context, history=merged), setting.task, k=k) or setting.fallback


def opening_words(
    setting: Conditions, context: QueryContext, candidates: Sequence[Candidate]
) -> str:
    """What copying the query wins: its first words, 1.5 times the user's mean length."""
    return lead(context)
