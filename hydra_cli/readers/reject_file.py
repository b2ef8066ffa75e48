"""Rejected rows as JSON Lines, readable by their owner alone."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from types import TracebackType
from typing import IO, TextIO

from hydra_cli.core.files import os_errors


class RejectFile:
    """Lines of ``{source, line, reason, text}``; the file appears when the block ends."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._out: IO[str] | None = None
        self._temporary = ""

    def __enter__(self) -> RejectFile:
        with os_errors(self._path):
            # mkstemp makes it with mode 0600, and the rename keeps that.
            handle, self._temporary = tempfile.mkstemp(
                dir=self._path.parent, prefix=f".{self._path.name}."
            )
        self._out = os.fdopen(handle, "w", encoding="utf-8")
        return self

    def add(self, source: str, line: int, reason: str, text: str) -> None:
        with os_errors(self._path):
            assert self._out is not None, "used outside its block"
            self._out.write(_entry(source, line, reason, text))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # Also after an error: what was rejected until then is worth keeping.
        assert self._out is not None
        with os_errors(self._path):
            self._out.close()
            os.replace(self._temporary, self._path)


class RejectStream:
    """The same lines on a stream that is open already, such as stdout."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def add(self, source: str, line: int, reason: str, text: str) -> None:
        self._out.write(_entry(source, line, reason, text))


def _entry(source: str, line: int, reason: str, text: str) -> str:
    """One line; ASCII alone, so that it drives no terminal and fits any encoding."""
    entry = {"source": source, "line": line, "reason": reason, "text": text}
    return json.dumps(entry) + "\n"
