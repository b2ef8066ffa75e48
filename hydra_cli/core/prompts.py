"""A query and its evidence as chat messages, within a token budget."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence

from hydra_cli.core.conversation import Conversation
from hydra_cli.core.protocols import Message
from hydra_cli.core.records import Query, Record, Scored
from hydra_cli.core.tasks import TaskSpec

CONTEXT_TOKENS = 3000
"""Room for a prompt where nothing is known about the LLM's context window."""
CONVERSATION_TOKENS = 2 * CONTEXT_TOKENS
"""The same for a prompt that a conversation is part of, which leaves evidence less room."""
_ANSWER_ROOM = CONTEXT_TOKENS // 2
"""The most of it that is kept free for an answer."""
_WORD = re.compile(r"\S+")


def estimate_tokens(text: str) -> int:
    """A tokenizer-free upper guess: English runs at about 4 characters a token."""
    return len(text) // 3 + 4


def build_messages(
    query: Query,
    evidence: Sequence[Scored[Record]],
    task: TaskSpec,
    *,
    budget: int = CONTEXT_TOKENS,
    count_tokens: Callable[[str], int] = estimate_tokens,
    profile: str = "",
) -> tuple[Message, ...]:
    """The prompt: instruction, evidence as chat turns (worst first), the query.

    The best record stands next to the query, where an LLM reads it last. When
    the budget is short, the worst records go first, then the query's end.
    Line breaks and indents of records and query stay as they are.
    ``profile`` is a summary of the user, as PAG puts it before the records.
    """
    system = _instruction(query, task)
    if profile:
        system = f"{system}\nAbout the user: {profile}"
    text = cut_words(query.text, task.input_words)
    room = budget - count_tokens(system) - min(task.answer_tokens, _ANSWER_ROOM)
    while count_tokens(text) > room and len(text) > 40:
        text = re.sub(r"\s\S*\Z", "", text[: int(len(text) * 0.8)])
    turns = _turns(evidence, task, room - count_tokens(text), count_tokens)
    return ({"role": "system", "content": system}, *turns, {"role": "user", "content": text})


def conversation_messages(
    query: Query,
    evidence: Sequence[Scored[Record]],
    task: TaskSpec,
    conversation: Conversation,
    *,
    budget: int = CONVERSATION_TOKENS,
    count_tokens: Callable[[str], int] = estimate_tokens,
) -> tuple[Message, ...]:
    """The prompt of a chat: its system prompt, evidence as turns, its turns, its query.

    Nothing of the conversation is cut: when the budget is short, evidence gives way.
    A chat without a system prompt has the task's instruction. A query that nothing
    came before is ``build_messages``'.
    """
    if conversation.bare:
        return build_messages(query, evidence, task, count_tokens=count_tokens)
    system = conversation.system or _instruction(query, task)
    said = [system, conversation.query, *(turn["content"] for turn in conversation.earlier)]
    room = budget - sum(map(count_tokens, said)) - min(task.answer_tokens, _ANSWER_ROOM)
    turns = _turns(evidence, task, room, count_tokens)
    return (
        {"role": "system", "content": system},
        *turns,
        *conversation.earlier,
        {"role": "user", "content": conversation.query},
    )


def _instruction(query: Query, task: TaskSpec) -> str:
    """What is to be done, with the labels to choose from."""
    system = query.instruction or task.instruction
    labels = query.labels or task.labels
    if labels and task.kind == "classification":
        return f"{system} Choose from: {', '.join(labels)}."
    return system


def _turns(
    evidence: Sequence[Scored[Record]],
    task: TaskSpec,
    room: int,
    count_tokens: Callable[[str], int],
) -> list[Message]:
    """The best records for which there is room, as chat turns, worst first."""
    turns: list[tuple[Message, Message]] = []
    for scored in evidence:
        shown = cut_words(scored.item.input, task.input_words)
        output = plain_breaks(scored.item.output)
        needed = count_tokens(shown) + count_tokens(output)
        if needed > room:
            break
        room -= needed
        turns.append(({"role": "user", "content": shown}, {"role": "assistant", "content": output}))
    return [message for turn in reversed(turns) for message in turn]


def cut_words(text: str, words: int) -> str:
    """The first words in their layout, with the cut shown."""
    text = plain_breaks(text).strip()
    for place, word in enumerate(_WORD.finditer(text), 1):
        if place == words and word.end() < len(text):
            return text[: word.end()] + " …"
    return text


def plain_breaks(text: str) -> str:
    """The text with its line breaks as LLMs write them."""
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


def random_evidence(
    history: Sequence[Record], query: Query, k: int, *, seed: int
) -> list[Scored[Record]]:
    """k records by chance, the same ones for the same query and seed (the ICL baseline)."""
    chooser = random.Random(f"{seed}\0{query.user}\0{query.id}")
    chosen = chooser.sample(list(history), min(k, len(history)))
    return [Scored(record, 0.0) for record in chosen]
