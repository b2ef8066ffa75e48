"""Answers of the embedded LLM as litellm has them: chunks, log-probabilities, usage."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from typing import Any

from hydra_cli.llm.litellm_loading import load_litellm
from hydra_cli.llm.local_chat import LocalAnswers
from hydra_cli.llm.local_decoding import Generated, Part

Decode = Callable[[list[int]], Any]
litellm: Any = load_litellm()


class ChunkMaker:
    """Makes one stream's chunks."""

    def __init__(self, model: str, decode: Decode, logprobs: bool) -> None:
        self._head = {"id": f"chatcmpl-{secrets.token_hex(12)}", "model": model}
        self._decode = decode
        self._logprobs = logprobs
        self._begun: set[int] = set()

    def of_part(self, part: Part) -> Any:
        """The next text of one answer."""
        told = {"logprobs": logprobs_of(part, self._decode)} if self._logprobs else {}
        return self._chunk(part.place, {"content": part.text}, None, **told)

    def end(self, place: int, finish: str) -> Any:
        """Why an answer ended."""
        return self._chunk(place, {}, finish)

    def usage(self, usage: Mapping[str, int]) -> Any:
        """What all answers used."""
        return litellm.ModelResponseStream(**self._head, choices=[], usage=litellm.Usage(**usage))

    def _chunk(self, place: int, delta: dict[str, Any], finish: str | None, **told: Any) -> Any:
        if place not in self._begun:
            self._begun.add(place)
            delta = {"role": "assistant", **delta}
        choice = litellm.types.utils.StreamingChoices(
            index=place, delta=litellm.types.utils.Delta(**delta), finish_reason=finish, **told
        )
        return litellm.ModelResponseStream(**self._head, choices=[choice])


def wants_logprobs(parameters: Mapping[str, Any]) -> bool:
    return bool(parameters.get("logprobs"))


def logprobs_of(answer: Generated | Part, decode: Decode) -> dict[str, Any]:
    """The log-probability of each token, as OpenAI has it."""
    return {
        "content": [
            {"token": decode([token]), "logprob": logprob, "top_logprobs": []}
            for token, logprob in zip(answer.ids, answer.logprobs, strict=True)
        ]
    }


def usage_of(made: LocalAnswers) -> dict[str, int]:
    """The tokens of the prompt, read once, and of all answers."""
    completion = sum(len(answer.ids) for answer in made.answers)
    return {
        "prompt_tokens": made.prompt_tokens,
        "completion_tokens": completion,
        "total_tokens": made.prompt_tokens + completion,
    }
