"""BM25 as rank_bm25 has it, to the bit, for many small indexes and for one that is kept.

Leaving out one record of a history at a time makes an index each. What costs there is
counting the same texts' words again and looking each of the query's words up in every one.
An index that is asked again gets postings: each word's texts, and what it adds to their scores.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from rank_bm25 import BM25Okapi

from hydra_cli.core.tokens import tokens

if TYPE_CHECKING:
    from numpy.typing import NDArray

COUNTED = 2048
"""Texts whose words are kept counted: some histories' worth."""


@lru_cache(maxsize=COUNTED)
def counted(text: str) -> Mapping[str, int]:
    """How often each word stands in the text, in order of appearance; one stand-in for none."""
    return Counter(tokens(text) or ["\0"])


class Okapi(BM25Okapi):  # type: ignore[misc]  # the library has no types
    """An index of texts. Sums run in the library's order: scores are the same to the bit."""

    def __init__(self, texts: Sequence[str]) -> None:
        super().__init__(texts)
        self._asked_before = False
        self._postings: dict[str, tuple[NDArray[np.intp], NDArray[np.float64]]] | None = None

    def _initialize(self, corpus: Sequence[str]) -> Mapping[str, int]:
        self.corpus_size = len(corpus)
        self.doc_freqs = [counted(text) for text in corpus]
        self.doc_len = [sum(words.values()) for words in self.doc_freqs]
        self.avgdl = sum(self.doc_len) / self.corpus_size
        holding: Counter[str] = Counter()
        for words in self.doc_freqs:
            holding.update(words.keys())
        return holding

    def _calc_idf(self, nd: Mapping[str, int]) -> None:
        """Words' weights; those in more than half of the texts get a share of the mean."""
        by_count = {
            count: math.log(self.corpus_size - count + 0.5) - math.log(count + 0.5)
            for count in set(nd.values())
        }
        total = 0.0
        for count in nd.values():  # sum() of newer Pythons rounds otherwise
            total += by_count[count]
        self.average_idf = total / len(nd)
        least = self.epsilon * self.average_idf
        weights = {count: idf if idf >= 0 else least for count, idf in by_count.items()}
        self.idf = {word: weights[count] for word, count in nd.items()}

    def get_scores(self, query: Sequence[str]) -> NDArray[np.float64]:
        """Each text's score for the query's words, repeated ones as often as they stand there."""
        if not self._asked_before:
            self._asked_before = True
            return self._scanned(query)
        if self._postings is None:
            self._postings = self._posted()
        scores = np.zeros(self.corpus_size)
        for word in query:
            if (found := self._postings.get(word)) is not None:
                rows, gains = found
                scores[rows] += gains
        return scores

    def _scanned(self, query: Sequence[str]) -> NDArray[np.float64]:
        """The scores by a look at every text."""
        column = {word: place for place, word in enumerate(dict.fromkeys(query))}
        counts = np.zeros((len(column), self.corpus_size), dtype=np.int64)
        asked = column.keys()
        for row, words in enumerate(self.doc_freqs):
            for word in asked & words.keys():
                counts[column[word], row] = words[word]
        lengths = self._lengths()
        scores = np.zeros(self.corpus_size)
        for word in query:
            if (weight := self.idf.get(word)) is not None:
                scores += self._gains(weight, counts[column[word]], lengths)
        return scores

    def _posted(self) -> dict[str, tuple[NDArray[np.intp], NDArray[np.float64]]]:
        """Each word's texts (m,), and what it adds to their scores (m,)."""
        rows: dict[str, list[int]] = {word: [] for word in self.idf}
        counts: dict[str, list[int]] = {word: [] for word in self.idf}
        for row, words in enumerate(self.doc_freqs):
            for word, count in words.items():
                rows[word].append(row)
                counts[word].append(count)
        lengths = self._lengths()
        found = {}
        for word, weight in self.idf.items():
            places = np.array(rows[word], np.intp)
            gains = self._gains(weight, np.array(counts[word], np.int64), lengths[places])
            found[word] = places, gains
        return found

    def _lengths(self) -> NDArray[np.float64]:
        found: NDArray[np.float64] = self.k1 * (
            1 - self.b + self.b * np.array(self.doc_len) / self.avgdl
        )
        return found

    def _gains(
        self, weight: float, counts: NDArray[np.int64], lengths: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """What a word that stands so often in texts (n,) adds to their scores (n,)."""
        found: NDArray[np.float64] = weight * (counts * (self.k1 + 1) / (counts + lengths))
        return found
