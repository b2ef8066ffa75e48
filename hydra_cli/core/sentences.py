"""Where an answer that the limit of tokens ended may end instead: after a whole sentence."""

from __future__ import annotations

import re

_CLOSING = r"""["'”’»)\]`*_]*"""
_END = re.compile(
    # After a word of three letters or digits ("e.g.", "Mr." and "1." end nothing), or what closes
    # something; before white space and what follows it, or at the end of the text.
    rf"""(?:(?<=[^\W_]{{3}})|(?<=[)\]`"'”’»]))[.!?…]+{_CLOSING}(?=\s+(\S))"""
    rf"|[.!?…]{_CLOSING}\s*\Z|[。！？]"
)
_LEAST_WORDS = 4
_LEAST_SHARE = 3
"""Less than one part in so many of the text isn't worth its whole sentences."""


def whole_sentences(text: str) -> str:
    """``text`` up to its last whole sentence; itself where that would leave too little of it."""
    end = 0
    for found in _END.finditer(text):
        if not (found[1] or "").islower():  # a small letter goes on with the sentence
            end = found.end()
    kept = text[:end]
    spaced = text[end - 1 : end] not in "。！？"
    if len(kept) * _LEAST_SHARE < len(text) or (spaced and len(kept.split()) < _LEAST_WORDS):
        return text
    return kept
