"""Texts as words, for counting."""

from __future__ import annotations

import re

_WORD = re.compile(r"\w+")


def tokens(text: str) -> list[str]:
    """Lower-case words."""
    return _WORD.findall(text.lower())
