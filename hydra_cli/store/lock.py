"""One writer at a time: a lock that the operating system frees when its owner dies."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from hydra_cli.core.errors import StoreBusy

WAIT_SECONDS = 300.0
_QUIET_SECONDS = 2.0
log = logging.getLogger("hydra_cli.store")


class WriterLock:
    """The store's writer lock; the same thread may take it again inside itself."""

    def __init__(self, path: Path, *, wait: float | None = None) -> None:
        self._path = path
        self._wait = _wait_seconds() if wait is None else wait
        self._lock = FileLock(path, mode=0o600)

    @contextmanager
    def held(self, *, wait: float | None = None) -> Iterator[None]:
        """Hold the lock; says so when it has to wait, StoreBusy when it waits too long."""
        limit = self._wait if wait is None else wait
        try:
            self._lock.acquire(timeout=min(limit, _QUIET_SECONDS))
        except Timeout:
            if limit > _QUIET_SECONDS:
                log.warning("waiting for another hydra-pers process to finish writing ...")
            self._patiently(limit - _QUIET_SECONDS)
        try:
            with private_files():
                yield
        finally:
            self._lock.release()

    def _patiently(self, seconds: float) -> None:
        try:
            self._lock.acquire(timeout=max(seconds, 0.0))
        except Timeout as error:
            raise StoreBusy(
                f"another process is still writing to {self._path.parent}",
                hint="wait for it to finish, or set HYDRA_PERS_LOCK_SECONDS to wait longer",
            ) from error


@contextmanager
def private_files() -> Iterator[None]:
    """Files made inside the block are the owner's alone, those of Lance's threads included."""
    mask = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(mask)


def _wait_seconds() -> float:
    try:
        return max(0.0, float(os.environ.get("HYDRA_PERS_LOCK_SECONDS", WAIT_SECONDS)))
    except ValueError:
        return WAIT_SECONDS
