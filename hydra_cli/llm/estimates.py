"""What calls will use and how long they will take, before any is made."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from hydra_cli.core.protocols import ChatRequest
from hydra_cli.core.records import Usage
from hydra_cli.llm import pricing
from hydra_cli.llm.answer_cache import AnswerCache, ModelHistory, cache_key
from hydra_cli.llm.providers import LOCAL, Endpoint, resolve

ANSWER_SHARE = 0.6
"""Of ``max_tokens``, what an answer takes where no earlier call of the model tells."""
CALL_SECONDS = 2.0
"""What a call to a server is taken to last where no earlier call of the model tells."""
LOCAL_TOKENS = 30.0
"""Tokens a second of an embedded LLM where no earlier call tells: see docs/models.md."""


@dataclass(slots=True)
class Estimator:
    """Counts requests up, each only for the answers that no earlier one brings.

    Prompt tokens are counted on the real prompts, and corrected by the
    provider's own counts where the cache holds calls of the model. An answer
    is taken to be as long as earlier ones with the same ``max_tokens``, else
    ``ANSWER_SHARE`` of it. A model is taken to give as many answers a call as
    it did before; a new one all of them where its provider knows ``n``, one
    where it doesn't. Answers in the cache are free and count as cached calls.
    """

    model: str
    cache: AnswerCache | None = None
    endpoint: Endpoint = field(init=False)
    _seen: dict[str, int] = field(default_factory=dict, init=False)
    _histories: dict[int, ModelHistory | None] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        self.endpoint = resolve(self.model)

    @property
    def timed_calls(self) -> int:
        """Earlier calls that tell how long one takes."""
        found = self._history(0)
        return found.timed_calls if found else 0

    def usage(self, requests: Sequence[ChatRequest]) -> Usage:
        """What these requests will use; ``seconds`` are those of the calls, one after another."""
        total = Usage(cost=0.0)
        for request in requests:
            key = cache_key(self.endpoint.identity, request)
            sampling = request.sampling
            wanted = 1 if sampling.temperature == 0 else sampling.n
            stored = self.cache.get(key) if self.cache and key not in self._seen else []
            have = max(sum(len(call.answers) for call in stored), self._seen.get(key, 0))
            self._seen[key] = max(have, wanted)
            total = total + Usage(cached_calls=min(len(stored), wanted))
            if missing := max(0, wanted - have):
                total = total + self._expected(request, missing)
        return total

    def _expected(self, request: ChatRequest, missing: int) -> Usage:
        history = self._history(request.sampling.max_tokens)
        calls = math.ceil(missing / answers_per_call(self.endpoint, missing, history))
        ratio = history.prompt_ratio if history else 1.0
        read = round(pricing.count_prompt_tokens(self.endpoint, request.messages) * ratio)
        each = history.answer_tokens if history else math.nan
        if math.isnan(each):
            each = request.sampling.max_tokens * ANSWER_SHARE
        written = round(each * missing)
        return Usage(
            calls=calls,
            prompt_tokens=read * calls,
            completion_tokens=written,
            cost=pricing.cost(self.endpoint, read * calls, written),
            seconds=self._seconds(history, calls, read * calls + written),
        )

    def _seconds(self, history: ModelHistory | None, calls: int, tokens: int) -> float:
        """Of a server's calls by their number, of an embedded LLM's by their tokens."""
        timed = history is not None and history.timed_calls > 0
        if self.endpoint.provider == LOCAL:
            return tokens * (history.token_seconds if history and timed else 1 / LOCAL_TOKENS)
        return calls * (history.call_seconds if history and timed else CALL_SECONDS)

    def _history(self, max_tokens: int) -> ModelHistory | None:
        if max_tokens not in self._histories:
            self._histories[max_tokens] = (
                self.cache.model_history(self.endpoint.identity, max_tokens=max_tokens)
                if self.cache
                else None
            )
        return self._histories[max_tokens]


def estimate(
    requests: Sequence[ChatRequest], model: str, *, cache: AnswerCache | None = None
) -> Usage:
    """What the requests will use, before any is sent."""
    return Estimator(model, cache).usage(requests)


def answers_per_call(endpoint: Endpoint, wanted: int, history: ModelHistory | None) -> int:
    """How many answers one call is expected to give."""
    if history is not None:
        return max(1, min(wanted, round(history.answers_per_call)))
    # A server of the user's own often ignores n; the provider's address doesn't.
    return wanted if endpoint.provider == LOCAL or _knows_n(endpoint) else 1


def _knows_n(endpoint: Endpoint) -> bool:
    return endpoint.base is None and "n" in pricing.supported_parameters(endpoint)
