"""Bases and heads in the store's folder, each file read once while it stays the same."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from hydra_cli.store.folder import StoreFolder

if TYPE_CHECKING:
    from hydra_cli.core.weights import Weights

KEPT = 256
"""So many bases and heads stay in memory: of 4 to 8 KiB each, bases some hundred."""

_Stamp = tuple[int, int, int]


class WeightFiles:
    """A ``WeightStore`` of files. What another process writes is seen by the next read."""

    def __init__(self, folder: StoreFolder) -> None:
        self._folder = folder
        self._kept: OrderedDict[Path, tuple[_Stamp, Weights]] = OrderedDict()
        self._keeping = threading.Lock()

    def base(self, task: str, recipe: str) -> Weights | None:
        """The task's base, or None where none was trained; ModelError for a damaged file."""
        return self._read(self._folder.base_file(task, recipe))

    def head(self, user: str, task: str, recipe: str) -> Weights | None:
        """The user's head, or None where none was fitted; ModelError for a damaged file."""
        return self._read(self._folder.head_file(user, task, recipe))

    def any_base(self) -> bool:
        """Whether there is a base of any task."""
        return any(self._folder.base_files())

    def write(
        self,
        task: str,
        recipe: str,
        *,
        base: Weights | None,
        heads: Mapping[str, Weights],
        new_base: bool,
    ) -> None:
        """Write what was fitted, each file whole or not at all; the store's lock is held.

        ``base`` None: the one there is stays. ``new_base``: older heads don't stand on it.
        They go first, so a kill leaves users without a head, never with a wrong one.
        """
        if new_base:
            for stale in self._folder.head_files(task, recipe):
                stale.unlink(missing_ok=True)
        if base is not None:
            base.save(self._folder.base_file(task, recipe))
        for user, head in heads.items():
            head.save(self._folder.head_file(user, task, recipe))

    def _read(self, path: Path) -> Weights | None:
        from hydra_cli.core.weights import Weights

        try:
            found = path.stat()
        except (FileNotFoundError, NotADirectoryError):
            with self._keeping:
                self._kept.pop(path, None)
            return None
        except OSError:
            return Weights.load(path)  # says what is wrong
        # Before the content: a file replaced in between is read again the next time.
        stamp = (found.st_mtime_ns, found.st_ino, found.st_size)
        with self._keeping:
            if (kept := self._kept.get(path)) is not None and kept[0] == stamp:
                self._kept.move_to_end(path)
                return kept[1]
        weights = Weights.load(path)
        with self._keeping:
            self._kept[path] = stamp, weights
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        return weights
