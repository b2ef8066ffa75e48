"""Figures of a running server, in the text form that Prometheus reads. They name no user."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from hydra_cli.core.records import Usage

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Upper bounds in seconds."""
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
KINDS = ("prompt", "completion")
_NO_ROUTE = "other"
_Labels = tuple[tuple[str, str], ...]


class Metrics:
    """Counters since the start. Several threads may count."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._in_flight = 0
        self._requests: Counter[_Labels] = Counter()
        self._took: dict[_Labels, list[float]] = {}
        self._answers: Counter[_Labels] = Counter(
            {(("kind", k),): 0 for k in ("personal", "plain")}
        )
        self._tokens: Counter[_Labels] = Counter(
            {(("kind", k),): 0 for k in ("prompt", "completion")}
        )
        self._calls = 0
        self._cost = 0.0

    @contextmanager
    def request(self, ended: Callable[[], tuple[str | None, int]]) -> Iterator[None]:
        """Count a request while the block runs; ``ended`` tells its route and status then."""
        begun = time.perf_counter()
        with self._lock:
            self._in_flight += 1
        try:
            yield
        finally:
            route, status = ended()
            seconds = time.perf_counter() - begun
            at = (("route", route or _NO_ROUTE),)
            with self._lock:
                self._in_flight -= 1
                # 499: the client left before an answer began.
                self._requests[(*at, ("status", str(status or 499)))] += 1
                took = self._took.setdefault(at, [0.0] * (len(BUCKETS) + 2))
                took[-2] += 1
                took[-1] += seconds
                for place, most in enumerate(BUCKETS):
                    took[place] += seconds <= most

    def answered(self, *, personal: bool, usage: Usage) -> None:
        """Count an answer and what it used of the LLM."""
        with self._lock:
            self._answers[_kind("personal" if personal else "plain")] += 1
            self._calls += usage.calls
            self._tokens[_kind("prompt")] += usage.prompt_tokens
            self._tokens[_kind("completion")] += usage.completion_tokens
            self._cost += usage.cost or 0.0

    def forwarded(self, usage: Mapping[str, Any] | None) -> None:
        """Count an answer that was passed through, with what its ``usage`` says, if it has one."""
        prompt, completion = ((usage or {}).get(f"{kind}_tokens") for kind in KINDS)
        self.answered(
            personal=False,
            usage=Usage(
                calls=1,
                prompt_tokens=prompt if isinstance(prompt, int) else 0,
                completion_tokens=completion if isinstance(completion, int) else 0,
            ),
        )

    def text(self) -> str:
        """All of it, as ``/metrics`` shows it."""
        with self._lock:
            lines = [
                *_family("requests_total", "Requests answered.", self._requests),
                *_family("requests_in_flight", "Requests under way.", {(): self._in_flight}),
                *self._histogram(),
                *_family("answers_total", "Chat answers.", self._answers),
                *_family("llm_calls_total", "Calls to the LLM.", {(): self._calls}),
                *_family("llm_tokens_total", "Tokens of the LLM.", self._tokens),
                *_family("llm_dollars_total", "Cost, where it is known.", {(): self._cost}),
            ]
        return "\n".join(lines) + "\n"

    def _histogram(self) -> Iterator[str]:
        name = "hydra_request_seconds"
        yield f"# HELP {name} Seconds to the last byte of an answer."
        yield f"# TYPE {name} histogram"
        for labels, took in sorted(self._took.items()):
            for most, count in zip((*map(str, BUCKETS), "+Inf"), took, strict=False):
                yield _sample(f"{name}_bucket", (*labels, ("le", most)), count)
            yield _sample(f"{name}_count", labels, took[-2])
            yield _sample(f"{name}_sum", labels, took[-1])


def _kind(name: str) -> _Labels:
    return (("kind", name),)


def _family(name: str, about: str, values: Mapping[_Labels, float]) -> Iterator[str]:
    yield f"# HELP hydra_{name} {about}"
    yield f"# TYPE hydra_{name} {'counter' if name.endswith('_total') else 'gauge'}"
    for labels, value in sorted(values.items()):
        yield _sample(f"hydra_{name}", labels, value)


def _sample(name: str, labels: _Labels, value: float) -> str:
    told = ",".join(f'{key}="{text}"' for key, text in labels)
    return f"{name}{{{told}}} {value:.10g}" if told else f"{name} {value:.10g}"
