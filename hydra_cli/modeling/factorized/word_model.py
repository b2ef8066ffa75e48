"""Which words will stand in the user's own output? Expected overlap of each answer with it.

A logistic model over words: each word of the query or of an answer is read by
where it stands in the query, how usual it is in outputs and inputs of all
users, how often others keep it once it stands in the input, and how usual it
is in the user's own outputs: all, recent, and those of similar inputs. It
learns from users' own records (``word_training``), never from an LLM, so it
knows what an LLM's answers alone can't show. An answer's score is its expected
F1 with the unknown reference: 2 sum_w p(w) / (length + expected length), the
utility of minimum Bayes risk decoding under a learned distribution of
references.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from hydra_cli.core.records import History, QueryContext
from hydra_cli.modeling.factorized.past_outputs import PastOutputs, past_outputs
from hydra_cli.modeling.factorized.text_form import words

Floats = NDArray[np.float64]

NAMES = (
    "bias",
    "in query",
    "log count in query",
    "early in query",
    "in query opening",
    "capital in query",
    "user's lift",
    "in similar outputs",
    "in similar outputs, root",
    "in recent outputs",
    "in recent outputs, root",
    "log share of outputs",
    "log share of inputs",
    "long",
    "digit",
    "in query, kept by others",
    "in query, in similar outputs",
    "in query, in recent outputs",
    "in query, log share of outputs",
)
PRIOR = (
    *(-3.1, 0.2, 0.9, 0.1, 0.3, 0.3, 0.1, 1.1, 2.7, 1.8, 0.3),
    *(0.7, -0.35, 0.3, -0.15, 0.6, -1.8, -0.7, -0.55),
)
"""Weights before any training: the mean of those that four text tasks' training users give."""

BUCKETS = 8192
_OPENING = 15
_WIDTH = 0.07
_FADING = 0.8
"""How much less each older record counts among the recent outputs."""
_LENGTH = 10.0
_IN_PLACE = 0.7
"""How often a word that stays stands where the user would have it."""
_SMOOTHING = 30.0
_KEPT_COUNT = 20.0


@dataclass(frozen=True, slots=True, eq=False)
class WordTables:
    """What all users' records say of hashed words, each (BUCKETS,).

    ``outputs`` and ``inputs``: log shares of the texts that hold a word.
    ``kept``: log-odds that an output holds it where its input does.
    """

    outputs: Floats
    inputs: Floats
    kept: Floats

    @staticmethod
    def of(outputs: Floats, inputs: Floats, both: Floats, size: float) -> WordTables:
        """Tables from counts (BUCKETS,) over texts of total weight ``size``."""
        outputs, inputs, both = (np.maximum(one, 0.0) for one in (outputs, inputs, both))
        usual = (both.sum() + 1.0) / (inputs.sum() + 10.0)
        kept = np.clip((both + _KEPT_COUNT * usual) / (inputs + _KEPT_COUNT), 1e-4, 0.99)
        return WordTables(
            np.log((outputs + 0.3) / (size + _SMOOTHING)),
            np.log((inputs + 0.5) / (size + _SMOOTHING)),
            np.log(kept / (1.0 - kept)),
        )


@dataclass(frozen=True, slots=True, eq=False)
class WordModel:
    """``weights`` (f,), and what is known of words."""

    weights: Floats
    tables: WordTables

    def expected_overlap(self, context: QueryContext, texts: Sequence[str]) -> Floats:
        """The expected word F1 of each text (n,) with the user's own output."""
        return overlap(self.expected_words(context, texts), context, texts)

    def expected_words(self, context: QueryContext, texts: Sequence[str]) -> Floats:
        """How many of each text's distinct words (n,) the user's own output will hold."""
        past = past_of(context)
        found = [stems(text) for text in texts]
        vocabulary = vocabulary_of(context.query.text, found)
        seen = np.ones(len(context.history), bool)
        features = word_features(
            context.query.text,
            vocabulary,
            past,
            Weighing.of(context.history, context.vector, seen),
            self.tables,
        )
        scores = np.clip(features @ self.weights, -30.0, 30.0)
        chance = dict(zip(vocabulary, (1.0 / (1.0 + np.exp(-scores))).tolist(), strict=True))
        return np.array([sum(chance[word] for word in dict.fromkeys(one)) for one in found])


def overlap(expected: Floats, context: QueryContext, texts: Sequence[str]) -> Floats:
    """The expected word F1 of each text (n,), from its expected words."""
    length = float(np.mean(usual_lengths(context)))
    sizes = np.array([len(stems(text)) for text in texts])
    found: Floats = 2.0 * expected / (sizes + length)
    return found


def saved(expected: Floats, context: QueryContext, texts: Sequence[str]) -> Floats:
    """What each text (n,) is expected to save whoever edits it, as a share of the usual length.

    A word that stays saves typing it, if it stands where it should; each word beyond
    the user's own text has to go. That text is as long as any of the past ones.
    """
    lengths = usual_lengths(context)
    sizes = np.array([len(stems(text)) for text in texts])
    beyond = np.maximum(sizes[:, None] - lengths, 0.0).mean(axis=1)
    found: Floats = (_IN_PLACE * expected - beyond) / float(np.mean(lengths))
    return found


def usual_lengths(context: QueryContext) -> Floats:
    """How many words the user's past outputs have, and a usual text's (n + 1,)."""
    return np.append(past_of(context).lengths, _LENGTH)


@dataclass(frozen=True, slots=True, eq=False)
class Weighing:
    """How much each of a history's records counts for one query, each (n,)."""

    seen: Floats
    """1 for a record that the query may know, else 0."""
    similar: Floats
    """Shares by likeness of the inputs; 0 for unseen records."""
    recent: Floats
    """Shares that fade with age; 0 for unseen records."""

    @staticmethod
    def of(history: History, vector: NDArray[np.float32], seen: NDArray[np.bool_]) -> Weighing:
        """``vector`` (d,) is the query's; records that aren't ``seen`` (n,) count nothing."""
        if not seen.any():
            nothing = np.zeros(len(history))
            return Weighing(nothing, nothing, nothing)
        cosines = np.where(seen, (history.inputs @ vector).astype(np.float64), -np.inf)
        similar = np.exp((cosines - cosines.max()) / _WIDTH)
        younger = seen.sum() - np.cumsum(seen)
        recent = np.where(seen, _FADING**younger, 0.0)
        return Weighing(seen.astype(np.float64), similar / similar.sum(), recent / recent.sum())


def untrained(weights: Sequence[float] = PRIOR) -> WordModel:
    """The hand-set weights, with every word equally usual."""
    nothing = np.zeros(BUCKETS)
    return WordModel(np.array(weights), WordTables.of(nothing, nothing, nothing, 0.0))


def vocabulary_of(query: str, texts: Sequence[Sequence[str]]) -> list[str]:
    """Every word of the query and of the texts' stems once, in the order of first use."""
    return list(dict.fromkeys([*stems(query), *(word for text in texts for word in text)]))


def word_features(
    query: str,
    vocabulary: Sequence[str],
    past: PastOutputs,
    weighing: Weighing,
    tables: WordTables,
) -> Floats:
    """Features (v, f) of the words ``vocabulary``."""
    raw, asked = words(query), stems(query)
    counts = Counter(asked)
    first: dict[str, int] = {}
    for place, word in enumerate(asked):
        first.setdefault(word, place)
    capital = {word for word, written in zip(asked, raw, strict=True) if written[0].isupper()}
    buckets = [_bucket(word) for word in vocabulary]
    usual = tables.outputs[buckets]
    places = np.array([past.places.get(word, -1) for word in vocabulary], np.int64)
    owned, near, recent = (
        _at(past.near(one), places) for one in (weighing.seen, weighing.similar, weighing.recent)
    )
    size = weighing.seen.sum()
    known = np.array([word in counts for word in vocabulary], np.float64)
    columns = [
        np.ones(len(vocabulary)),
        known,
        np.log1p([counts[word] for word in vocabulary]),
        np.array([1.0 - first[w] / len(asked) if w in first else 0.0 for w in vocabulary]),
        np.array([first.get(word, _OPENING) < _OPENING for word in vocabulary]),
        np.array([word in capital for word in vocabulary]),
        np.log((owned + 2.0 * np.exp(usual)) / (size + 2.0)) - usual,
        near,
        np.sqrt(near),
        recent,
        np.sqrt(recent),
        usual,
        tables.inputs[buckets],
        np.array([len(word) > 3 for word in vocabulary]),
        np.array([word[:1].isdigit() for word in vocabulary]),
        known * tables.kept[buckets],
        known * near,
        known * recent,
        known * usual,
    ]
    return np.stack([np.asarray(column, np.float64) for column in columns], axis=1)


def _at(values: Floats, places: NDArray[np.int64]) -> Floats:
    """``values`` at ``places`` (v,), 0 where a place is -1."""
    if not len(values):
        return np.zeros(len(places))
    found: Floats = np.where(places >= 0, np.maximum(values[places], 0.0), 0.0)
    return found


@lru_cache(maxsize=32768)
def stems(text: str) -> tuple[str, ...]:
    """Words in lower case, without possessive and plural endings."""
    return tuple(_stem(word.lower()) for word in words(text))


@lru_cache(maxsize=65536)
def _stem(word: str) -> str:
    for ending in ("'s", "’s"):
        word = word.removesuffix(ending)
    if len(word) > 4 and word.endswith("ies"):
        return word[:-3] + "y"
    if len(word) > 3 and word.endswith("s") and not word.endswith("ss"):
        return word[:-1]
    return word


_PAST: WeakKeyDictionary[History, PastOutputs] = WeakKeyDictionary()
"""Counts of histories that somebody keeps; they go with their history."""


def past_of(context: QueryContext) -> PastOutputs:
    """The counts of the user's past outputs."""
    history = context.history
    if (known := _PAST.get(history)) is None:
        outputs = tuple(record.output for record in history.records)
        known = _PAST[history] = past_outputs(outputs, stems)
    return known


def bucket_counts(texts: Sequence[set[str]]) -> Floats:
    """How many of the texts, as sets of stems, hold each bucket's words (BUCKETS,)."""
    flat = [bucket for text in texts for bucket in {_bucket(word) for word in text}]
    return np.bincount(flat, minlength=BUCKETS).astype(np.float64)


@lru_cache(maxsize=65536)
def _bucket(word: str) -> int:
    return zlib.crc32(word.encode()) % BUCKETS
