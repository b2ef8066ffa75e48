"""The kept answers of an LLM, as far as the store has to do with them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path


def forget_answers(path: Path, users: Iterable[str]) -> None:
    """Erase what these users alone asked, where there is a cache at all."""
    if not path.is_file():
        return
    from hydra_cli.llm.answer_cache import AnswerCache

    cache = AnswerCache(path)
    try:
        for user in sorted(users):
            cache.forget(user)
    finally:
        cache.close()
