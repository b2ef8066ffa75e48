"""Answers as OpenAI's objects, with the field ``hydra`` that says how they came about."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hydra_cli.core.records import Answer, Usage
from hydra_cli.pipeline.answering import Draft
from hydra_cli.shown import words

ANSWER_HEADER = "x-hydra-answer-id"
EXPLAIN_HEADER = "x-hydra-explain"


@dataclass(frozen=True, slots=True)
class Reply:
    """What the objects of one response share. ``model`` is the name that was asked for."""

    model: str
    id: str = field(default_factory=lambda: f"chatcmpl-{secrets.token_hex(12)}")
    created: int = field(default_factory=lambda: int(time.time()))

    def whole(self, choices: Sequence[tuple[str, str]], usage: Usage) -> dict[str, Any]:
        """A ``chat.completion`` of texts and why they ended."""
        return {
            **self._head("chat.completion"),
            "choices": [
                {
                    "index": index,
                    "message": {"role": "assistant", "content": text, "refusal": None},
                    "logprobs": None,
                    "finish_reason": finish,
                }
                for index, (text, finish) in enumerate(choices)
            ],
            "usage": usage_of(usage),
        }

    def chunk(
        self, index: int, delta: Mapping[str, Any], finish: str | None = None
    ) -> dict[str, Any]:
        """A ``chat.completion.chunk`` of one choice."""
        choice = {"index": index, "delta": dict(delta), "logprobs": None, "finish_reason": finish}
        return {**self._head("chat.completion.chunk"), "choices": [choice]}

    def usage_chunk(self, usage: Usage) -> dict[str, Any]:
        """The last chunk of a stream that was asked for its usage."""
        return {**self._head("chat.completion.chunk"), "choices": [], "usage": usage_of(usage)}

    def _head(self, kind: str) -> dict[str, Any]:
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model}


def usage_of(usage: Usage) -> dict[str, int]:
    """The tokens of every call that the answer took."""
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    }


def choices_of(draft: Draft, answer: Answer, wanted: int) -> list[tuple[str, str]]:
    """The best answers as the user reads them, and why each ended."""
    best = [answer.candidates[place : place + 1] for place in range(len(answer.candidates))]
    return [
        (draft.text_of(list(one)), "length" if one[0].item.cut else "stop") for one in best[:wanted]
    ]


def personal(draft: Draft, answer: Answer) -> dict[str, Any]:
    """The field ``hydra`` of a personal answer."""
    query, stages = answer.query, draft.personal
    return {
        "answer_id": answer.id,
        "user": query.user,
        "task": query.task,
        "personal": True,
        "why_not": None,
        "stages": {
            "records": draft.shown > 0,
            "rerank": stages.rerank and draft.shown > 0,
            "adapt": stages.adapt or draft.request is None,
        },
        "answers": len(answer.details["answers"]),
        "calls": {"made": answer.usage.calls, "cached": answer.usage.cached_calls},
        "told": words.explained(answer.standing, draft.task),
        "in_short": words.of_answer(answer),
    }


def plain(why_not: str, user: str | None = None, task: str | None = None) -> dict[str, Any]:
    """The same of an answer that is the LLM's own."""
    return {
        "answer_id": None,
        "user": user,
        "task": task,
        "personal": False,
        "why_not": why_not,
        "stages": {"records": False, "rerank": False, "adapt": False},
        "answers": 1,
        "told": {},
    }


def explanation(draft: Draft, answer: Answer) -> dict[str, Any]:
    """Records, candidates, verdicts, prompt and times, for whoever asks why."""
    return {
        "records": [
            {
                "id": scored.item.id,
                "input": scored.item.input,
                "output": scored.item.output,
                "score": scored.score,
                "time": scored.item.time.isoformat() if scored.item.time else None,
            }
            for scored in answer.evidence[: draft.shown]
        ],
        "candidates": [
            {
                "text": scored.item.text,
                "score": scored.score,
                "sample": scored.item.sample,
                "logprob": scored.item.logprob,
            }
            for scored in answer.candidates
        ],
        "verdicts": {"source": answer.standing.source, **answer.standing.gate.card},
        "messages": list(answer.details["messages"]),
        "seconds": dict(answer.seconds),
    }
