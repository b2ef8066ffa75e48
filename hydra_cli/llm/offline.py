"""Answers made elsewhere: requests written down instead of asked, answers put in their place."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from hydra_cli.core.errors import NotAnswered
from hydra_cli.core.protocols import ChatModel, ChatRequest, Completion
from hydra_cli.llm import pricing
from hydra_cli.llm.answer_cache import AnswerCache, StoredCall, cache_key
from hydra_cli.llm.answer_text import clean_answer
from hydra_cli.llm.batch_files import (
    NAMED,
    Answered,
    custom_id,
    read_answers,
    write_requests,
)
from hydra_cli.llm.flights import Flight, distinct_answers
from hydra_cli.llm.provider_calls import Caller, why_ended
from hydra_cli.llm.providers import Endpoint


class Supply:
    """Answers of files, put into the cache when the run asks for them.

    So each answer belongs to the user whose data its prompt holds, and is forgotten
    with them; what no request asks for is not kept. Reading a file twice adds nothing.
    """

    def __init__(self, files: Iterable[Path], cache: AnswerCache, endpoint: Endpoint) -> None:
        self._cache, self._endpoint = cache, endpoint
        self._waiting: dict[str, list[Answered]] = {}
        self.bad: list[str] = []
        self.lines = self.used = 0
        for path in files:
            read = read_answers(path)
            self.lines += read.lines
            self.bad += [f"{path}, {why}" for why in read.bad]
            for key, found in read.found.items():
                self._waiting.setdefault(key, []).extend(found)

    def put(self, request: ChatRequest) -> None:
        """Keep the answers to this request, as far as the cache lacks them."""
        key = cache_key(self._endpoint.identity, request)
        waiting = self._waiting.pop(key, None)
        if waiting is None:
            return
        self.used += len(waiting)
        users = [request.user] if request.user is not None else []
        stored = self._cache.get(key, users=users)
        for each in sorted(waiting, key=lambda answered: answered.start):
            end = each.start + len(each.answers)
            if any(c.start < end and each.start < c.start + len(c.answers) for c in stored):
                continue
            call = self._stored(request, each)
            self._cache.put(
                key,
                call,
                model=self._endpoint.identity,
                max_tokens=request.sampling.max_tokens,
                users=users,
            )
            stored.append(call)

    def tell(self, note: Callable[[str], None]) -> None:
        """What became of the files: bad lines by name, and answers that nobody asked for."""
        for line in self.bad[:NAMED]:
            note(f"not used: {line}")
        if len(self.bad) > NAMED:
            note(f"not used: {len(self.bad) - NAMED:,} more lines")
        if unasked := self.lines - self.used:
            note(
                f"{unasked:,} of {self.lines:,} answers are to requests that this run doesn't make"
            )

    def _stored(self, request: ChatRequest, each: Answered) -> StoredCall:
        """Cleaned as a live answer is; tokens are counted where the file doesn't tell them."""
        prompt, completion = each.prompt_tokens, each.completion_tokens
        if prompt is None:
            prompt = pricing.count_prompt_tokens(self._endpoint, request.messages)
        if completion is None:
            counts = (pricing.count_tokens(self._endpoint, text) for text, _ in each.answers)
            completion = sum(counts)
        stop = request.sampling.stop
        answers = tuple((clean_answer(text, stop), value) for text, value in each.answers)
        finishes = tuple(
            why_ended(reason, text, stop)
            for (text, _), reason in zip(each.answers, each.finishes, strict=True)
        )
        return StoredCall(each.start, answers, prompt, completion, finishes=finishes)


class Supplied:
    """A ChatModel that is given answers of files first, and asks ``chat`` for the rest."""

    def __init__(self, chat: ChatModel, supply: Supply) -> None:
        self._chat, self._supply = chat, supply

    @property
    def name(self) -> str:
        return self._chat.name

    def complete(self, request: ChatRequest) -> Completion:
        self._supply.put(request)
        return self._chat.complete(request)

    def complete_many(self, requests: Sequence[ChatRequest]) -> Iterator[tuple[int, Completion]]:
        for request in requests:
            self._supply.put(request)
        yield from self._chat.complete_many(requests)


@dataclass(frozen=True, slots=True, eq=False)
class Offline:
    """A run's LLM where answers are made elsewhere. ``recorder`` None: the rest is asked for."""

    chat: Supplied
    supply: Supply
    recorder: Recorder | None
    path: Path | None
    note: Callable[[str], None]

    @property
    def missing(self) -> int:
        """Requests that are still to be answered elsewhere."""
        return self.recorder.missing if self.recorder else 0

    def finish(self) -> Written | None:
        """Tell what became of the answers; write the requests down where any are open."""
        self.supply.tell(self.note)
        if self.recorder is None or self.path is None or not self.recorder.missing:
            return None
        return Written(self.path, self.recorder.write(self.path), self.recorder.kept)


@dataclass(frozen=True, slots=True)
class Written:
    """A file of requests, and how many others the cache answered."""

    path: Path
    requests: int
    kept: int


class Recorder:
    """A ChatModel that asks nobody: it answers from the cache and writes down the rest.

    NotAnswered ends a call that had any of it; what the cache has is given first.
    """

    def __init__(self, caller: Caller, cache: AnswerCache) -> None:
        self._caller, self._cache = caller, cache
        self._open: dict[str, Flight] = {}
        self._kept: set[str] = set()

    @property
    def name(self) -> str:
        return self._caller.endpoint.model

    @property
    def missing(self) -> int:
        """Requests that have to be answered elsewhere."""
        return len(self._open)

    @property
    def kept(self) -> int:
        """Requests that the cache answered."""
        return len(self._kept)

    def complete(self, request: ChatRequest) -> Completion:
        return next(completion for _, completion in self.complete_many([request]))

    def complete_many(self, requests: Sequence[ChatRequest]) -> Iterator[tuple[int, Completion]]:
        flights = [self._note(request) for request in requests]
        for index, (flight, request) in enumerate(zip(flights, requests, strict=True)):
            if flight.complete:
                yield index, flight.completion(request.sampling.n, first=True)
        if left := sum(not flight.complete for flight in flights):
            raise NotAnswered(f"{left:,} requests are to be answered elsewhere")

    def write(self, path: Path) -> int:
        """The open requests as a file; the number of its lines."""
        bodies = []
        for key, flight in self._open.items():
            while flight.missing:
                job = flight.promise(self._caller.answers_in_one_call(flight.missing))
                body = self._caller.body(flight.request, job.count, job.start)
                bodies.append((custom_id(key, job.start), body))
        write_requests(path, bodies)
        return len(bodies)

    def _note(self, request: ChatRequest) -> Flight:
        """The request with what the cache has of it, noted as open or as kept."""
        key = cache_key(self._caller.endpoint.identity, request)
        flight = Flight(request, distinct_answers(request))
        flight.resume(self._cache.get(key, users=[request.user] if request.user else []))
        if flight.complete:
            if key not in self._open:
                self._kept.add(key)
            return flight
        known = self._open.get(key)
        if known is None or known.wanted < flight.wanted:
            # Fewer answers to the same request may have been there.
            self._kept.discard(key)
            self._open[key] = flight
        return flight
