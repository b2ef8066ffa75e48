"""The outward form of a text: words, overlap, habits. No encoder is involved."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")

HABITS = ("question", "colon", "digit", "quote", "period", "exclamation", "dash", "comma")
"""Binary traits of an output that a user shows more or less often."""


@lru_cache(maxsize=32768)  # a history's texts come again with every query
def words(text: str) -> tuple[str, ...]:
    """Words as written, without punctuation."""
    return tuple(_WORD.findall(text))


@lru_cache(maxsize=32768)
def folded(text: str) -> tuple[str, ...]:
    """Words in lower case."""
    return tuple(_WORD.findall(text.lower()))


def overlap_f1(left: Counter[str], right: Counter[str]) -> float:
    """F1 of the words two texts share, as ROUGE-1 counts them (Lin, 2004), unstemmed."""
    few, many = (left, right) if len(left) <= len(right) else (right, left)
    shared = sum([min(n, many[word]) for word, n in few.items() if word in many])
    total = sum(left.values()) + sum(right.values())
    return 2.0 * shared / total if total else 0.0


def bigrams(tokens: Sequence[str]) -> Counter[str]:
    return Counter(f"{a} {b}" for a, b in pairwise(tokens))


def habits(text: str) -> tuple[bool, ...]:
    """Which of HABITS a text shows."""
    end = text.rstrip()
    return (
        "?" in text,
        ":" in text,
        any(c.isdigit() for c in text),
        any(c in text for c in "\"“”‘'’"),
        end.endswith("."),
        "!" in text,
        any(c in text for c in "—–") or " - " in text,
        "," in text,
    )


def capital_share(tokens: Sequence[str]) -> float:
    """The share of words that start with a capital."""
    return sum(token[:1].isupper() for token in tokens) / len(tokens) if tokens else 0.0


@dataclass(frozen=True, slots=True)
class Style:
    """What a user's past outputs look like."""

    length: float
    """Mean number of words, and its standard deviation."""
    spread: float
    habits: tuple[float, ...]
    """Smoothed share of outputs that show each of HABITS."""
    capitals: float
    vocabulary: Counter[str]
    total: int
    openings: Counter[str]
    outputs: int


def style_of(outputs: Sequence[str], *, length: float = 10.0, spread: float = 4.0) -> Style:
    """The style of past outputs; ``length`` and ``spread`` stand in where there are few."""
    tokens = [words(output) for output in outputs]
    counts = [float(len(t)) for t in tokens]
    n = len(outputs)
    mean = (sum(counts) + 2.0 * length) / (n + 2.0)
    square = sum((c - mean) ** 2 for c in counts) + 3.0 * spread**2
    shown = [habits(output) for output in outputs]
    return Style(
        length=mean,
        spread=(square / (n + 3.0)) ** 0.5,
        habits=tuple((sum(one[i] for one in shown) + 0.5) / (n + 1.0) for i in range(len(HABITS))),
        capitals=(sum(capital_share(t) for t in tokens) + 0.6) / (n + 1.0),
        vocabulary=Counter(w.lower() for t in tokens for w in t),
        total=sum(len(t) for t in tokens),
        openings=Counter(t[0].lower() for t in tokens if t),
        outputs=n,
    )
