"""Requests to the LLM in large batches, each once, with failures kept apart."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from hydra_cli.core.errors import BudgetExceeded, HydraError, NotAnswered, ProviderError
from hydra_cli.core.protocols import ChatModel, ChatRequest, Completion, Progress
from hydra_cli.core.records import Usage

GIVE_UP = 3
"""Single requests that may fail in a row before the provider counts as gone."""

Price = Callable[[int, int], float | None]
"""US dollars for (prompt tokens, answer tokens), or None where unknown."""


@dataclass
class Asker:
    """One run's door to the LLM: equal requests are asked once, errors don't spread.

    A batch that fails is split until the requests that fail stand alone; after
    ``GIVE_UP`` of them in a row nothing more is asked. ``error`` is the first
    failure, ``used`` what this run's calls really used.
    """

    chat: ChatModel
    progress: Progress
    price: Price | None = None
    used: Usage = field(default_factory=Usage)
    error: HydraError | None = None
    stopped: bool = False
    _row: int = 0

    def ask(self, requests: Iterable[ChatRequest], label: str) -> Answers:
        """All requests' completions; those that failed are absent."""
        distinct = {request_key(request): request for request in requests}
        answers = Answers(self.price)
        if distinct and not self.stopped:
            self.progress.start(label, len(distinct))
            self._collect(_by_prompt(distinct), answers)
        return answers

    @property
    def name(self) -> str:
        return self.chat.name

    def complete(self, request: ChatRequest) -> Completion:
        """As a ChatModel whose calls are counted: for labels and fits."""
        return next(completion for _, completion in self.complete_many([request]))

    def complete_many(self, requests: Sequence[ChatRequest]) -> Iterator[tuple[int, Completion]]:
        if self.stopped and self.error is not None:
            raise self.error
        for index, completion in self.chat.complete_many(requests):
            self.used += completion.usage
            yield index, replace(completion, usage=alone(completion.usage, self.price))

    def fail(self, error: HydraError) -> None:
        """Keep the first failure; a limit that was reached stops everything."""
        self.error = self.error or error
        self.stopped = self.stopped or isinstance(error, BudgetExceeded)

    def _collect(self, waiting: Sequence[tuple[str, ChatRequest]], answers: Answers) -> None:
        if self.stopped or not waiting:
            return
        try:
            for index, completion in self.chat.complete_many([request for _, request in waiting]):
                answers.add(waiting[index][0], completion)
                self.used += completion.usage
                self._row = 0
                self.progress.advance()
            return
        except (BudgetExceeded, NotAnswered) as error:
            self.fail(error)
            return
        except ProviderError as error:
            self.fail(error)
        left = [(key, request) for key, request in waiting if not answers.has(key)]
        if len(left) == 1 and len(waiting) == 1:
            self._row += 1
            self.stopped = self._row >= GIVE_UP
            return
        middle = max(1, len(left) // 2)
        self._collect(left[:middle], answers)
        self._collect(left[middle:], answers)


def _by_prompt(requests: Mapping[str, ChatRequest]) -> list[tuple[str, ChatRequest]]:
    """In order, but equal prompts next to each other: servers keep what they last read."""
    first: dict[str, int] = {}
    places = {
        key: first.setdefault(json.dumps(request.messages), place)
        for place, (key, request) in enumerate(requests.items())
    }
    return sorted(requests.items(), key=lambda item: places[item[0]])


class Answers:
    """Completions by request."""

    def __init__(self, price: Price | None = None) -> None:
        self._found: dict[str, Completion] = {}
        self._taken: set[str] = set()
        self._price = price

    def add(self, key: str, completion: Completion) -> None:
        self._found[key] = completion

    def has(self, key: str) -> bool:
        return key in self._found

    def get(self, request: ChatRequest) -> Completion | None:
        """The request's completion, or None where it failed.

        Its usage is what the answer costs whoever asks for it alone, with
        ``cached_calls`` for calls that this run didn't have to make again.
        """
        key = request_key(request)
        completion = self._found.get(key)
        if completion is None:
            return None
        usage = alone(completion.usage, self._price)
        if key in self._taken:
            usage = replace(usage, calls=0, cached_calls=usage.calls + usage.cached_calls)
        self._taken.add(key)
        return replace(completion, usage=usage)


def alone(usage: Usage, price: Price | None) -> Usage:
    """The usage with what cached calls would have cost and taken."""
    if not usage.cached_calls:
        return usage
    seconds = usage.seconds + usage.saved_seconds
    usage = replace(usage, seconds=seconds, saved_seconds=0.0)
    if price is None:
        return usage
    return replace(usage, cost=price(usage.prompt_tokens, usage.completion_tokens))


def request_key(request: ChatRequest) -> str:
    """Equal for requests whose answers may be shared."""
    sampling = request.sampling
    return json.dumps(
        [
            [[message["role"], message["content"]] for message in request.messages],
            [sampling.n, sampling.temperature, sampling.top_p, sampling.max_tokens],
            [list(sampling.stop), sampling.seed],
        ]
    )
