"""The word model learns from users' own records: what an input became, no LLM asked.

A record is taken as a query with the records written before it; the words of
its output are the target. Beside the input's words the model meets words that
an LLM might have said: those of outputs of similar and recent inputs, and some
of other users'.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hydra_cli.core.records import History, Record
from hydra_cli.modeling.factorized import listwise
from hydra_cli.modeling.factorized.past_outputs import past_outputs
from hydra_cli.modeling.factorized.word_model import (
    BUCKETS,
    PRIOR,
    Floats,
    Weighing,
    WordModel,
    WordTables,
    bucket_counts,
    stems,
    vocabulary_of,
    word_features,
)

PRECISION = 1.0
FOLDS = 3
RECORDS_A_USER = 20
"""At most this many records of a history are taken as queries."""
_OLDEST = 0.25
"""A record is a query only with so much of the history before it, and two records."""
_SIMILAR, _RECENT, _STRANGE = 4, 2, 2
"""Outputs whose words are met beside the input's."""

Rows = tuple[Floats, Floats]
"""Features (v, f) of a query's words, and which of them its output holds (v,)."""


@dataclass(frozen=True, slots=True)
class _Counts:
    """Hashed words of one history or of many; each user weighs by the root of their records."""

    outputs: Floats
    inputs: Floats
    both: Floats
    size: float

    @staticmethod
    def of(history: History) -> _Counts:
        outputs = [set(stems(record.output)) for record in history.records]
        inputs = [set(stems(record.input)) for record in history.records]
        both = [one & other for one, other in zip(outputs, inputs, strict=True)]
        root = math.sqrt(max(len(history), 1))
        return _Counts(
            bucket_counts(outputs) / root,
            bucket_counts(inputs) / root,
            bucket_counts(both) / root,
            math.sqrt(len(history)),
        )

    def less(self, other: _Counts) -> WordTables:
        """The tables without another's share."""
        return WordTables.of(
            self.outputs - other.outputs,
            self.inputs - other.inputs,
            self.both - other.both,
            self.size - other.size,
        )


def train(
    histories: Sequence[History], *, folds: int = FOLDS
) -> tuple[WordModel, dict[str, WordModel]]:
    """The model of all users, and for each of them an honest one.

    An honest model's weights come from other folds' users, and its word counts
    leave the user's own records out.
    """
    own = {history.user: _Counts.of(history) for history in histories}
    every = _total(own.values())
    tables = {user: every.less(counts) for user, counts in own.items()}
    everything = [record for history in histories for record in history.records]
    rows = {h.user: list(learned_rows(h, tables[h.user], everything)) for h in histories}
    users = sorted(rows)
    honest = {}
    for fold in range(folds):
        held = set(users[fold::folds])
        weights = _fit({user: rows[user] for user in users if user not in held})
        honest.update({user: WordModel(weights, tables[user]) for user in held})
    whole = WordTables.of(every.outputs, every.inputs, every.both, every.size)
    return WordModel(_fit(rows), whole), honest


def _total(counts: Iterable[_Counts]) -> _Counts:
    outputs, inputs, both, size = np.zeros(BUCKETS), np.zeros(BUCKETS), np.zeros(BUCKETS), 0.0
    for one in counts:
        outputs += one.outputs
        inputs += one.inputs
        both += one.both
        size += one.size
    return _Counts(outputs, inputs, both, size)


def learned_rows(
    history: History, tables: WordTables, everything: Sequence[Record]
) -> Iterator[Rows]:
    """Some records of a history as queries, each knowing what was written before it.

    ``everything``: all users' records, from which strange words are drawn.
    """
    chooser = random.Random(f"words\0{history.user}")
    old = range(max(2, int(_OLDEST * len(history))), len(history))
    past = past_outputs(tuple(record.output for record in history.records), stems)
    inputs = [" ".join(record.input.lower().split()) for record in history.records]
    for row in sorted(chooser.sample(old, min(RECORDS_A_USER, len(old)))):
        record, vector = history.records[row], history.inputs[row]
        seen = np.arange(len(history)) < row
        # A repost would tell the answer.
        seen &= np.array([text != inputs[row] for text in inputs])
        weighing = Weighing.of(history, vector, seen)
        near = np.argsort(-weighing.similar, kind="stable")[:_SIMILAR]
        shown = {*near.tolist(), *range(max(0, row - _RECENT), row)}
        said = [history.records[i].output for i in sorted(shown) if seen[i]]
        strange = chooser.choices(everything, k=_STRANGE) if everything else []
        said += [one.output for one in strange if one.user != history.user]
        vocabulary = vocabulary_of(record.input, [stems(text) for text in said])
        output = set(stems(record.output))
        features = word_features(record.input, vocabulary, past, weighing, tables)
        yield features, np.array([float(word in output) for word in vocabulary])


def _fit(rows: Mapping[str, Sequence[Rows]]) -> Floats:
    """Logistic regression: the conditional logit of two items, a word and nothing."""
    found = [one for own in rows.values() for one in own]
    prior = np.array([PRIOR])
    if not found:
        return np.array(PRIOR)
    x = np.concatenate([features for features, _ in found])  # (v, f)
    y = np.concatenate([present for _, present in found])  # (v,)
    packed = listwise.Packed(
        features=np.stack([x, np.zeros_like(x)], 1)[None],
        targets=np.stack([y, 1.0 - y], 1)[None],
        missing=np.zeros((1, len(x), 2)),
        weights=np.ones((1, len(x))),
    )
    fitted: Floats = listwise.fit(packed, prior, np.full_like(prior[0], PRECISION))[0]
    return fitted
