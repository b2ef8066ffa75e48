"""The fields of OpenAI's chat completions, and how litellm is handed any that a client may send."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hydra_cli.core.protocols import Message
from hydra_cli.llm.litellm_loading import load_litellm

FIELDS = frozenset(
    {
        *("audio", "frequency_penalty", "function_call", "functions", "logit_bias", "logprobs"),
        *("max_completion_tokens", "max_tokens", "modalities", "n", "parallel_tool_calls"),
        *("prediction", "presence_penalty", "prompt_cache_key", "reasoning_effort"),
        *("response_format", "safety_identifier", "seed", "service_tier", "stop", "store"),
        *("stream", "stream_options", "temperature", "tool_choice", "tools", "top_logprobs"),
        *("top_p", "user", "verbosity", "web_search_options"),
    }
)
"""Those that litellm knows by name. It has arguments of its own, such as ``api_base``, too."""

_OF_OPENAI_ALONE = frozenset({"safety_identifier", "store", "service_tier", "prompt_cache_key"})
"""Fields that other providers refuse, and whose loss changes no answer."""


def as_arguments(fields: Mapping[str, Any], provider: str) -> dict[str, Any]:
    """The fields as litellm's arguments: what it doesn't know goes into the body as it is.

    So no field of a client can be taken for one of litellm's own settings, which
    decide where a key is sent. A server that speaks OpenAI's protocol gets them all.
    """
    given = {name: value for name, value in fields.items() if value is not None}
    speaks = provider == "openai" or provider in load_litellm().openai_compatible_providers
    if not speaks:
        given = {name: value for name, value in given.items() if name not in _OF_OPENAI_ALONE}
    known = {name: value for name, value in given.items() if name in FIELDS}
    other = {name: value for name, value in given.items() if name not in FIELDS}
    return {
        **known,
        **({"extra_body": other} if other else {}),
        **({"allowed_openai_params": [*known]} if speaks and known else {}),
    }


def texts(messages: Sequence[Mapping[str, Any]]) -> tuple[Message, ...]:
    """What can be read of a client's messages, for counting tokens and hiding their words."""
    found: list[Message] = []
    for message in messages:
        content = message.get("content")
        parts = content if isinstance(content, list) else [{"text": content}]
        said = [part.get("text") for part in parts if isinstance(part, Mapping)]
        text = "\n".join(t for t in said if isinstance(t, str))
        found.append({"role": message["role"], "content": text})
    return tuple(found)
