"""What can be shown of an answer while it still comes: what cleaning will not change any more."""

from __future__ import annotations

from collections.abc import Sequence

from hydra_cli.core.tasks import TaskSpec

_HELD = frozenset("<\"'“”‘’„«`*")
"""An answer that begins with one of these may be wrapped, or thinking: it waits for its end."""
_AROUND = "\"'“”‘’`* \t\r\n\f\v"
"""What cleaning may take from an end."""


class TokenFlow:
    """One raw answer to free text, from its first piece to its last.

    The parts together are the beginning of what ``TaskSpec.parse`` makes of the whole.
    """

    def __init__(self, task: TaskSpec, stop: Sequence[str]) -> None:
        self._lines = task.multiline
        self._stop = tuple(mark for mark in stop if mark)
        self._raw = ""
        self._shown = ""

    def feed(self, text: str) -> str:
        """What may be shown now that ``text`` has come, too; often nothing."""
        self._raw += text
        safe = self._safe()
        if len(safe) <= len(self._shown) or not safe.startswith(self._shown):
            return ""
        more, self._shown = safe[len(self._shown) :], safe
        return more

    def rest(self, final: str) -> str:
        """What is still missing of the finished answer.

        Nothing where more was shown: of an answer that was cut, whole sentences are kept. All of
        it, on lines of its own, where what was shown turned out not to be its beginning: a
        model that has never thought before it answered did so now.
        """
        if final.startswith(self._shown):
            return final[len(self._shown) :]
        if final and self._shown.startswith(final):
            return ""
        return f"\n\n{final}" if final else ""

    def _safe(self) -> str:
        text = self._raw.lstrip()
        if not text or text[0] in _HELD:
            return ""
        text = text[: text.find("<")] if "<" in text else text  # a tag may begin here
        for mark in self._stop:
            place = text.find(mark)
            # A stop string may have come in part.
            text = text[:place] if place >= 0 else text[: max(0, len(text) - len(mark) + 1)]
        if not self._lines:
            text = (text.splitlines() or [""])[0]
        return text.rstrip(_AROUND)
