"""What a command's LLM calls would use, by stage, before any is made."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hydra_cli.core.protocols import ChatRequest, Message
from hydra_cli.core.records import Usage

if TYPE_CHECKING:
    from hydra_cli.config import Settings


@dataclass(frozen=True, slots=True)
class Price:
    """Each stage's calls, tokens, dollars and seconds, and the first prompt there is."""

    model: str
    stages: Mapping[str, Usage]
    """``seconds`` are those of the calls, one after another."""
    at_once: int
    """Calls at a time: an embedded LLM's seconds are those of the machine already."""
    timed_calls: int
    """Earlier calls of the model that the seconds stand on; 0: they are assumed."""
    prompt: tuple[Message, ...] = ()

    @property
    def total(self) -> Usage:
        return sum(self.stages.values(), Usage())

    @property
    def seconds(self) -> float:
        """What the clock would show at the end, the LLM's part alone."""
        total = self.total
        if not total.calls or self.at_once == 1:
            return total.seconds
        return total.seconds / total.calls * math.ceil(total.calls / self.at_once)


def price(stages: Iterable[tuple[str, Sequence[ChatRequest]]], settings: Settings) -> Price:
    """The price of each stage's requests, nothing being sent; equal names add up.

    A stage pays only for calls that no earlier stage makes, and that the answer
    cache can't answer.
    """
    from hydra_cli.llm.estimates import Estimator
    from hydra_cli.llm.providers import LOCAL
    from hydra_cli.wiring import open_answers

    estimator = Estimator(settings.model, open_answers(settings))
    found: dict[str, Usage] = {}
    prompt: tuple[Message, ...] = ()
    for name, requests in stages:
        found[name] = found.get(name, Usage()) + estimator.usage(requests)
        prompt = prompt or (requests[0].messages if requests else ())
    return Price(
        model=settings.model,
        stages=found,
        at_once=1 if estimator.endpoint.provider == LOCAL else settings.concurrency,
        timed_calls=estimator.timed_calls,
        prompt=prompt,
    )
