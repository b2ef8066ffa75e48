"""How many calls may be in flight: halved when the provider says 429, then raised slowly."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager


class Throttle:
    """Additive increase, multiplicative decrease, with a pause that all callers keep."""

    def __init__(self, limit: int) -> None:
        self._most = max(1, limit)
        self._limit = float(self._most)
        self._active = 0
        self._paused_until = 0.0
        self._lowered_at = float("-inf")
        self._changed = threading.Condition()
        self._waiting: deque[asyncio.Future[None]] = deque()

    @property
    def limit(self) -> int:
        return max(1, int(self._limit))

    @contextmanager
    def slot(self, stop: threading.Event) -> Iterator[None]:
        """One call's place; returns early where ``stop`` is set, and the caller looks at it."""
        self._enter(stop)
        try:
            yield
        finally:
            self._leave()

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """The same for a task of an event loop; a throttle serves one loop."""
        loop = asyncio.get_running_loop()
        while (pause := self._try()) is not None:
            turn: asyncio.Future[None] = loop.create_future()
            self._waiting.append(turn)
            try:
                # Not wait_for: before Python 3.12 a cancellation may be lost in it.
                await asyncio.wait((turn,), timeout=pause)
            except asyncio.CancelledError:
                if turn.done():  # the place that was offered is somebody else's
                    self._wake()
                raise
            finally:
                if turn in self._waiting:
                    self._waiting.remove(turn)
        try:
            yield
        finally:
            self._leave()

    def _try(self) -> float | None:
        """None: the place is taken; else how many seconds to wait for one at most."""
        with self._changed:
            pause = self._paused_until - time.monotonic()
            if pause <= 0 and self._active < self.limit:
                self._active += 1
                return None
            return pause if pause > 0 else 1.0

    def _leave(self) -> None:
        with self._changed:
            self._active -= 1
            self._changed.notify()
        self._wake()

    def _wake(self) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return

    def _enter(self, stop: threading.Event) -> None:
        with self._changed:
            while not stop.is_set():
                pause = self._paused_until - time.monotonic()
                if pause <= 0 and self._active < self.limit:
                    break
                self._changed.wait(min(0.2, pause) if pause > 0 else 0.2)
            self._active += 1

    def succeeded(self) -> None:
        """One more call in flight after a round of successes."""
        with self._changed:
            self._limit = min(float(self._most), self._limit + 1.0 / self._limit)
            self._changed.notify()

    def limited(self, retry_after: float | None) -> None:
        """The provider said 429. Those of one burst count once."""
        now = time.monotonic()
        with self._changed:
            if now - self._lowered_at > 0.5:
                self._limit = max(1.0, self._limit / 2)
                self._lowered_at = now
            if retry_after is not None:
                self._paused_until = max(self._paused_until, now + retry_after)
