"""The embedded LLM as a litellm provider."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from litellm.llms import custom_llm

from hydra_cli.core.protocols import Sampling
from hydra_cli.llm.litellm_loading import load_litellm
from hydra_cli.llm.local_batching import BatchingChat
from hydra_cli.llm.local_chat import LocalAnswers, open_local_chat
from hydra_cli.llm.providers import LOCAL, OWN_SECONDS

litellm: Any = load_litellm()
_MAX_TOKENS = 256
"""For callers that name no limit."""


class LocalProvider(custom_llm.CustomLLM):
    """Answers litellm's completion calls from models of this process."""

    def __init__(self) -> None:
        super().__init__()
        self._chats: dict[str, BatchingChat] = {}
        self._lock = threading.Lock()

    def completion(  # type: ignore[override]  # litellm passes all by keyword
        self, model: str, messages: list[Any], model_response: Any, **others: Any
    ) -> Any:
        """litellm's hook: the answers, their log-probabilities and the tokens used."""
        sampling = sampling_of(others.get("optional_params") or {})
        chat = self._open(model)
        return _respond(model_response, model, chat, chat.ask(_plain(messages), sampling))

    async def acompletion(  # type: ignore[override]  # litellm passes all by keyword
        self, model: str, messages: list[Any], model_response: Any, **others: Any
    ) -> Any:
        return await asyncio.to_thread(self.completion, model, messages, model_response, **others)

    async def astreaming(  # type: ignore[override]  # litellm passes all by keyword
        self, model: str, messages: list[Any], **others: Any
    ) -> AsyncIterator[dict[str, Any]]:
        """The answers in one piece each: a batch of requests decodes together."""
        sampling = sampling_of(others.get("optional_params") or {})
        chat = await asyncio.to_thread(self._open, model)
        made = await asyncio.to_thread(chat.ask, _plain(messages), sampling)
        completion = sum(len(answer.ids) for answer in made.answers)
        usage = {
            "prompt_tokens": made.prompt_tokens,
            "completion_tokens": completion,
            "total_tokens": made.prompt_tokens + completion,
        }
        for index, answer in enumerate(made.answers):
            piece = {"index": index, "is_finished": False, "finish_reason": "", "usage": None}
            yield {**piece, "text": answer.text, "tool_use": None}
            end = {"is_finished": True, "finish_reason": answer.finish, "usage": usage}
            yield {**piece, **end, "text": "", "tool_use": None}

    def _open(self, model: str) -> BatchingChat:
        with self._lock:
            if model not in self._chats:
                self._chats[model] = BatchingChat(open_local_chat(model))
            return self._chats[model]


def register() -> None:
    """Make ``local/...`` a litellm provider. Loads no model yet; a second call does nothing."""
    # Once, before there are worker threads: when several import it first, all but one fail.
    from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: F401

    if all(item["provider"] != LOCAL for item in litellm.custom_provider_map):
        litellm.custom_provider_map.append({"provider": LOCAL, "custom_handler": LocalProvider()})
        litellm.utils.custom_llm_setup()


def sampling_of(parameters: Mapping[str, Any]) -> Sampling:
    """OpenAI's request parameters as Sampling; a 400 for values that make no sense."""
    try:
        stop = parameters.get("stop") or ()
        tokens = parameters.get("max_completion_tokens") or parameters.get("max_tokens")
        temperature, top_p = parameters.get("temperature"), parameters.get("top_p")
        seed = parameters.get("seed")
        sampling = Sampling(
            n=int(parameters.get("n") or 1),
            temperature=1.0 if temperature is None else float(temperature),
            top_p=1.0 if top_p is None else float(top_p),
            max_tokens=int(tokens or _MAX_TOKENS),
            stop=(stop,) if isinstance(stop, str) else tuple(s for s in map(str, stop) if s),
            seed=None if seed is None else int(seed),
        )
    except (TypeError, ValueError) as error:
        raise _refusal(f"a sampling parameter has the wrong type: {error}") from error
    if sampling.n < 1 or sampling.max_tokens < 1:
        raise _refusal("n and max_tokens must be at least 1")
    if not (0 <= sampling.temperature < float("inf") and 0 < sampling.top_p <= 1):
        raise _refusal("temperature must be 0 or more, top_p in (0, 1]")
    return sampling


def _refusal(reason: str) -> Exception:
    untyped: Any = custom_llm.CustomLLMError
    error: Exception = untyped(400, reason)
    return error


def _plain(messages: Sequence[Any]) -> list[dict[str, str]]:
    return [{"role": str(m["role"]), "content": str(m["content"] or "")} for m in messages]


def _respond(response: Any, model: str, chat: BatchingChat, made: LocalAnswers) -> Any:
    """Fill litellm's response object."""
    decode = chat.chat.tokenizer.decode
    response.choices = [
        litellm.Choices(
            index=index,
            finish_reason=answer.finish,
            message=litellm.Message(role="assistant", content=answer.text),
            logprobs={
                "content": [
                    {"token": decode([token]), "logprob": logprob, "top_logprobs": []}
                    for token, logprob in zip(answer.ids, answer.logprobs, strict=True)
                ]
            },
        )
        for index, answer in enumerate(made.answers)
    ]
    completion = sum(len(answer.ids) for answer in made.answers)
    response.model = model
    response._hidden_params[OWN_SECONDS] = made.seconds
    response.usage = litellm.Usage(
        prompt_tokens=made.prompt_tokens,
        completion_tokens=completion,
        total_tokens=made.prompt_tokens + completion,
    )
    return response
