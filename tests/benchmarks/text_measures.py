"""Three measures of a personal text: ROUGE, meaning and style.

ROUGE alone rewards copying the query. Meaning is likeness to the reference by
content words; style asks whose text it is, by a model of authorship that has
nothing in common with the adapter's features but the histories.
"""

from __future__ import annotations

import math
import random
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import pairwise

from nltk.stem.porter import PorterStemmer

from hydra_cli.core.similarity import common_length

_PLAIN = re.compile(r"[a-z0-9]+")
_TOKEN = re.compile(r"\w+|[^\w\s]|\n")
AUTHORS = 10
_stem = lru_cache(maxsize=200_000)(PorterStemmer().stem)


@lru_cache(maxsize=200_000)
def _words(text: str) -> tuple[str, ...]:
    return tuple(_PLAIN.findall(text.lower()))


def rouge(text: str, reference: str) -> float:
    """Mean of ROUGE-1 and ROUGE-L, F1, without stemming, in [0, 1]."""
    said, true = _words(text), _words(reference)
    if not said or not true:
        return 0.0
    shared = sum((Counter(said) & Counter(true)).values())
    return (shared + common_length(said, true)) / (len(said) + len(true))


class Meaning:
    """Cosine of stemmed content words, weighted by how rare they are in ``texts``."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._size = len(texts)
        self._holding = Counter(stem for text in texts for stem in {*_stems(text)})

    def __call__(self, text: str, reference: str) -> float:
        one, two = self._vector(text), self._vector(reference)
        dot = sum(weight * two[stem] for stem, weight in one.items() if stem in two)
        return dot / ((_length(one) * _length(two)) or 1.0)

    def _vector(self, text: str) -> dict[str, float]:
        counts = Counter(_stems(text))
        return {
            stem: (1.0 + math.log(n)) * math.log((self._size + 1) / (self._holding[stem] + 0.5))
            for stem, n in counts.items()
        }


def _stems(text: str) -> list[str]:
    return [_stem(word) for word in _words(text) if len(word) > 2]


def _length(vector: Mapping[str, float]) -> float:
    return math.sqrt(sum(weight * weight for weight in vector.values()))


class Style:
    """Which of ten users wrote a text? Naive Bayes on the forms of words and marks.

    Traits are single and paired tokens, each as a form ("Xx", "x", "9", ":") or,
    where half of the users or more write it, as the word itself: how somebody
    writes rather than what about.
    """

    def __init__(self, outputs: Mapping[str, Sequence[str]]) -> None:
        users = {user: {t for text in own for t in _tokens(text)} for user, own in outputs.items()}
        holding = Counter(token for tokens in users.values() for token in tokens)
        self._common = {token for token, n in holding.items() if 2 * n >= len(users)}
        self._counts = {
            user: Counter(trait for text in own for trait in self._traits(text))
            for user, own in outputs.items()
        }
        self._totals = {user: sum(counts.values()) for user, counts in self._counts.items()}
        every: Counter[str] = Counter()
        for counts in self._counts.values():
            every.update(counts)
        size = sum(every.values())
        self._prior = {trait: n / size for trait, n in every.items()}

    def hit(self, text: str, user: str, query: str) -> float:
        """1 where ``user`` is the likeliest of ten, a fraction where several are."""
        rng = random.Random(f"style\0{query}")
        others = sorted(self._counts.keys() - {user})
        asked = [user, *rng.sample(others, min(AUTHORS - 1, len(others)))]
        scores = {one: self._likelihood(text, one) for one in asked}
        best = max(scores.values())
        first = [one for one, score in scores.items() if score > best - 1e-9]
        return 1.0 / len(first) if user in first else 0.0

    def _likelihood(self, text: str, user: str, smoothing: float = 20.0) -> float:
        counts, total = self._counts[user], self._totals[user]
        return sum(
            math.log((counts[t] + smoothing * self._prior[t]) / (total + smoothing))
            for t in self._traits(text)
            if t in self._prior
        )

    def _traits(self, text: str) -> list[str]:
        tokens = ["^", *(t if t in self._common else _form(t) for t in _tokens(text)), "$"]
        pairs = [f"{a} {b}" for a, b in pairwise(tokens)]
        return tokens[1:-1] + pairs


def _tokens(text: str) -> list[str]:
    return _TOKEN.findall(text)


def _form(token: str) -> str:
    if not token[0].isalnum():
        return token
    if token[0].isdigit():
        return "9"
    if token.isupper() and len(token) > 1:
        return "XX"
    return "Xx" if token[0].isupper() else "x_x" if "_" in token else "x"
