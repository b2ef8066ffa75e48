"""How long a task's outputs are, and of how many lines: what its answers may be like."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import replace

from hydra_cli.core.tasks import TaskSpec

LEAST_TOKENS, MOST_TOKENS = 32, 4000
_SHARE = 0.05
"""Outputs with line breaks from which on a task's answers may have them."""
_TYPICAL = 0.95
_AIR = 1.25
_STEP = 20
_BYTES_PER_TOKEN = 3
_MOST_LINES = 500


def estimated_tokens(text: str) -> int:
    """Tokens without a tokenizer: English has some 4 bytes a token, most scripts about 3."""
    size = len(text) if text.isascii() else len(text.encode("utf-8", "replace"))
    return size // _BYTES_PER_TOKEN + 1


class AnswerShape:
    """Lengths of outputs in lines and tokens, in constant memory."""

    def __init__(self) -> None:
        self._lines: Counter[int] = Counter()
        self._tokens: Counter[int] = Counter()

    def add(self, outputs: Iterable[str]) -> None:
        for text in outputs:
            self._lines[min(line_count(text), _MOST_LINES)] += 1
            self._tokens[min(estimated_tokens(text), MOST_TOKENS)] += 1

    @property
    def multiline(self) -> bool:
        """Whether enough outputs have a line break for answers to have one, too."""
        total = sum(self._lines.values())
        return total - self._lines[1] >= _SHARE * total > 0

    @property
    def typical_tokens(self) -> int:
        """Tokens that nearly all outputs keep within."""
        return _quantile(self._tokens, _TYPICAL)

    @property
    def answer_tokens(self) -> int:
        """Tokens an answer may take: those of nearly all outputs, and some air."""
        wanted = self.typical_tokens * _AIR
        if wanted <= LEAST_TOKENS:
            return LEAST_TOKENS
        return min(MOST_TOKENS, _STEP * math.ceil(wanted / _STEP))

    def __str__(self) -> str:
        """In plain words, a few outliers left out: ``texts of 3 to 12 lines``."""
        low, high = (_quantile(self._lines, share) for share in (1 - _TYPICAL, _TYPICAL))
        if high == 1:
            return "texts of one line"
        return f"texts of {low} to {high} lines" if low < high else f"texts of {high} lines"


def lengthened(spec: TaskSpec, shape: AnswerShape, fixed: Collection[str] = ()) -> TaskSpec:
    """A task whose answers may have the lines and the tokens that its outputs turn out to need.

    ``fixed`` are the keys that someone has written down.
    """
    multiline, tokens = spec.multiline, spec.answer_tokens
    if "multiline" not in fixed:
        multiline = multiline or shape.multiline
    grown = multiline and not spec.multiline
    if "answer_tokens" not in fixed and (grown or shape.typical_tokens > tokens):
        tokens = max(tokens, shape.answer_tokens)
    return replace(spec, multiline=multiline, answer_tokens=tokens)


def line_count(text: str) -> int:
    """Lines of a text, however its line breaks are written; 1 for a text without any."""
    breaks = text.count("\n")
    if "\r" in text:
        breaks += text.count("\r") - text.count("\r\n")
    return breaks + 1


def _quantile(counts: Counter[int], share: float) -> int:
    """The least value that ``share`` of the counted ones don't exceed; 1 without any."""
    left = share * sum(counts.values())
    for value in sorted(counts):
        left -= counts[value]
        if left <= 0:
            return value
    return 1
