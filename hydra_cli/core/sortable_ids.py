"""Ids that sort by the time they were made and that nobody can guess."""

from __future__ import annotations

import re
import secrets
import time

ANSWER_ID = "ans"
"""What the ids of answers begin with."""

_DIGITS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
"""Crockford's base 32: no I, L, O or U, so that people can read them aloud."""
_LENGTH = 26
_RANDOM_BITS = 80


def new_id(prefix: str) -> str:
    """``prefix_`` and 26 characters: 48 bits of the time in milliseconds, 80 random ones.

    The layout is that of a ULID.
    """
    value = time.time_ns() // 1_000_000 << _RANDOM_BITS | secrets.randbits(_RANDOM_BITS)
    digits = (_DIGITS[value >> 5 * place & 31] for place in reversed(range(_LENGTH)))
    return f"{prefix}_{''.join(digits)}"


def is_id(text: str, prefix: str) -> bool:
    """Whether ``new_id(prefix)`` could have made the text."""
    return re.fullmatch(rf"{prefix}_[{_DIGITS}]{{{_LENGTH}}}", text) is not None
