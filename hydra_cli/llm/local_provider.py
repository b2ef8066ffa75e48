"""The embedded LLM as a litellm provider."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import aclosing, suppress
from typing import Any

from litellm.llms import custom_llm

from hydra_cli.core.protocols import Sampling
from hydra_cli.llm.litellm_loading import load_litellm
from hydra_cli.llm.local_batching import BatchingChat
from hydra_cli.llm.local_chat import LocalAnswers, open_local_chat
from hydra_cli.llm.local_chunks import ChunkMaker, logprobs_of, usage_of, wants_logprobs
from hydra_cli.llm.local_decoding import Part, Prompt
from hydra_cli.llm.provider_errors import ProviderFailure
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
        """litellm's hook: the answers, the tokens used, and log-probabilities where asked for."""
        parameters = others.get("optional_params") or {}
        chat, prompt = self._prompt(model, messages, parameters)
        return _respond(model_response, model, chat, chat.submit(prompt).result(), parameters)

    async def acompletion(  # type: ignore[override]  # litellm passes all by keyword
        self, model: str, messages: list[Any], model_response: Any, **others: Any
    ) -> Any:
        """The same for a task; where that is cancelled, the work ends at the next token."""
        parameters = others.get("optional_params") or {}
        chat, prompt = await asyncio.to_thread(self._prompt, model, messages, parameters)
        made = await asyncio.wrap_future(chat.submit(prompt))
        return _respond(model_response, model, chat, made, parameters)

    async def astreaming(  # type: ignore[override]  # litellm passes all by keyword
        self, model: str, messages: list[Any], **others: Any
    ) -> AsyncIterator[Any]:
        """The answer's chunks. litellm itself keeps the first of several answers alone."""
        async with aclosing(self.chunks(model, messages, others["optional_params"])) as coming:
            async for chunk in coming:
                yield chunk

    async def chunks(
        self, model: str, messages: Sequence[Any], parameters: Mapping[str, Any]
    ) -> AsyncGenerator[Any, None]:
        """litellm's chunks of all answers, token by token, at last what they used.

        The work ends at the next token where nobody goes on reading.
        """
        chat, prompt = await asyncio.to_thread(self._prompt, model, messages, parameters)
        reply = ChunkMaker(model, chat.chat.tokenizer.decode, wants_logprobs(parameters))
        async with aclosing(_parts(chat, prompt)) as coming:
            async for item in coming:
                if isinstance(item, Part):
                    yield reply.of_part(item)
                    continue
                for place, answer in enumerate(item.answers):
                    yield reply.end(place, answer.finish)
                if (parameters.get("stream_options") or {}).get("include_usage"):
                    yield reply.usage(usage_of(item))

    def _prompt(
        self, model: str, messages: Sequence[Any], parameters: Mapping[str, Any]
    ) -> tuple[BatchingChat, Prompt]:
        refuse_promises(parameters)
        sampling = sampling_of(parameters)
        said = _plain(messages)
        chat = self._open(model)
        return chat, chat.chat.prompt(said, sampling)

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
        litellm.custom_provider_map.append({"provider": LOCAL, "custom_handler": _PROVIDER})
        litellm.utils.custom_llm_setup()


_PROVIDER = LocalProvider()


def stream(sent: Mapping[str, Any]) -> AsyncGenerator[Any, None]:
    """The chunks of a call as litellm takes it, without litellm's own hands on them.

    They would lose all answers but the first. ProviderError where it can't be answered.
    """
    return _as_provider_errors(
        _PROVIDER.chunks(str(sent["model"]).removeprefix(f"{LOCAL}/"), sent["messages"], sent)
    )


async def _as_provider_errors(chunks: AsyncGenerator[Any, None]) -> AsyncGenerator[Any, None]:
    try:
        async with aclosing(chunks) as coming:
            async for chunk in coming:
                yield chunk
    except custom_llm.CustomLLMError as error:
        raise ProviderFailure(error.message, kind="request") from None


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


def refuse_promises(parameters: Mapping[str, Any]) -> None:
    """A 400 for what an embedded LLM can't be held to; tools that it may leave alone, it does."""
    shape = parameters.get("response_format") or {}
    if isinstance(shape, Mapping) and shape.get("type", "text") != "text":
        raise _refusal("an embedded LLM answers in plain text, not in a response_format")
    if parameters.get("tool_choice") not in (None, "auto", "none"):
        raise _refusal("an embedded LLM calls no tools, so none can be required of it")


def _refusal(reason: str) -> Exception:
    untyped: Any = custom_llm.CustomLLMError
    error: Exception = untyped(400, reason)
    return error


def _plain(messages: Sequence[Any]) -> list[dict[str, str]]:
    return [{"role": str(m["role"]), "content": _text(m["content"])} for m in messages]


def _text(content: Any) -> str:
    if not isinstance(content, list):
        return str(content or "")
    if any(part.get("type") != "text" for part in content):
        raise _refusal("an embedded LLM reads text alone, no images, audio or files")
    return "\n".join(str(part["text"]) for part in content)


async def _parts(chat: BatchingChat, prompt: Prompt) -> AsyncGenerator[Part | LocalAnswers, None]:
    """Each part as it comes, at last all answers; whoever stops reading ends the work."""
    loop = asyncio.get_running_loop()
    came: asyncio.Queue[Part | Future[LocalAnswers]] = asyncio.Queue()

    def put(item: Part | Future[LocalAnswers]) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody reads any more
            loop.call_soon_threadsafe(came.put_nowait, item)

    answer = chat.submit(prompt, put)
    answer.add_done_callback(put)
    try:
        while isinstance(item := await came.get(), Part):
            yield item
        yield item.result()
    finally:
        answer.cancel()


def _respond(
    response: Any, model: str, chat: BatchingChat, made: LocalAnswers, parameters: Mapping[str, Any]
) -> Any:
    """Fill litellm's response object."""
    decode = chat.chat.tokenizer.decode
    told = wants_logprobs(parameters)
    response.choices = [
        litellm.Choices(
            index=index,
            finish_reason=answer.finish,
            message=litellm.Message(role="assistant", content=answer.text),
            **({"logprobs": logprobs_of(answer, decode)} if told else {}),
        )
        for index, answer in enumerate(made.answers)
    ]
    response.model = model
    response._hidden_params[OWN_SECONDS] = made.seconds
    response.usage = litellm.Usage(**usage_of(made))
    return response
