"""BM25 as rank_bm25 has it, to the bit, for the many small indexes that cross-fitting builds.

Leaving out one record of a history at a time makes an index each. What costs there is
counting the same texts' words again and looking each of the query's words up in every one.
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
        column = {word: place for place, word in enumerate(dict.fromkeys(query))}
        counts = np.zeros((len(column), self.corpus_size), dtype=np.int64)
        asked = column.keys()
        for row, words in enumerate(self.doc_freqs):
            for word in asked & words.keys():
                counts[column[word], row] = words[word]
        length = self.k1 * (1 - self.b + self.b * np.array(self.doc_len) / self.avgdl)
        scores = np.zeros(self.corpus_size)
        for word in query:
            if (weight := self.idf.get(word)) is not None:
                found = counts[column[word]]
                scores += weight * (found * (self.k1 + 1) / (found + length))
        return scores
