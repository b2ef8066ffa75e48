"""One call to a provider: parameters that it takes, retries, answers out."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import tenacity
from tenacity import RetryCallState, Retrying, retry_if_exception, wait_random_exponential

from hydra_cli.core.errors import HydraError
from hydra_cli.core.protocols import ChatRequest
from hydra_cli.core.records import Usage
from hydra_cli.llm import pricing
from hydra_cli.llm.answer_cache import StoredCall
from hydra_cli.llm.answer_text import (
    clean_answer,
    closes_unopened,
    has_reasoning,
    strip_reasoning,
)
from hydra_cli.llm.litellm_loading import load_litellm, unlogged
from hydra_cli.llm.openai_fields import as_arguments
from hydra_cli.llm.provider_errors import ProviderFailure, foreign_errors, translate
from hydra_cli.llm.providers import LOCAL, OWN_SECONDS, Endpoint, missing_variables
from hydra_cli.llm.throttle import Throttle

FIRST_WAIT = 0.5
"""Seconds before a second attempt, at most; doubled for each further one."""
REASONING_ROOM = 2048
"""Tokens added to ``max_tokens`` for models that think before they answer."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How often a call is tried, and how many seconds of Retry-After are waited for.

    ``slow_attempts`` are those where each may take a whole timeout, or where nobody listens.
    """

    attempts: int = 6
    slow_attempts: int = 3
    longest_wait: float = 300.0

    def over(self, state: RetryCallState) -> bool:
        """Whether it is time to give up."""
        error = state.outcome.exception() if state.outcome else None
        if not isinstance(error, ProviderFailure):
            return True
        if error.retry_after is not None and error.retry_after > self.longest_wait:
            return True
        slow = error.kind in ("timeout", "connection")
        return state.attempt_number >= (self.slow_attempts if slow else self.attempts)


_LOCAL_PARAMETERS = frozenset(
    {"temperature", "top_p", "max_tokens", "stop", "seed", "n", "logprobs"}
)
_PREPARING = threading.Lock()
_SILENT = frozenset({"logprobs", "n"})
"""Parameters whose loss changes no answer: nothing to tell."""


@dataclass(frozen=True, slots=True)
class Batch:
    """What one call gave: (text, mean token log-probability or None) each, cleaned.

    ``finishes`` says why each answer ended, in OpenAI's words.
    """

    answers: tuple[tuple[str, float | None], ...]
    usage: Usage
    counted_tokens: int
    finishes: tuple[str | None, ...] = ()

    def kept(self, start: int) -> StoredCall:
        """As the answer cache keeps it; ``start`` is the place of its first answer."""
        used = self.usage
        return StoredCall(
            start,
            self.answers,
            used.prompt_tokens,
            used.completion_tokens,
            self.counted_tokens,
            used.seconds,
            self.finishes,
        )


class Caller:
    """Calls one model, and remembers for this process what it turned out to take.

    Learned: how many answers a call gives, which parameters are rejected,
    whether thinking needs room and how it begins. Safe to use from many threads.
    """

    counting = True
    """Whether prompts are counted by our own tokenizer, too: prices are foretold from it."""

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        timeout: float,
        concurrency: int,
        on_note: Callable[[str], None],
        patience: Patience | None = None,
    ) -> None:
        self.endpoint = endpoint
        self.patience = patience or Patience()
        self.throttle = Throttle(concurrency)
        self._timeout = timeout
        self._on_note = on_note
        self._backoff = wait_random_exponential(multiplier=FIRST_WAIT, max=30)
        self._answers_per_call: int | None = None
        self._known: frozenset[str] | None = None
        self._rejected: set[str] = set()
        self._room = 0
        self._unopened: bool | None = None
        self._noted: set[str] = set()
        self._learning = threading.Lock()

    def prepare(self) -> None:
        """Import what calls need, before worker threads do; kept answers need none of it."""
        with _PREPARING:
            load_litellm()  # before anything else imports it with its defaults
            if self.endpoint.provider == LOCAL:
                from hydra_cli.llm.local_provider import register

                register()

    def answers_in_one_call(self, wanted: int) -> int:
        """How many answers to ask for at once."""
        if "n" in self._rejected or (wanted > 1 and "n" not in self._parameters()):
            return 1
        return min(wanted, self._answers_per_call or wanted)

    @property
    def may_think_unopened(self) -> bool:
        """Whether an answer may begin with thinking that no tag opens: the prompt did.

        Some servers of one's own hand it out like that. The first answer tells, and until then
        it may; providers have a field of their own for it.
        """
        own_server = self.endpoint.base is not None and self.endpoint.provider != LOCAL
        return own_server if self._unopened is None else self._unopened

    def worst_case(self, request: ChatRequest, count: int) -> Usage:
        """The most that one call can use."""
        prompt = pricing.count_prompt_tokens(self.endpoint, request.messages)
        completion = count * (request.sampling.max_tokens + self._room)
        return Usage(
            calls=1,
            prompt_tokens=prompt,
            completion_tokens=completion,
            cost=pricing.cost(self.endpoint, prompt, completion),
        )

    def body(self, request: ChatRequest, count: int, start: int) -> dict[str, Any]:
        """The same call as a body of OpenAI's chat completions, with nothing left to defaults."""
        sampling = request.sampling
        explicit = {"n": count, "top_p": sampling.top_p}
        taken = self._parameters() - self._rejected
        return {
            "model": self.endpoint.model.removeprefix(f"{self.endpoint.provider}/"),
            "messages": [dict(message) for message in request.messages],
            **{name: value for name, value in explicit.items() if name in taken},
            **self._request_parameters(request, count, start),
        }

    def call(self, request: ChatRequest, count: int, start: int, *, stop: threading.Event) -> Batch:
        """At least one answer, ``count`` if the model gives so many in one call.

        ``start`` is the place of the first one among all answers to the
        request; it moves the seed, so that repeated calls don't repeat answers.
        ``stop`` ends retries early. ProviderError where no attempt succeeded.
        """
        retrying = Retrying(
            retry=retry_if_exception(
                lambda error: (
                    isinstance(error, ProviderFailure) and error.retryable and not stop.is_set()
                )
            ),
            stop=self.patience.over,
            wait=self.wait,
            sleep=tenacity.sleep_using_event(stop),
            reraise=True,
        )
        spent = Usage()
        while True:
            batch, starved = retrying(self._attempt, request, count, start, stop)
            spent = spent + batch.usage
            if not starved:
                break
        self.learn_count(count, len(batch.answers))
        return replace(batch, usage=spent)

    def wait(self, state: RetryCallState) -> float:
        """The provider's Retry-After with a little jitter, else exponential with full jitter."""
        error = state.outcome.exception() if state.outcome else None
        asked = error.retry_after if isinstance(error, ProviderFailure) else None
        jittered = float(self._backoff(state))
        return jittered if asked is None else asked + min(jittered, 0.25)

    def _attempt(
        self, request: ChatRequest, count: int, start: int, stop: threading.Event
    ) -> tuple[Batch, bool]:
        """One answer from the provider, parameters that it rejects left out.

        The flag tells that thinking used up all tokens before any answer, and
        that a second call now has room for it.
        """
        while True:
            try:
                return self._request(request, count, start, stop)
            except ProviderFailure as failure:
                count = self.without_rejected(failure, count)

    def without_rejected(self, failure: ProviderFailure, count: int) -> int:
        """How many answers to ask for again, without the parameter that was rejected.

        The failure itself where it has another cause.
        """
        if failure.kind == "rate":
            self.throttle.limited(failure.retry_after)
        if failure.kind != "parameter" or failure.parameter is None:
            raise failure
        self._reject(failure.parameter)
        return 1 if failure.parameter == "n" else count

    def _request(
        self, request: ChatRequest, count: int, start: int, stop: threading.Event
    ) -> tuple[Batch, bool]:
        litellm = load_litellm()
        sent = self.arguments(request, count, start)
        began = time.monotonic()
        try:
            with self.throttle.slot(stop):
                if stop.is_set():
                    raise ProviderFailure(f"{self.endpoint.model}: interrupted", kind="connection")
                began = time.monotonic()
                response = litellm.completion(**sent)
            return self.understood(response, request, time.monotonic() - began)
        except foreign_errors() as error:
            # Without `from None` a traceback would show the provider's words, and the prompt in it.
            raise self.explained(error, request, sent) from None

    def arguments(self, request: ChatRequest, count: int, start: int) -> dict[str, Any]:
        """The call as litellm takes it."""
        return {
            "messages": [dict(message) for message in request.messages],
            **self.calling(),
            **as_arguments(request.extra, self.endpoint.provider),
            **self._request_parameters(request, count, start),
        }

    def calling(self) -> dict[str, Any]:
        """Whom a call goes to, whatever is in it."""
        return {
            "model": self.endpoint.model,
            "timeout": self._timeout,
            "max_retries": 0,
            **self._address(),
            **unlogged(),
        }

    def explained(
        self, error: Exception, request: ChatRequest, sent: Mapping[str, Any]
    ) -> HydraError:
        """A foreign error, where ``sent`` was sent, as the user should read it."""
        others = {
            "messages",
            "extra_body",
            "allowed_openai_params",
            *self.calling(),
            *request.extra,
        }
        names = tuple(name for name in sent if name not in others)
        return translate(error, self.endpoint, messages=request.messages, sent=names)

    def understood(self, response: Any, request: ChatRequest, seconds: float) -> tuple[Batch, bool]:
        """The response's answers, and whether thinking left no room for any, which now is there."""
        room = self._room
        batch, thought = self._read(response, request, seconds)
        self.throttle.succeeded()
        starved = thought and not any(text for text, _ in batch.answers)
        return batch, starved and room == 0 and self._make_room()

    def _address(self) -> dict[str, str]:
        base = self.endpoint.base
        if base is None:
            return {}
        # Servers on this machine rarely want a key, but clients refuse to go without one.
        key = {"api_key": "none"} if self.endpoint.local and not self._has_key() else {}
        return {"api_base": base, **key}

    def _has_key(self) -> bool:
        return not missing_variables(self.endpoint)

    def _parameters(self) -> frozenset[str]:
        if self._known is None:
            if self.endpoint.provider == LOCAL:
                self._known = _LOCAL_PARAMETERS
            else:
                self._known = pricing.supported_parameters(self.endpoint)
        return self._known

    def _request_parameters(self, request: ChatRequest, count: int, start: int) -> dict[str, Any]:
        sampling = request.sampling
        wanted: dict[str, Any] = {
            "temperature": sampling.temperature,
            "max_tokens": sampling.max_tokens + self._room,
            "logprobs": True,
        }
        if sampling.top_p != 1.0:
            wanted["top_p"] = sampling.top_p
        if count > 1:
            wanted["n"] = count
        if sampling.stop:
            wanted["stop"] = list(sampling.stop)
        if sampling.seed is not None:
            wanted["seed"] = sampling.seed + start
        for name in wanted.keys() - self._parameters() - self._rejected:
            self._reject(name)
        return {name: value for name, value in wanted.items() if name not in self._rejected}

    def _reject(self, name: str) -> None:
        self._rejected.add(name)
        if name not in _SILENT:
            self._note(f"{self.endpoint.model} doesn't take {name}; going on without it")

    def _note(self, text: str) -> None:
        with self._learning:
            if text in self._noted:
                return
            self._noted.add(text)
        self._on_note(text)

    def learn_count(self, asked: int, came: int) -> None:
        if came < asked:
            with self._learning:
                self._answers_per_call = min(self._answers_per_call or came, came)

    def _make_room(self) -> bool:
        with self._learning:
            self._room = REASONING_ROOM
        self._note(
            f"{self.endpoint.model} thinks before it answers;"
            f" each call now gets {REASONING_ROOM:,} tokens more"
        )
        return True

    def _read(self, response: Any, request: ChatRequest, seconds: float) -> tuple[Batch, bool]:
        """The answers of a response, and whether the model thought."""
        choices = list(response.choices or ())
        answers: list[tuple[str, float | None]] = []
        finishes: list[str | None] = []
        raw: list[str] = []
        thought = False
        for choice in choices:
            content = choice.message.content or ""
            reasoning = getattr(choice.message, "reasoning_content", None) or ""
            thought = thought or bool(reasoning) or has_reasoning(content)
            if content.strip():
                self._unopened = self._unopened or closes_unopened(content)
            raw.append(f"{reasoning}{content}")
            answers.append((clean_answer(content, request.sampling.stop), _mean_logprob(choice)))
            finishes.append(why_ended(choice.finish_reason, content, request.sampling.stop))
            if choice.finish_reason == "content_filter" and not answers[-1][0]:
                self._note(f"{self.endpoint.model}: the content filter emptied some answers")
        if not answers:
            raise ProviderFailure(
                f"{self.endpoint.model} sent a reply without an answer in it",
                kind="nonsense",
                hint="try later, or name another --model",
            )
        hidden = getattr(response, "_hidden_params", None) or {}
        usage, counted = self._usage(response, request, raw, hidden.get(OWN_SECONDS, seconds))
        return Batch(tuple(answers), usage, counted, tuple(finishes)), thought

    def _usage(
        self, response: Any, request: ChatRequest, raw: Sequence[str], seconds: float
    ) -> tuple[Usage, int]:
        """The provider's token counts where they are possible, else our own."""
        endpoint = self.endpoint
        counted = pricing.count_prompt_tokens(endpoint, request.messages) if self.counting else 0
        reported = getattr(response, "usage", None)
        prompt = getattr(reported, "prompt_tokens", None)
        completion = getattr(reported, "completion_tokens", None)
        # A token is at least a byte, beside what the chat format adds.
        most = sum(len(m["content"].encode()) + 64 for m in request.messages) + 1024
        longest = len(raw) * (request.sampling.max_tokens + self._room + 16)
        longest = max(longest, sum(len(text.encode()) + 16 for text in raw))
        silent = not prompt and not completion
        if not _possible(prompt, most) or prompt == 0:
            prompt = None
        if not _possible(completion, longest) or (completion == 0 and any(raw)):
            completion = None
        if not silent and (prompt is None or completion is None):
            self._note(f"{endpoint.model} reports impossible token counts; using our own")
        if silent or prompt is None:
            prompt = counted or pricing.count_prompt_tokens(endpoint, request.messages)
        if silent or completion is None:
            completion = sum(pricing.count_tokens(endpoint, text) for text in raw)
        return (
            Usage(
                calls=1,
                prompt_tokens=prompt,
                completion_tokens=completion,
                cost=pricing.cost(endpoint, prompt, completion),
                seconds=seconds,
            ),
            counted,
        )


def _possible(value: object, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= most


def why_ended(reason: Any, content: str, stop: Sequence[str]) -> str | None:
    """The provider's word, but "stop" where a server that knows no stop strings went on."""
    if reason == "length" and any(mark in strip_reasoning(content).strip() for mark in stop):
        return "stop"
    return str(reason) if reason else None


def _mean_logprob(choice: Any) -> float | None:
    """The mean log-probability of the answer's tokens, where the provider gave them."""
    content = getattr(getattr(choice, "logprobs", None), "content", None)
    values = [getattr(token, "logprob", None) for token in content or ()]
    known = [float(value) for value in values if isinstance(value, (int, float))]
    if not known or not all(math.isfinite(value) for value in known):
        return None
    return sum(known) / len(known)
