"""Which words will stand in the user's own output? Expected overlap of each answer with it.

A logistic model over words: each word of the query or of an answer is read by
where it stands in the query, how usual it is in outputs and inputs of all
users, how usual in the user's own outputs and in those of similar inputs, and
how many answers say it. It learns from references, so it knows what an LLM's
answers alone can't show. An answer's score is its expected F1 with the
unknown reference: 2 sum_w p(w) / (length + expected length), the utility of
minimum Bayes risk decoding under a learned distribution of references.
"""

from __future__ import annotations

import math
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from hydra_cli.core.records import History, QueryContext, TrainingExample
from hydra_cli.modeling.factorized import listwise
from hydra_cli.modeling.factorized.past_outputs import PastOutputs, past_outputs
from hydra_cli.modeling.factorized.text_form import words

Floats = NDArray[np.float64]
Floats32 = NDArray[np.float32]

NAMES = (
    "bias",
    "in query",
    "log count in query",
    "early in query",
    "in query opening",
    "capital in query",
    "user's lift",
    "in similar outputs",
    "log share of outputs",
    "log share of inputs",
    "long",
    "share of answers",
    "in an answer",
    "in query, share of answers",
    "in query, log share of outputs",
)
PRIOR = (-2.0, -1.0, 0.6, 0.0, 0.3, 0.5, 0.15, 1.6, 1.2, -0.6, 0.6, 2.4, 0.4, -1.3, -0.5)
"""Weights before any training."""

PRECISION = 1.0
FOLDS = 3
BUCKETS = 8192
_OPENING = 15
_WIDTH = 0.07
_LENGTH, _LENGTH_COUNT = 10.0, 1.0
_SMOOTHING = 30.0


@dataclass(frozen=True, slots=True, eq=False)
class WordModel:
    """``weights`` (f,); ``outputs`` and ``inputs`` (BUCKETS,): hashed words' log shares."""

    weights: Floats
    outputs: Floats
    inputs: Floats

    def expected_overlap(self, context: QueryContext, texts: Sequence[str]) -> Floats:
        """The expected word F1 of each text (n,) with the user's own output."""
        vocabulary, features = word_features(context, texts, self.outputs, self.inputs)
        scores = np.clip(features @ self.weights, -30.0, 30.0)
        chance = dict(zip(vocabulary, (1.0 / (1.0 + np.exp(-scores))).tolist(), strict=True))
        lengths = [len(stems(record.output)) for record in context.history.records]
        length = (sum(lengths) + _LENGTH * _LENGTH_COUNT) / (len(lengths) + _LENGTH_COUNT)
        found = [stems(text) for text in texts]
        # Words in their order, not in a set's: the last bits must not hang on PYTHONHASHSEED.
        return np.array(
            [2.0 * sum(chance[w] for w in dict.fromkeys(s)) / (len(s) + length) for s in found]
        )


@dataclass(frozen=True, slots=True, eq=False)
class Shares:
    """Hashed counts of words over users, each user weighted by the root of their records."""

    outputs: Mapping[str, Floats]
    inputs: Mapping[str, Floats]
    sizes: Mapping[str, float]

    @staticmethod
    def of(histories: Sequence[History]) -> Shares:
        outputs = {h.user: _counts([r.output for r in h.records]) for h in histories}
        inputs = {h.user: _counts([r.input for r in h.records]) for h in histories}
        return Shares(outputs, inputs, {h.user: math.sqrt(len(h)) for h in histories})

    def totals(self) -> tuple[Floats, Floats, float]:
        zero = np.zeros(BUCKETS)
        return (
            sum(self.outputs.values(), zero),
            sum(self.inputs.values(), zero),
            sum(self.sizes.values()),
        )


def untrained(weights: Sequence[float] = PRIOR) -> WordModel:
    """The hand-set weights, with every word equally usual."""
    return _model(np.array(weights), np.zeros(BUCKETS), np.zeros(BUCKETS), 0.0)


def train(
    histories: Sequence[History], examples: Sequence[TrainingExample], *, folds: int = FOLDS
) -> tuple[WordModel, dict[str, WordModel]]:
    """The model of all users, and for each example's user an honest one.

    An honest model's weights come from other folds' users, and its word counts
    leave the user's own records out.
    """
    shares = Shares.of(histories)
    outputs, inputs, size = shares.totals()
    tables = {
        user: (
            outputs - shares.outputs.get(user, 0.0),
            inputs - shares.inputs.get(user, 0.0),
            size - shares.sizes.get(user, 0.0),
        )
        for user in {example.user for example in examples}
    }
    rows: dict[str, list[tuple[Floats, Floats]]] = {user: [] for user in sorted(tables)}
    for example in examples:
        rows[example.user].append(_rows(example, _model(np.array(PRIOR), *tables[example.user])))
    users = list(rows)
    honest = {}
    for fold in range(folds):
        held = set(users[fold::folds])
        weights = _fit([row for user in users if user not in held for row in rows[user]])
        honest.update({user: _model(weights, *tables[user]) for user in held})
    every = _fit([row for own in rows.values() for row in own])
    return _model(every, outputs, inputs, size), honest


def word_features(
    context: QueryContext, texts: Sequence[str], outputs: Floats, inputs: Floats
) -> tuple[list[str], Floats]:
    """All words (v,) of query and texts, with their features (v, f)."""
    raw = words(context.query.text)
    asked = stems(context.query.text)
    counts = Counter(asked)
    first: dict[str, int] = {}
    for place, word in enumerate(asked):
        first.setdefault(word, place)
    capital = {word for word, written in zip(asked, raw, strict=True) if written[0].isupper()}
    named = Counter(word for text in texts for word in dict.fromkeys(stems(text)))
    vocabulary = list(dict.fromkeys([*asked, *named]))
    own, near, size = _past(context, vocabulary)
    features = np.zeros((len(vocabulary), len(NAMES)))
    for row, word in enumerate(vocabulary):
        bucket = _bucket(word)
        usual, known = outputs[bucket], word in counts
        share = named[word] / max(len(texts), 1)
        lift = math.log((own.get(word, 0) + 2.0 * math.exp(usual)) / (size + 2.0)) - usual
        features[row] = (
            1.0,
            known,
            math.log1p(counts[word]),
            1.0 - first[word] / len(asked) if known else 0.0,
            known and first[word] < _OPENING,
            word in capital,
            lift,
            near.get(word, 0.0),
            usual,
            inputs[bucket],
            len(word) > 3,
            share,
            share > 0.0,
            share * known,
            usual * known,
        )
    return vocabulary, features


@lru_cache(maxsize=32768)
def stems(text: str) -> tuple[str, ...]:
    """Words in lower case, without possessive and plural endings."""
    return tuple(_stem(word.lower()) for word in words(text))


def _stem(word: str) -> str:
    for ending in ("'s", "’s"):
        word = word.removesuffix(ending)
    if len(word) > 4 and word.endswith("ies"):
        return word[:-3] + "y"
    if len(word) > 3 and word.endswith("s") and not word.endswith("ss"):
        return word[:-1]
    return word


def past_of(context: QueryContext) -> PastOutputs:
    """The counts of the user's past outputs."""
    return past_outputs(tuple(record.output for record in context.history.records), stems)


def _past(
    context: QueryContext, wanted: Sequence[str]
) -> tuple[Mapping[str, int], Mapping[str, float], int]:
    """How many of the user's outputs hold each word, and their share weighted by likeness."""
    history = context.history
    if not len(history):
        return {}, {}, 0
    similar = (history.inputs @ context.vector).astype(np.float64)
    weights = np.exp((similar - similar.max()) / _WIDTH)
    weights /= weights.sum()
    past = past_of(context)
    owned, near = past.owned, past.near(weights)
    places = {word: past.places[word] for word in wanted if word in past.places}
    return (
        {word: int(owned[place]) for word, place in places.items()},
        {word: float(near[place]) for word, place in places.items()},
        len(history),
    )


def _model(weights: Floats, outputs: Floats, inputs: Floats, size: float) -> WordModel:
    return WordModel(
        weights,
        np.log((np.maximum(outputs, 0.0) + 0.3) / (size + _SMOOTHING)),
        np.log((np.maximum(inputs, 0.0) + 0.5) / (size + _SMOOTHING)),
    )


def _rows(example: TrainingExample, model: WordModel) -> tuple[Floats, Floats]:
    """Features (v, f) of one example's words, and which of them the reference holds (v,)."""
    texts = [candidate.text for candidate in example.candidates]
    vocabulary, features = word_features(example.context, texts, model.outputs, model.inputs)
    reference = set(stems(example.reference))
    return features, np.array([float(word in reference) for word in vocabulary])


def _fit(rows: Sequence[tuple[Floats, Floats]]) -> Floats:
    """Logistic regression: the conditional logit of two items, a word and nothing."""
    if not rows:
        return np.array(PRIOR)
    x = np.concatenate([features for features, _ in rows])  # (v, f)
    y = np.concatenate([present for _, present in rows])  # (v,)
    packed = listwise.Packed(
        features=np.stack([x, np.zeros_like(x)], 1)[None],
        targets=np.stack([y, 1.0 - y], 1)[None],
        missing=np.zeros((1, len(x), 2)),
        weights=np.ones((1, len(x))),
    )
    prior = np.array([PRIOR])
    fitted: Floats = listwise.fit(packed, prior, np.full_like(prior[0], PRECISION))[0]
    return fitted


def _counts(texts: Sequence[str]) -> Floats:
    found = np.zeros(BUCKETS)
    for text in texts:
        found[list({_bucket(word) for word in stems(text)})] += 1.0
    return found / math.sqrt(max(len(texts), 1))


def _bucket(word: str) -> int:
    return zlib.crc32(word.encode()) % BUCKETS
