"""How well an output matches a reference, in [0, 1]: the grade behind every label."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from hydra_cli.core.tasks import TaskSpec

if TYPE_CHECKING:
    from rouge_score.tokenizers import DefaultTokenizer


def grade(*, prediction: str, reference: str, task: TaskSpec) -> float:
    """1 for the same label; 1 - distance/range for ratings; else (ROUGE-1 + ROUGE-L)/2.

    An unparsable label grades 0; a rating that is unparsable or off the scale counts as the
    end of the scale that is farther from the reference, as in the metric.
    """
    if task.kind == "generation":
        one, longest = rouge(prediction=prediction, reference=reference)
        return (one + longest) / 2
    parsed = task.parse(prediction, task.labels or (reference,))
    if task.kind == "rating":
        return rating_quality(parsed or "", reference, task)
    return float(parsed == reference)


def rating_quality(said: str, reference: str, task: TaskSpec) -> float:
    """1 - distance/range."""
    low, high = _ends(task)
    return 1.0 - rating_error(said, reference, task) / ((high - low) or 1.0)


def rating_error(said: str, reference: str, task: TaskSpec) -> float:
    """The distance to the reference; of no number on the scale, that of its farther end."""
    true, (low, high) = float(reference), _ends(task)
    try:
        value = float(said.strip())
    except ValueError:
        value = math.nan
    if not low <= value <= high:
        return max(abs(true - low), abs(true - high))
    return abs(value - true)


def _ends(task: TaskSpec) -> tuple[float, float]:
    values = [float(label) for label in task.labels]
    return min(values), max(values)


def rouge(*, prediction: str, reference: str, stemmed: bool = True) -> tuple[float, float]:
    """F1 of ROUGE-1 and ROUGE-L: with Porter stemming to learn from, without it as LaMP scores.

    The figures of the rouge-score package, whose words these are, in a fraction
    of its time on texts of some hundred words: a history's outputs are compared
    with each other many times, and each is stemmed once.
    """
    said, true = _stems(prediction, stemmed), _stems(reference, stemmed)
    if not said or not true:
        return 0.0, 0.0
    shared = sum((Counter(said) & Counter(true)).values())
    return _f1(shared, said, true), _f1(common_length(said, true), said, true)


def word_edits(left: str, right: str) -> int:
    """Words to insert, delete or replace to make one text the other (Levenshtein, 1966)."""
    return edit_distance(left.split(), right.split())


def words_saved(text: str, written: str) -> float:
    """What a draft saves whoever makes ``written`` of it over writing that from nothing.

    As a share of its words: 1 for the same text, 0 where editing takes as many words
    as writing, -1 at the least, where it takes twice as many.
    """
    needed = len(written.split())
    return max(1.0 - word_edits(text, written) / needed, -1.0) if needed else 0.0


def edit_distance(left: Sequence[str], right: Sequence[str]) -> int:
    """The fewest insertions, deletions and replacements, a column at a time in an integer's bits.

    Hyyrö, Explaining and extending the bit-parallel approximate string matching
    algorithm of Myers (2001).
    """
    if not left:
        return len(right)
    places: dict[str, int] = {}
    for place, word in enumerate(left):
        places[word] = places.get(word, 0) | 1 << place
    every, last = (1 << len(left)) - 1, 1 << len(left) - 1
    plus, minus, distance = every, 0, len(left)
    for word in right:
        match = places.get(word, 0)
        diagonal = (((match & plus) + plus) ^ plus) | match | minus
        across_plus = minus | (every & ~(diagonal | plus))
        across_minus = plus & diagonal
        distance += bool(across_plus & last) - bool(across_minus & last)
        across_plus = (across_plus << 1 | 1) & every
        across_minus = across_minus << 1 & every
        plus = across_minus | (every & ~(diagonal | across_plus))
        minus = across_plus & diagonal
    return distance


def common_length(left: Sequence[str], right: Sequence[str]) -> int:
    """Length of the longest common subsequence, a row at a time in the bits of an integer.

    Hyyrö, Bit-parallel LCS-length computation revisited (2004).
    """
    places: dict[str, int] = {}
    for place, word in enumerate(left):
        places[word] = places.get(word, 0) | 1 << place
    every = (1 << len(left)) - 1
    row = every
    for word in right:
        hit = row & places.get(word, 0)
        row = ((row + hit) | (row - hit)) & every
    return len(left) - row.bit_count()


def _f1(shared: int, said: Sequence[str], true: Sequence[str]) -> float:
    precision, recall = shared / len(said), shared / len(true)
    return 2 * precision * recall / (precision + recall) if shared else 0.0


@lru_cache(maxsize=20_000)
def _stems(text: str, stemmed: bool) -> tuple[str, ...]:
    return tuple(_tokenizer(stemmed).tokenize(text))


@lru_cache(maxsize=2)
def _tokenizer(stemmed: bool) -> DefaultTokenizer:
    from rouge_score.tokenizers import DefaultTokenizer

    return DefaultTokenizer(use_stemmer=stemmed)
