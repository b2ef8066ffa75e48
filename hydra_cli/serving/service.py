"""What every route of a running server shares."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeVar

from anyio import CapacityLimiter, to_thread

from hydra_cli.serving.metrics import Metrics

if TYPE_CHECKING:
    from hydra_cli.api import Hydra

T = TypeVar("T")
THREADS = (os.cpu_count() or 1) + 2
"""More would fight for the same cores; two more, as a thread may wait for a disk or a lock."""
WRITERS = 2

Unknown = Literal["plain", "refuse"]
"""What an unknown user gets: the plain answer, or a 404."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeOptions:
    """How a server is run; the options of ``hydra-pers serve``."""

    host: str = "127.0.0.1"
    port: int = 8642
    unknown: Unknown = "plain"
    body_bytes: int = 4 * 1024 * 1024
    """The largest body that is read; larger ones are a 413."""
    per_minute: int = 600
    """Requests a key may make in a minute; more are a 429. 0: no limit."""
    origins: tuple[str, ...] = ()
    """Web pages that may call, besides the server's own: ``https://chat.example``."""
    hosts: tuple[str, ...] = ()
    """Names by which the server may be called, besides loopback's and ``host``."""
    ping_seconds: float = 10.0
    """Silence in a stream after which a comment is sent."""
    drain_seconds: float = 30.0
    """How long requests may go on after SIGTERM."""


@dataclass(slots=True)
class Service:
    """One open ``Hydra`` and how it is served. Routes find it in ``request.app.state.service``."""

    hydra: Hydra
    options: ServeOptions
    limiter: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(THREADS))
    """How many threads work at a time; more work waits."""
    writers: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(WRITERS))
    """Those who may wait for the store's lock: they keep nobody from being answered."""
    metrics: Metrics = field(default_factory=Metrics)
    started: int = field(default_factory=lambda: int(time.time()))
    """Unix seconds."""

    async def in_thread(self, work: Callable[[], T]) -> T:
        """The result of work that computes or reads, which the event loop must not wait for."""
        return await to_thread.run_sync(work, limiter=self.limiter)

    async def writing(self, work: Callable[[], T]) -> T:
        """The result of work that changes the store, and may have to wait for its lock."""
        return await to_thread.run_sync(work, limiter=self.writers)
