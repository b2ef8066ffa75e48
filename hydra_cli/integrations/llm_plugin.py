"""``hydra/...`` for Simon Willison's ``llm``: answers as one of the store's users would give.

::

    $ llm -m hydra "Is the mug safe in a dishwasher?" -o user mia
    $ llm -m hydra -o model openai/gpt-4o-mini -o user mia "..."
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import llm
from pydantic import Field

from hydra_cli.core.conversation import Conversation
from hydra_cli.core.errors import HydraError
from hydra_cli.core.protocols import Message

PREFIX = "hydra"


class HydraModel(llm.Model):
    """The LLM that the store's settings name, or another one, answering as a user would."""

    can_stream = False

    class Options(llm.Options):
        """What ``-o`` takes."""

        user: str | None = Field(None, description="Whose answer (default: the only user)")
        task: str | None = Field(None, description="The task (default: the user's largest)")
        model: str | None = Field(None, description="Any litellm model name")
        k: int | None = Field(None, ge=0, description="Records in the prompt")
        n: int | None = Field(None, ge=0, description="Answers to choose from")
        store: str | None = Field(None, description="The store's folder")

    def __init__(self, model_id: str, answering: str | None = None) -> None:
        self.model_id = model_id
        self._answering = answering

    def __str__(self) -> str:
        return f"hydra-pers: {self.model_id}"

    def execute(
        self,
        prompt: llm.Prompt,
        stream: bool,
        response: llm.Response,
        conversation: llm.Conversation | None = None,
    ) -> Iterator[str]:
        """The winner in one piece: it is known once all answers are there."""
        from hydra_cli.integrations.shared import shared_hydra

        options = prompt.options
        said = _conversation(prompt)
        try:
            hydra = shared_hydra(Path(options.store) if options.store else None)
            answer = hydra.ask(
                said.query,
                user=options.user,
                task=options.task,
                model=options.model or self._answering,
                conversation=said,
                **{name: getattr(options, name) for name in ("k", "n")},
            )
        except HydraError as error:
            told = f"{error.message} ({error.hint})" if error.hint else error.message
            raise llm.ModelError(told) from error
        usage = answer.usage
        response.set_usage(input=usage.prompt_tokens, output=usage.completion_tokens)
        response.response_json = {
            "answer_id": answer.id,
            "user": answer.query.user,
            "task": answer.query.task,
            "model": answer.details.get("model"),
        }
        yield answer.text


def _conversation(prompt: llm.Prompt) -> Conversation:
    """The chat so far, as ``llm`` would send it."""
    system: list[str] = []
    turns: list[Message] = []
    for message in prompt.messages:
        text = "\n".join(getattr(part, "text", None) or "" for part in message.parts).strip()
        if message.role == "system":
            system.append(text)
        elif message.role == "assistant":
            turns.append({"role": "assistant", "content": text})
        elif message.role == "user":
            turns.append({"role": "user", "content": text})
    if not turns or turns[-1]["role"] != "user" or not turns[-1]["content"]:
        raise llm.ModelError("the prompt is empty")
    return Conversation(turns[-1]["content"], "\n\n".join(system) or None, tuple(turns[:-1]))


@llm.hookimpl
def register_models(register: Callable[..., Any]) -> None:
    """``hydra/<the settings' model>``, for short ``hydra``."""
    answering = _settings_model()
    name = f"{PREFIX}/{answering}" if answering else PREFIX
    register(HydraModel(name, answering), aliases=(PREFIX,) if answering else ())


def _settings_model() -> str | None:
    """None where the settings can't be read: asking says why, other models still work."""
    from hydra_cli.wiring import load_settings

    try:
        return load_settings().model
    except (HydraError, OSError):
        return None
