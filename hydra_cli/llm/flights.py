"""Requests on their way: which answers are there, which calls are still to be made."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from hydra_cli.core.protocols import ChatRequest, Completion
from hydra_cli.core.records import Usage
from hydra_cli.llm.answer_cache import StoredCall


@dataclass(eq=False, slots=True)
class Flight:
    """One distinct request and its answers so far.

    ``model`` is the place of the model that answers, among the fallbacks.
    ``done`` is for other threads that ask the same.
    """

    request: ChatRequest
    wanted: int
    indexes: list[int] = field(default_factory=list)
    users: set[str] = field(default_factory=set)
    thread: int = field(default_factory=threading.get_ident)
    model: int = 0
    stored: list[StoredCall] = field(default_factory=list)
    arrived: list[StoredCall] = field(default_factory=list)
    used: Usage = field(default_factory=Usage)
    promised: int = 0
    """Answers that calls on their way were asked for."""
    next_start: int = 0
    done: Future[Flight] = field(default_factory=Future)

    @property
    def received(self) -> int:
        return sum(len(call.answers) for call in (*self.stored, *self.arrived))

    @property
    def missing(self) -> int:
        """Answers that nobody was asked for yet."""
        return max(0, self.wanted - self.received - self.promised)

    @property
    def complete(self) -> bool:
        return self.received >= self.wanted

    def restart(self, model: int) -> None:
        """Begin again with another model: answers of two never mix."""
        self.model = model
        self.stored, self.arrived = [], []
        self.promised = 0
        self.next_start = 0

    def resume(self, stored: Sequence[StoredCall]) -> None:
        """Take as many stored calls as are needed, in the order of their answers."""
        for call in stored:
            self.next_start = max(self.next_start, call.start + len(call.answers))
            if not self.complete:
                self.stored.append(call)

    def promise(self, count: int) -> Job:
        """The next call, for ``count`` answers."""
        job = Job(self, self.model, count, self.next_start)
        self.promised += count
        self.next_start += count
        return job

    def arrive(self, job: Job, call: StoredCall) -> None:
        """Keep what a call brought, which may be fewer answers than it was asked for."""
        self.promised -= job.count
        self.arrived.append(call)
        if not self.promised:
            self.next_start = max(c.start + len(c.answers) for c in (*self.stored, *self.arrived))

    def completion(self, n: int, *, first: bool) -> Completion:
        """The first ``n`` answers. Greedy answers are all the same one.

        Only the first of several equal requests is charged; the others read
        what it brought, as from the cache.
        """
        calls = sorted((*self.stored, *self.arrived), key=lambda call: call.start)
        answers = [
            (*answer, why)
            for call in calls
            for answer, why in zip(call.answers, call.why_ended, strict=True)
        ]
        if len(answers) < n:
            answers = answers * math.ceil(n / len(answers))
        texts, logprobs, finishes = zip(*answers[:n], strict=True) if n else ((), (), ())
        usage = _as_cached(self.stored if first else calls)
        return Completion(texts, logprobs, usage + self.used if first else usage, finishes)


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """One call for a flight. ``start`` is the place of its first answer."""

    flight: Flight
    model: int
    count: int
    start: int


def distinct_answers(request: ChatRequest) -> int:
    """How many answers have to be asked for: a greedy one is asked for once."""
    sampling = request.sampling
    return min(1, sampling.n) if sampling.temperature == 0 else sampling.n


def _as_cached(calls: Sequence[StoredCall]) -> Usage:
    return Usage(
        cached_calls=len(calls),
        prompt_tokens=sum(call.prompt_tokens for call in calls),
        completion_tokens=sum(call.completion_tokens for call in calls),
        saved_seconds=sum(call.seconds for call in calls),
    )
