"""A provider's words, safe to show: no key, nothing of a prompt."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

from hydra_cli.core.protocols import Message

_SECRET = re.compile(
    r"(?:sk|pk|rk|gsk|xai|hf|key|AIza|ghp|glpat)[-_][\w*.-]{6,}|AIza[\w-]{10,}"
    r"|Bearer\s+\S+|\b(?=\w*\d)(?=\w*[A-Za-z])[\w-]{24,}\b",
)
_CLASS_NAMES = re.compile(r"^(?:(?:litellm\.)?\w*(?:Error|Exception)(?::| -)\s*)+")
_SHARED = 16
"""Characters in a row that an error and a prompt don't share by chance."""


def safe_excerpt(text: str, messages: Sequence[Message] = (), *, limit: int = 160) -> str:
    """The provider's own words without keys; nothing where they quote the prompt."""
    text = " ".join(text.split())
    text = _CLASS_NAMES.sub("", text)
    for secret in _secrets():
        text = text.replace(secret, "[redacted]")
    text = _SECRET.sub("[redacted]", text)
    lowered = text.lower()
    for message in messages:
        content = " ".join(message["content"].lower().split())
        pieces = range(0, max(1, len(content) - _SHARED + 1))
        if any(content[i : i + _SHARED] in lowered for i in pieces if content):
            return ""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _secrets() -> list[str]:
    """Values of environment variables that hold keys."""
    names = ("KEY", "TOKEN", "SECRET", "PASSWORD", "CREDENTIAL")
    return [
        value
        for name, value in os.environ.items()
        if len(value) >= 6 and any(part in name.upper() for part in names)
    ]
