"""ChatModel over litellm: any provider, concurrent, budgeted, no call made twice."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError

from hydra_cli.core.errors import HydraError, ProviderError
from hydra_cli.core.protocols import ChatRequest, Completion
from hydra_cli.core.records import Usage
from hydra_cli.llm.answer_cache import AnswerCache, StoredCall, cache_key
from hydra_cli.llm.budget import Budget
from hydra_cli.llm.flights import Flight, Job, distinct_answers
from hydra_cli.llm.provider_calls import Batch, Caller
from hydra_cli.llm.provider_errors import ProviderFailure
from hydra_cli.llm.worker_pool import WorkerPool

GRACE_SECONDS = 3.0
"""After Ctrl-C, how long answers that are on their way (and paid) are waited for."""


class LiteLLMChat:
    """Asks the first of ``callers``; the next one where that fails for good.

    Each answer goes to the cache in the moment it arrives, in the thread that
    received it, so that a kill loses only what is on its way.
    """

    def __init__(
        self,
        callers: Sequence[Caller],
        *,
        cache: AnswerCache | None,
        budget: Budget,
        concurrency: int,
        on_note: Callable[[str], None],
    ) -> None:
        self._callers = tuple(callers)
        self._cache = cache
        self._budget = budget
        # The throttle keeps to ``concurrency``; spare threads read answers meanwhile.
        self._threads = concurrency + concurrency // 4 + 1
        self._on_note = on_note
        self._active = 0
        self._asked: dict[tuple[str, int], Flight] = {}
        self._lock = threading.Lock()

    @property
    def name(self) -> str:
        return self._callers[0].endpoint.model

    @property
    def used(self) -> Usage:
        """What this process's own calls used so far; cached answers don't count."""
        return self._budget.used

    def complete(self, request: ChatRequest) -> Completion:
        """Exactly ``request.sampling.n`` answers; ProviderError where the model gives none."""
        ((_, completion),) = self._run([request], skip_refused=False)
        return completion

    def complete_many(self, requests: Sequence[ChatRequest]) -> Iterator[tuple[int, Completion]]:
        """Each request's index and completion, in the order in which they finish.

        A prompt that the provider's content filter refuses gets empty answers
        and a note: one of a thousand must not end the run.
        """
        return self._run(requests, skip_refused=True)

    def _run(
        self, requests: Sequence[ChatRequest], *, skip_refused: bool
    ) -> Iterator[tuple[int, Completion]]:
        own, others = self._flights(requests)
        pool: WorkerPool[Job, Batch] = WorkerPool(
            lambda job: self._call(job, pool.stopping), self._threads
        )
        failure: BaseException | None = None
        try:
            for flight in own:
                self._resume(flight)
                self._ask(flight, pool)
            for flight in own:
                if flight.complete:
                    yield from self._land(flight, requests)
            while pool.busy:
                job, result = pool.next()
                flight = job.flight
                if isinstance(result, Batch):
                    self._take(job, result)
                else:
                    failure = self._handle(job, result, failure, pool, skip_refused)
                self._ask(flight, pool, first=True)
                if flight.complete and not flight.done.done():
                    yield from self._land(flight, requests)
            if failure is not None:
                raise failure
            for index, other in others:
                yield index, self._await(requests[index], other)
        except KeyboardInterrupt:
            pool.stop()
            pool.drain(GRACE_SECONDS)
            raise
        finally:
            pool.stop()
            self._release(own)

    def _flights(
        self, requests: Sequence[ChatRequest]
    ) -> tuple[list[Flight], list[tuple[int, Flight]]]:
        """One flight for equal requests; (index, flight) where another thread asks already."""
        identity = self._callers[0].endpoint.identity
        groups: dict[str, Flight] = {}
        for index, request in enumerate(requests):
            flight = groups.setdefault(cache_key(identity, request), Flight(request, 0))
            flight.indexes.append(index)
            flight.wanted = max(flight.wanted, distinct_answers(request))
            if request.user is not None:
                flight.users.add(request.user)
        own: list[Flight] = []
        others: list[tuple[int, Flight]] = []
        with self._lock:
            for key, flight in groups.items():
                flight.model = self._active
                asked = self._asked.setdefault((key, flight.wanted), flight)
                # Waiting for a flight of this very thread would wait for ever.
                if asked is flight or asked.thread == flight.thread:
                    own.append(flight)
                else:
                    others.extend((index, asked) for index in flight.indexes)
        return own, others

    def _resume(self, flight: Flight) -> None:
        """What the cache has of the flight's model."""
        if self._cache is not None:
            key = cache_key(self._callers[flight.model].endpoint.identity, flight.request)
            flight.resume(self._cache.get(key, users=flight.users))

    def _ask(self, flight: Flight, pool: WorkerPool[Job, Batch], *, first: bool = False) -> None:
        """Queue the calls that the flight still needs."""
        caller = self._callers[flight.model]
        if flight.missing:
            caller.prepare()
        while flight.missing and not pool.stopping.is_set():
            count = caller.answers_in_one_call(flight.missing)
            pool.submit(flight.promise(count), first=first)

    def _call(self, job: Job, stopping: threading.Event) -> Batch:
        """One call within the budget, its answers kept at once. Runs in a worker thread."""
        caller, flight = self._callers[job.model], job.flight
        ticket = self._budget.reserve(caller.worst_case(flight.request, job.count), stop=stopping)
        used = Usage()
        try:
            batch = caller.call(flight.request, job.count, job.start, stop=stopping)
            used = batch.usage
        finally:
            self._budget.settle(ticket, used)
        if self._cache is not None:
            identity = caller.endpoint.identity
            self._cache.put(
                cache_key(identity, flight.request),
                batch.kept(job.start),
                model=identity,
                max_tokens=flight.request.sampling.max_tokens,
                users=flight.users,
            )
        return batch

    def _take(self, job: Job, batch: Batch) -> None:
        flight = job.flight
        flight.used = flight.used + batch.usage
        if job.model == flight.model:
            flight.arrive(job, batch.kept(job.start))

    def _handle(
        self,
        job: Job,
        error: BaseException,
        failure: BaseException | None,
        pool: WorkerPool[Job, Batch],
        skip_refused: bool,
    ) -> BaseException | None:
        """Go on after an error where that makes sense; else stop and say with what to end."""
        flight = job.flight
        if job.model != flight.model or failure is not None:
            return failure
        if isinstance(error, ProviderFailure) and error.kind == "filter" and skip_refused:
            self._on_note(f"{error.message}; it has no answer")
            flight.promised -= job.count
            empty = tuple(("", None) for _ in range(flight.wanted - flight.received))
            flight.arrived.append(StoredCall(job.start, empty, 0, 0))
            flight.used = flight.used + Usage(calls=1)
            return None
        if isinstance(error, ProviderError) and flight.model + 1 < len(self._callers):
            self._fall_back(flight, error)
            return None
        pool.stop()
        return error

    def _fall_back(self, flight: Flight, error: HydraError) -> None:
        """Ask the next model, and from now on first where the cause isn't this one prompt."""
        model = flight.model + 1
        if not (isinstance(error, ProviderError) and error.of_prompt):
            with self._lock:
                news, self._active = model > self._active, max(model, self._active)
            if news:
                name = self._callers[model].endpoint.model
                self._on_note(f"{error.message}; going on with {name}")
        flight.restart(model)
        self._resume(flight)

    def _land(
        self, flight: Flight, requests: Sequence[ChatRequest]
    ) -> Iterator[tuple[int, Completion]]:
        flight.done.set_result(flight)
        for index in flight.indexes:
            first = index == flight.indexes[0]
            yield index, flight.completion(requests[index].sampling.n, first=first)

    def _await(self, request: ChatRequest, other: Flight) -> Completion:
        """What another thread brings; asked for anew where that one gave up."""
        try:
            flight = other.done.result()
        except CancelledError:
            return self.complete(request)
        if self._cache is not None and request.user is not None:
            identity = self._callers[flight.model].endpoint.identity
            self._cache.get(cache_key(identity, request), users=[request.user])
        return flight.completion(request.sampling.n, first=False)

    def _release(self, own: Sequence[Flight]) -> None:
        with self._lock:
            mine = set(map(id, own))
            self._asked = {k: f for k, f in self._asked.items() if id(f) not in mine}
        for flight in own:
            flight.done.cancel()
