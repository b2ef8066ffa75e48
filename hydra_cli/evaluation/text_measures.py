"""Meaning and style of a text, because ROUGE alone rewards copying the query.

Meaning is likeness to the reference by content words: the cosine of stemmed
words, weighted by how rare they are (tf-idf). No encoder is in it, least of all
the adapter's. Style asks whose text it is: a naive Bayes model of character
n-grams, trained on histories, picks one of ten users.
"""

from __future__ import annotations

import math
import random
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from hydra_cli.core.metrics import Metric, mean
from hydra_cli.evaluation.collected import Collected
from hydra_cli.evaluation.questions import Questions

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

AUTHORS = 10
GRAMS = (2, 3, 4)
"""Lengths of character n-grams."""
SMOOTHING = 3000.0
"""N-grams of everybody's that are added to each author's own.

Of 50, 500 and 3,000, what tells most of the texts that training users really wrote
(three suites of headlines and titles, commits beside them).
"""
MEANING, STYLE = "meaning", "style"
NAMES = (MEANING, STYLE)

_WORD = re.compile(r"\w+")


def measure(
    questions: Questions, collected: Iterable[Collected]
) -> tuple[tuple[Metric, ...], float | None]:
    """Adds each text answer's rows of meaning and style; the metrics, and the users' own style.

    That is the rate at which what the users really wrote is told to be theirs; None,
    and no style at all, where fewer than two users have records. Nothing for labels
    and ratings.
    """
    if questions.task.closed:
        return (), None
    written = {
        user: [record.output for record in records]
        for user, records in questions.own_records().items()
    }
    meaning = Meaning([text for own in written.values() for text in own])
    style = Style(written) if sum(map(bool, written.values())) > 1 else None
    for found in collected:
        for prediction in found.predictions:
            reference = questions.references[prediction.key]
            likeness = meaning(prediction.text, reference)
            found.rows.setdefault(MEANING, []).append(np.array([likeness, 1.0]))
            if style is not None:
                row = style.row(prediction.text, *prediction.key)
                found.rows.setdefault(STYLE, []).append(row)
    metrics = [Metric(MEANING, True, False, None, mean)]
    if style is None:
        return tuple(metrics), None
    metrics.append(Metric(STYLE, True, False, None, mean))
    rows = [style.row(questions.references[item.key], *item.key) for item in questions.items]
    return tuple(metrics), float(mean(np.sum(rows, axis=0)))


class Meaning:
    """Cosine of stemmed words in [0, 1], weighted by how few of ``texts`` hold them."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._size = len(texts)
        self._holding = Counter(stem for text in texts for stem in set(_stems(text)))

    def __call__(self, text: str, reference: str) -> float:
        one, two = self._vector(text), self._vector(reference)
        dot = sum(weight * two[stem] for stem, weight in one.items() if stem in two)
        return dot / ((_length(one) * _length(two)) or 1.0)

    def _vector(self, text: str) -> dict[str, float]:
        return {
            stem: (1.0 + math.log(n)) * math.log((self._size + 2) / (self._holding[stem] + 1))
            for stem, n in Counter(_stems(text)).items()
        }


class Style:
    """Which of ten users wrote a text? Naive Bayes on character n-grams of their histories."""

    def __init__(self, written: Mapping[str, Sequence[str]]) -> None:
        self._counts = {
            user: Counter(gram for text in own for gram in _grams(text))
            for user, own in written.items()
            if own
        }
        self._totals = {user: sum(counts.values()) for user, counts in self._counts.items()}
        every: Counter[str] = Counter()
        for counts in self._counts.values():
            every.update(counts)
        size = sum(every.values())
        self._share = {gram: n / size for gram, n in every.items()}

    def row(self, text: str, user: str, query: str) -> Floats:
        """(hit, 1): 1 where ``user`` is the likeliest, a fraction where several are.

        Nine others are drawn by the query. (0, 0), which counts nowhere, for a user
        without records.
        """
        if user not in self._counts:
            return np.zeros(2)
        others = sorted(self._counts.keys() - {user})
        rng = random.Random(f"style\0{user}\0{query}")
        asked = [user, *rng.sample(others, min(AUTHORS - 1, len(others)))]
        grams = [gram for gram in _grams(text) if gram in self._share]
        scores = {one: self._likelihood(grams, one) for one in asked}
        best = max(scores.values())
        first = [one for one, score in scores.items() if score > best - 1e-9]
        return np.array([1.0 / len(first) if user in first else 0.0, 1.0])

    def _likelihood(self, grams: Sequence[str], user: str) -> float:
        counts, total = self._counts[user], self._totals[user]
        return sum(
            math.log((counts[gram] + SMOOTHING * self._share[gram]) / (total + SMOOTHING))
            for gram in grams
        )


def _grams(text: str) -> list[str]:
    """Character n-grams, the text's two ends marked."""
    marked = f"\x02{text.strip()}\x03"
    return [marked[i : i + n] for n in GRAMS for i in range(len(marked) - n + 1)]


@lru_cache(maxsize=20_000)
def _stems(text: str) -> tuple[str, ...]:
    from nltk.stem.porter import PorterStemmer

    stem = PorterStemmer().stem
    return tuple(stem(word) for word in _WORD.findall(text.lower()) if len(word) > 2)


def _length(vector: Mapping[str, float]) -> float:
    return math.sqrt(sum(weight * weight for weight in vector.values()))
