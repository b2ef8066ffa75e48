"""JSON Schemas of chat completions: what ``bodies`` reads, and what comes back."""

from __future__ import annotations

from typing import Any

from hydra_cli.serving.schemas import COUNT, TEXT, Schema, object_of

MOST_CHOICES = 128
ROLES = ("system", "developer", "user", "assistant", "tool", "function")
OF_RESPONSES = ("input_text", "input_image", "input_file", "output_text")
OF_ANTHROPIC = ("tool_use", "tool_result", "thinking")


def _told(description: str, schema: Schema) -> Schema:
    return {"description": description, **schema}


def _or_null(kind: str, **more: Any) -> Schema:
    """Null is as good as absent in every field of a request."""
    return {"type": [kind, "null"], **more}


_LIMIT = _or_null("integer", minimum=1)
_OBJECTS = _or_null("array", items={"type": "object"})
_FLAG = _or_null("boolean")
_NAME = _or_null("string")

TEXT_PART = object_of(type={"const": "text"}, text=TEXT, required=("type", "text"))
OTHER_PART = _told(
    "image_url, input_audio, file ...: only the LLM itself reads these",
    object_of(
        type={"type": "string", "not": {"enum": ["text", *OF_RESPONSES, *OF_ANTHROPIC]}},
        required=("type",),
    ),
)
MESSAGE = object_of(
    role={"enum": list(ROLES)},
    content={
        "anyOf": [
            {"type": ["string", "null"]},
            {"type": "array", "items": {"anyOf": [TEXT_PART, OTHER_PART]}},
        ]
    },
    name=_told("Who speaks, where several share a role.", _NAME),
    tool_calls=_told("What an assistant's message asked tools for.", _OBJECTS),
    tool_call_id=_told("What a tool's message answers.", {}),
    required=("role",),
)

REQUEST: Schema = {
    **object_of(
        model=_told(
            "hydra/<model> or hydra/<model>@<task> is personal, <model> passes through",
            {"type": "string", "pattern": r"\S", "examples": ["hydra/openai/gpt-4o-mini"]},
        ),
        messages=_told(
            "The last one, the user's, is the query; the others are kept.",
            {"type": "array", "items": MESSAGE, "minItems": 1},
        ),
        user=_told("Whose answer is asked for; the header x-hydra-user comes first.", _NAME),
        safety_identifier=_told("The same as user, and comes before it.", _NAME),
        stream=_told("Chunks as server-sent events in place of one object.", _FLAG),
        stream_options=_or_null(
            "object",
            properties={"include_usage": _told("A last chunk says what was used.", _FLAG)},
        ),
        n=_told(
            "How many choices, the best first.",
            _or_null("integer", minimum=1, maximum=MOST_CHOICES),
        ),
        temperature=_or_null("number", minimum=0, maximum=2),
        top_p=_or_null("number", minimum=0, maximum=1),
        max_completion_tokens=_LIMIT,
        max_tokens=_told("The older name of max_completion_tokens.", _LIMIT),
        stop={"anyOf": [_NAME, {"type": "array", "items": TEXT}]},
        seed=_or_null("integer"),
        tools=_told(
            "Makes the LLM itself answer unless tool_choice is none, as do the fields below.",
            _OBJECTS,
        ),
        tool_choice={},
        functions=_told("The older name of tools.", _OBJECTS),
        response_format=_told("text is personal; json_object, json_schema ...", _or_null("object")),
        logprobs=_FLAG,
        top_logprobs=_or_null("integer", minimum=0),
        modalities=_told("text is personal.", _or_null("array", items=TEXT)),
        audio=_or_null("object"),
        required=("model", "messages"),
    ),
    "description": "Any other field goes to the LLM as it is.",
    # Fields of other protocols.
    "not": {"required": ["system"]},
}

_USAGE = _told(
    "Tokens of all calls that the answer took.",
    object_of(prompt_tokens=COUNT, completion_tokens=COUNT, total_tokens=COUNT),
)
HYDRA = _told(
    "How the answer came about; absent where a model passes through.",
    object_of(
        answer_id=_told("What feedback names; null where it isn't personal.", _NAME),
        user=_NAME,
        task=_NAME,
        personal={"type": "boolean"},
        why_not=_told("Why it is the LLM's own answer.", _NAME),
        stages=object_of(
            records={"type": "boolean"}, rerank={"type": "boolean"}, adapt={"type": "boolean"}
        ),
        answers=_told("How many answers there were to choose from.", COUNT),
        explain=_told("With the header x-hydra-explain: 1.", {"type": "object"}),
        required=("personal", "why_not", "user", "task", "answer_id"),
    ),
)


def _choice(**said: Schema) -> Schema:
    return object_of(index=COUNT, finish_reason=_NAME, required=("index",), **said)


def _response(kind: str, choice: Schema, required: tuple[str, ...]) -> Schema:
    return object_of(
        id=TEXT,
        object={"const": kind},
        created=COUNT,
        model=TEXT,
        choices={"type": "array", "items": choice},
        usage=_USAGE,
        hydra=HYDRA,
        required=required,
    )


_SAID = object_of(
    role={"const": "assistant"},
    content=_NAME,
    refusal=_NAME,
    tool_calls={"type": "array", "items": {"type": "object"}},
)
COMPLETION = _response(
    "chat.completion", _choice(message=_SAID), ("id", "object", "created", "model", "choices")
)
CHUNK = _response("chat.completion.chunk", _choice(delta=_SAID), ("id", "object", "choices"))
