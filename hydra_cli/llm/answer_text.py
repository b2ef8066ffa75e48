"""Raw model output to an answer, the same way for every provider."""

from __future__ import annotations

import re
from collections.abc import Sequence

_TAG = r"(?:think|thinking|reasoning|reflection)"
_CLOSED = re.compile(rf"<{_TAG}>.*?</{_TAG}>", re.IGNORECASE | re.DOTALL)
_OPENING = re.compile(rf"<{_TAG}>", re.IGNORECASE)
# Chat templates that put the opening tag into the prompt leave the closing one alone.
_CLOSING = re.compile(rf"</{_TAG}>", re.IGNORECASE)
_OPENED = re.compile(rf"<{_TAG}>\s*\Z", re.IGNORECASE)
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


def opened_thinking(prompt: str) -> str:
    """The tag at a prompt's end that begins the answer's thinking, or nothing."""
    found = _OPENED.search(prompt)
    return found.group() if found else ""


def closes_unopened(text: str) -> bool:
    """Whether an answer ends a thinking that it didn't begin: the prompt did."""
    return _CLOSING.search(_CLOSED.sub("", text)) is not None


class AfterThinking:
    """What may be shown of an answer that is still coming: the part after its thinking.

    ``unopened`` tells that the prompt may have begun the thinking: then the answer waits for
    the closing tag, or for its end.
    """

    def __init__(self, *, unopened: bool) -> None:
        self._unopened = unopened
        self._held: str | None = ""

    def feed(self, text: str) -> str:
        """What may be shown now that ``text`` has come, too; often nothing."""
        if self._held is None:
            return text
        self._held += text
        if closing := _CLOSING.search(self._held):
            return self._show(self._held[closing.end() :])
        beginning = self._held.lstrip()
        if self._unopened or not beginning or beginning.startswith("<"):
            return ""
        return self._show(self._held)

    def _show(self, text: str) -> str:
        self._held = None
        return text
