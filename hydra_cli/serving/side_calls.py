"""Questions that a chat front-end asks for itself: a title for the chat, tags, what to ask next.

Told by how the prompts begin that the front-ends ship with: what a user writes about
titles and conversations stays a user's question.
"""

from __future__ import annotations

import re

_CHAT = re.compile(r"<chat_history>|^#+ Chat History", re.MULTILINE)
_EMOJI = "your task is to reflect the speaker's likely facial expression"
_LIBRE_CHAT = (
    re.compile(r"5-word-or-less title for the conversation"),
    re.compile(r"^analyze this conversation and provide:\s+1\. the detected language"),
    re.compile(r"^please generate a concise title \(max 40 characters\) for a conversation"),
)
_BEGINNING = 300
"""Characters in which a prompt has said what it wants."""


def is_side_call(text: str, system: str = "") -> bool:
    """Whether the last message, after that system prompt, is a front-end's own question."""
    beginning = text.lstrip()[:_BEGINNING]
    # Open WebUI heads its prompts with the task and ends them with the chat so far.
    if beginning.startswith("### Task:"):
        return _CHAT.search(text) is not None
    # Which tool to call, where the model isn't trusted to know.
    if system.lstrip().startswith("Available Tools:"):
        return beginning.startswith(("Query:", "History:"))
    lower = beginning.lower()
    return lower.startswith(_EMOJI) or any(sign.search(lower) for sign in _LIBRE_CHAT)
