"""Raw model output to an answer, the same way for every provider."""

from __future__ import annotations

import re
from collections.abc import Sequence

_TAG = r"(?:think|thinking|reasoning|reflection)"
_CLOSED = re.compile(rf"<{_TAG}>.*?</{_TAG}>", re.IGNORECASE | re.DOTALL)
_OPENING = re.compile(rf"<{_TAG}>", re.IGNORECASE)
# Chat templates that put the opening tag into the prompt leave the closing one alone.
_CLOSING = re.compile(rf"</{_TAG}>", re.IGNORECASE)
_END_TOKEN = re.compile(
    r"<\|(?:im_end|endoftext|eot_id|end_of_text|end|eom_id|return)\|>|</s>|<end_of_turn>"
)


def clean_answer(text: str, stop: Sequence[str] = ()) -> str:
    """The answer alone: no reasoning, no end tokens, nothing from a stop string on."""
    text = strip_reasoning(text)
    if end := _END_TOKEN.search(text):
        text = text[: end.start()]
    text = text.strip()
    for mark in stop:
        if mark and (place := text.find(mark)) >= 0:
            text = text[:place]
    return text.strip()


def strip_reasoning(text: str) -> str:
    """The text without its thinking; thinking that was cut off takes the rest with it."""
    text = _CLOSED.sub("", text)
    closings = list(_CLOSING.finditer(text))
    if closings:
        text = text[closings[-1].end() :]
    if opening := _OPENING.search(text):
        text = text[: opening.start()]
    return text


def has_reasoning(text: str) -> bool:
    return _OPENING.search(text) is not None or _CLOSING.search(text) is not None
