"""Bodies of chat completions: read with their types, and with what they ask of an answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import orjson

from hydra_cli.core.conversation import Conversation, Wishes
from hydra_cli.core.protocols import Message
from hydra_cli.serving.chat_schemas import MOST_CHOICES, OF_ANTHROPIC, OF_RESPONSES, ROLES
from hydra_cli.serving.errors import ApiError
from hydra_cli.serving.side_calls import is_side_call

PERSONAL = "hydra"
"""What a personal model's name begins with: ``hydra/openai/gpt-4o-mini@replies``."""

_OURS = frozenset(
    {
        *("model", "messages", "stream", "stream_options", "n", "temperature", "top_p"),
        *("max_tokens", "max_completion_tokens", "stop", "seed", "user", "safety_identifier"),
        *("logprobs", "top_logprobs", "response_format", "modalities", "audio"),
        *("tools", "tool_choice", "functions", "function_call", "parallel_tool_calls"),
    }
)
"""Fields that a personal request is made of, or that it can't have; others go to the LLM as is."""

_WANTED: Mapping[type, str] = {
    bool: "true or false",
    dict: "an object",
    list: "a list",
    str: "a text",
}


@dataclass(frozen=True, slots=True)
class Target:
    """What a model's name asks for. ``model`` is None where it leaves that to the settings."""

    model: str | None
    personal: bool = False
    task: str | None = None


@dataclass(frozen=True, slots=True)
class ChatBody:
    """A body that is well formed, whoever answers it."""

    raw: Mapping[str, Any]
    target: Target
    wishes: Wishes
    stream: bool
    include_usage: bool

    @property
    def messages(self) -> Sequence[Mapping[str, Any]]:
        found: Sequence[Mapping[str, Any]] = self.raw["messages"]
        return found

    @property
    def why_not(self) -> str | None:
        """Why only the LLM itself can answer it; None: a user's answer can be chosen."""
        return _why_not(self.raw)

    def conversation(self) -> Conversation:
        """The messages as a chat, where ``why_not`` has nothing to say."""
        messages = list(self.messages)
        leading = 0
        while messages[leading]["role"] in ("system", "developer"):
            leading += 1
        system = "\n\n".join(text_of(message) for message in messages[:leading])
        return Conversation(
            query=text_of(messages[-1]),
            system=system if system.strip() else None,
            earlier=tuple(map(_turn, messages[leading:-1])),
        )


def read(content: bytes) -> ChatBody:
    """The body; ApiError 400 names the field at fault."""
    raw = read_json(content)
    _refuse_other_protocols(raw)
    target = target_of(raw.get("model"))
    _check_messages(raw.get("messages"))
    for name in ("response_format", "audio"):
        _typed(raw, name, dict)
    for name, item in (("tools", dict), ("functions", dict), ("modalities", str)):
        _list_of(raw, name, item)
    for name in ("user", "safety_identifier"):
        _typed(raw, name, str)
    _typed(raw, "logprobs", bool)
    _whole(raw, "top_logprobs", least=0)
    options = _typed(raw, "stream_options", dict) or {}
    return ChatBody(
        raw,
        target,
        _wishes(raw),
        stream=bool(_typed(raw, "stream", bool)),
        include_usage=bool(_typed(options, "include_usage", bool)),
    )


def read_json(content: bytes) -> dict[str, Any]:
    """A JSON object; ApiError 400 for anything else."""
    try:
        found = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise ApiError(
            400, f"the body is no valid JSON: line {error.lineno}, column {error.colno}",
            code="invalid_json",
        ) from None  # fmt: skip
    if not isinstance(found, dict):
        raise ApiError(400, "the body must be a JSON object", code="invalid_json")
    return found


def target_of(model: Any) -> Target:
    """``hydra/<model>[@<task>]`` is personal, anything else passes through."""
    if not isinstance(model, str) or not model.strip():
        raise wrong("model", "must be the name of a model, such as hydra/openai/gpt-4o-mini")
    if model != PERSONAL and not model.startswith((f"{PERSONAL}/", f"{PERSONAL}@")):
        return Target(model)
    rest = model.removeprefix(PERSONAL)
    name, at, task = rest.rpartition("@")
    return Target((name if at else rest).removeprefix("/") or None, True, task if at else None)


def text_of(message: Mapping[str, Any]) -> str:
    """A message's text, its parts one below the other."""
    content = message.get("content")
    if isinstance(content, list):
        return "\n".join(str(part["text"]) for part in content)
    return content or ""


def wrong(param: str, message: str) -> ApiError:
    """The 400 for a field."""
    return ApiError(400, f"{param} {message}", code="invalid_value", param=param)


def _turn(message: Mapping[str, Any]) -> Message:
    role: Literal["system", "user", "assistant"] = "user"
    if message["role"] == "assistant":
        role = "assistant"
    elif message["role"] in ("system", "developer"):
        role = "system"
    turn: Message = {"role": role, "content": text_of(message)}
    if message.get("name"):
        turn["name"] = message["name"]
    return turn


def _why_not(raw: Mapping[str, Any]) -> str | None:
    messages = raw["messages"]
    if any(
        raw.get(tools) and raw.get(choice) != "none"
        for tools, choice in (("tools", "tool_choice"), ("functions", "function_call"))
    ):
        return "tools were sent along"
    if any(m["role"] in ("tool", "function") or _calls(m) for m in messages):
        return "tools were called in this conversation"
    if (raw.get("response_format") or {}).get("type", "text") != "text":
        return "a response_format was asked for"
    if raw.get("logprobs") or raw.get("top_logprobs"):
        return "logprobs were asked for"
    if raw.get("audio") or any(kind != "text" for kind in raw.get("modalities") or ()):
        return "something else than text was asked for"
    if any(part.get("type") != "text" for message in messages for part in _parts(message)):
        return "the messages hold images, audio or files"
    if messages[-1]["role"] != "user":
        return "the last message isn't the user's"
    if not text_of(messages[-1]).strip():
        return "the last message is empty"
    system = text_of(messages[0]) if messages[0]["role"] == "system" else ""
    if is_side_call(text_of(messages[-1]), system):
        return "a chat front-end asked for itself (a title, tags or the like)"
    return None


def _calls(message: Mapping[str, Any]) -> bool:
    return bool(message.get("tool_calls") or message.get("function_call"))


def _parts(message: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    content = message.get("content")
    return content if isinstance(content, list) else ()


def _refuse_other_protocols(raw: Mapping[str, Any]) -> None:
    here = "this is chat completions"
    if "input" in raw and "messages" not in raw:
        raise wrong("input", f"belongs to the Responses API; {here}: send messages")
    if "system" in raw:
        raise wrong(
            "system", f"belongs to Anthropic's API; {here}: send a message of the role system"
        )


def _check_messages(messages: Any) -> None:
    if not isinstance(messages, list) or not messages:
        raise wrong("messages", "must be a list of one message or more")
    for place, message in enumerate(messages):
        where = f"messages[{place}]"
        if not isinstance(message, dict):
            raise wrong(where, "must be an object with role and content")
        if message.get("role") not in ROLES:
            raise wrong(f"{where}.role", f"must be one of {', '.join(ROLES)}")
        _check_content(message.get("content"), f"{where}.content")
        if not isinstance(message.get("name"), (str, type(None))):
            raise wrong(f"{where}.name", "must be a text")
        if "tool_calls" in message:
            _list_of({f"{where}.tool_calls": message["tool_calls"]}, f"{where}.tool_calls", dict)


def _check_content(content: Any, where: str) -> None:
    if content is None or isinstance(content, str):
        return
    if not isinstance(content, list):
        raise wrong(where, "must be a text or a list of parts")
    for place, part in enumerate(content):
        here = f"{where}[{place}]"
        kind = part.get("type") if isinstance(part, dict) else None
        if not isinstance(kind, str):
            raise wrong(here, "must be an object with a type, such as text")
        if kind in OF_RESPONSES:
            raise wrong(here, f"has type {kind}, which belongs to the Responses API; text is meant")
        if kind in OF_ANTHROPIC:
            raise wrong(here, f"has type {kind}, which belongs to Anthropic's API")
        if kind == "text" and not isinstance(part.get("text"), str):
            raise wrong(f"{here}.text", "must be a text")


def _wishes(raw: Mapping[str, Any]) -> Wishes:
    limits = [_whole(raw, name, least=1) for name in ("max_completion_tokens", "max_tokens")]
    stop = raw.get("stop")
    if isinstance(stop, str):
        stop = [stop]
    if stop is not None and not (isinstance(stop, list) and all(isinstance(s, str) for s in stop)):
        raise wrong("stop", "must be a text or a list of texts")
    return Wishes(
        n=_whole(raw, "n", least=1, most=MOST_CHOICES) or 1,
        temperature=_number(raw, "temperature", 0.0, 2.0),
        top_p=_number(raw, "top_p", 0.0, 1.0),
        max_tokens=limits[0] or limits[1],
        stop=tuple(mark for mark in stop or () if mark),
        seed=_whole(raw, "seed"),
        extra={name: value for name, value in raw.items() if name not in _OURS and value},
    )


def _typed(raw: Mapping[str, Any], name: str, kind: type) -> Any:
    value = raw.get(name)
    if value is not None and not isinstance(value, kind):
        raise wrong(name, f"must be {_WANTED[kind]}")
    return value


def _list_of(raw: Mapping[str, Any], name: str, item: type) -> None:
    for place, one in enumerate(_typed(raw, name, list) or ()):
        if not isinstance(one, item):
            raise wrong(f"{name}[{place}]", f"must be {_WANTED[item]}")


def _whole(
    raw: Mapping[str, Any], name: str, *, least: int | None = None, most: int | None = None
) -> int | None:
    value = raw.get(name)
    if value is None:
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # JSON has one kind of numbers
    if not isinstance(value, int) or isinstance(value, bool):
        raise wrong(name, "must be a whole number")
    if (least is not None and value < least) or (most is not None and value > most):
        raise wrong(name, f"must be {least} or more" + (f", {most} at most" if most else ""))
    return value


def _number(raw: Mapping[str, Any], name: str, least: float, most: float) -> float | None:
    value = raw.get(name)
    if value is None:
        return None
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise wrong(name, "must be a number")
    if not least <= value <= most:
        raise wrong(name, f"must be from {least:g} to {most:g}")
    return float(value)
