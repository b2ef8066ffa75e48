"""Texts as bags of hashed words."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from hydra_cli.modeling.factorized.text_form import folded

Floats32 = NDArray[np.float32]

BUCKETS = 4096


def bags(texts: Sequence[str], rarity: Floats32) -> Floats32:
    """Hashed words (n, BUCKETS): log counts times inverse document frequency, unit length."""
    found = np.zeros((len(texts), BUCKETS), np.float32)
    for row, text in enumerate(texts):
        buckets, counts = _hashed(text)
        found[row, buckets] = counts
    found *= rarity
    found /= np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-9)
    return found


def rarity_of(texts: Sequence[str]) -> Floats32:
    """Inverse document frequency of each bucket (BUCKETS,)."""
    seen = np.zeros(BUCKETS)
    for text in texts:
        seen[_hashed(text)[0]] += 1.0
    rarity: Floats32 = (np.log((1.0 + len(texts)) / (1.0 + seen)) + 1.0).astype(np.float32)
    return rarity


@lru_cache(maxsize=32768)
def _hashed(text: str) -> tuple[NDArray[np.intp], Floats32]:
    """The buckets of a text's words, and 1 + log of each one's count."""
    counts = Counter(zlib.crc32(word.encode()) % BUCKETS for word in folded(text))
    buckets = np.fromiter(counts.keys(), np.intp, len(counts))
    values = 1.0 + np.log(np.fromiter(counts.values(), np.float64, len(counts)))
    return buckets, values.astype(np.float32)
