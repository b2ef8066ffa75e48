"""Threads that work on jobs and hand the results back as they finish."""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

J = TypeVar("J")
R = TypeVar("R")


class WorkerPool(Generic[J, R]):
    """At most ``size`` jobs at once, started as they are needed.

    The threads are daemons: a process that was interrupted doesn't wait for
    a provider's timeout before it ends.
    """

    def __init__(self, work: Callable[[J], R], size: int) -> None:
        self.stopping = threading.Event()
        """Set by ``stop``; long work looks at it between its steps."""
        self._work = work
        self._size = size
        self._threads = 0
        self._idle = 0
        self._jobs: deque[J] = deque()
        self._results: queue.Queue[tuple[J, R | BaseException]] = queue.Queue()
        self._out = 0
        self._changed = threading.Condition()

    @property
    def busy(self) -> bool:
        """True while a result is still to come."""
        with self._changed:
            return self._out > 0

    def submit(self, job: J, *, first: bool = False) -> None:
        """Queue a job, ahead of all others where ``first``."""
        with self._changed:
            if self.stopping.is_set():
                return
            self._out += 1
            if first:
                self._jobs.appendleft(job)
            else:
                self._jobs.append(job)
            if self._idle < len(self._jobs) and self._threads < self._size:
                self._threads += 1
                threading.Thread(target=self._loop, daemon=True).start()
            self._changed.notify()

    def next(self, timeout: float | None = None) -> tuple[J, R | BaseException]:
        """The next job that finished, with its result or what it raised; queue.Empty in vain."""
        finished = self._results.get(timeout=timeout)
        with self._changed:
            self._out -= 1
        return finished

    def stop(self) -> None:
        """Drop the jobs that wait; those at work go on, and threads end after them."""
        with self._changed:
            self.stopping.set()
            self._out -= len(self._jobs)
            self._jobs.clear()
            self._changed.notify_all()

    def drain(self, seconds: float) -> None:
        """Wait for jobs at work, at most so long."""
        deadline = time.monotonic() + seconds
        while self.busy and (left := deadline - time.monotonic()) > 0:
            try:
                self.next(timeout=left)
            except queue.Empty:
                return

    def _loop(self) -> None:
        while True:
            with self._changed:
                self._idle += 1
                self._changed.wait_for(lambda: bool(self._jobs) or self.stopping.is_set())
                self._idle -= 1
                if self.stopping.is_set():
                    self._threads -= 1
                    return
                job = self._jobs.popleft()
            try:
                result: R | BaseException = self._work(job)
            except BaseException as error:  # handed to the thread that asked, as a Future does
                result = error
            self._results.put((job, result))
