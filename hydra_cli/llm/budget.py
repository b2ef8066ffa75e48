"""Limits on what LLM calls may use, kept while many calls are in flight."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from hydra_cli.core.errors import BudgetExceeded, UsageError
from hydra_cli.core.records import Usage


@dataclass(frozen=True, slots=True)
class Limits:
    """What the user allows: US dollars, calls that reach a provider, prompt and answer tokens."""

    max_cost: float | None = None
    max_calls: int | None = None
    max_tokens: int | None = None

    def __post_init__(self) -> None:
        for name in ("max_cost", "max_calls", "max_tokens"):
            value = getattr(self, name)
            # `not value >= 0` refuses NaN too.
            if value is not None and not value >= 0:
                raise UsageError(f"--{name.replace('_', '-')} can't be {value}")


class Budget:
    """Counts what was used and what calls in flight may still use at worst.

    A call is let through only when even its worst case keeps every limit.
    Where calls in flight leave too little room, it waits for them: most use
    less than their worst case.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._used = Usage()
        self._reserved: dict[int, Usage] = {}
        self._changed = threading.Condition()

    @property
    def limited(self) -> bool:
        """Whether there is any limit to keep."""
        return self._limits != Limits()

    @property
    def used(self) -> Usage:
        return self._used

    def reserve(self, worst: Usage, *, stop: threading.Event) -> int:
        """A ticket for one call; BudgetExceeded where a limit would be passed."""
        with self._changed:
            while True:
                over = self._exceeded(sum(self._reserved.values(), self._used) + worst)
                if over is None or stop.is_set():
                    break
                if not self._reserved:
                    raise BudgetExceeded(
                        f"{over} reached after {self._used.calls:,} calls",
                        hint="what was answered so far is kept; raise the limit and run again",
                    )
                self._changed.wait(0.2)
            ticket = max(self._reserved, default=0) + 1
            self._reserved[ticket] = worst
            return ticket

    def settle(self, ticket: int, used: Usage) -> None:
        """The call is over; ``used`` is what it really took."""
        with self._changed:
            del self._reserved[ticket]
            self._used = self._used + used
            self._changed.notify_all()

    def _exceeded(self, total: Usage) -> str | None:
        limits = self._limits
        if limits.max_calls is not None and total.calls > limits.max_calls:
            return f"--max-calls {limits.max_calls:,}"
        tokens = total.prompt_tokens + total.completion_tokens
        if limits.max_tokens is not None and tokens > limits.max_tokens:
            return f"--max-tokens {limits.max_tokens:,}"
        if limits.max_cost is not None and total.cost is not None and total.cost > limits.max_cost:
            return f"--max-cost ${limits.max_cost:g}"
        return None
