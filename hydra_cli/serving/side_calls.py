"""Questions that a chat front-end asks for itself: a title for the chat, tags, what to ask next.

Told by how the prompts begin that the front-ends ship with: what a user writes about
titles and conversations stays a user's question.
"""

from __future__ import annotations

import re

_CHAT = re.compile(r"<chat_history>|^#+ Chat History", re.MULTILINE)
_LIBRE_CHAT = (
    re.compile(r"5-word-or-less title for the conversation"),
    re.compile(r"^analyze this conversation and provide:\s+1\. the detected language"),
    re.compile(r"^please generate a concise title \(max 40 characters\) for a conversation"),
)
_BEGINNING = 300
"""Characters in which a prompt has said what it wants."""


def is_side_call(text: str) -> bool:
    """Whether the last message is a front-end's own question about the chat."""
    beginning = text.lstrip()[:_BEGINNING]
    # Open WebUI heads its prompts with the task and ends them with the chat so far.
    if beginning.startswith("### Task:"):
        return _CHAT.search(text) is not None
    return any(sign.search(beginning.lower()) for sign in _LIBRE_CHAT)
