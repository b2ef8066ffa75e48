"""What was read of a table, kept in a held process until the table has a new version."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sized
from typing import Generic, TypeVar

MOST_ROWS = 10_000
"""Rows of all reads together: 30 MB of vectors of 384 dimensions, in and out."""

T = TypeVar("T", bound=Sized)


class KeptReads(Generic[T]):
    """Reads by key, the least recent ones dropped first. Safe to use from several threads.

    A table that changed in any way, by any process, has another version: nothing
    read before is given out again, nor kept.
    """

    def __init__(self, *, most_rows: int = MOST_ROWS) -> None:
        self._most_rows = most_rows
        self._lock = threading.Lock()
        self._version: Hashable = None
        self._kept: OrderedDict[Hashable, T] = OrderedDict()

    def get(self, version: Hashable, key: Hashable, read: Callable[[], T]) -> T:
        """What ``read`` gives, or gave at this version of the table."""
        with self._lock:
            if version != self._version:
                self._kept.clear()
                self._version = version
            if (found := self._kept.get(key)) is not None:
                self._kept.move_to_end(key)
                return found
        found = read()
        with self._lock:
            if version == self._version and len(found) <= self._most_rows:
                self._kept[key] = found
                while sum(map(len, self._kept.values())) > self._most_rows:
                    self._kept.popitem(last=False)
        return found
