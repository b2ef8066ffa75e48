"""What was said before a query, and how its sender wants it answered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hydra_cli.core.protocols import Message


@dataclass(frozen=True, slots=True)
class Conversation:
    """A chat whose last message, the user's, is the query.

    ``system`` is the client's own system prompt, which takes the place of the task's
    instruction; ``earlier`` are the turns between it and the query, as they were said.
    """

    query: str
    system: str | None = None
    earlier: tuple[Message, ...] = ()

    @property
    def bare(self) -> bool:
        """Whether it is the query and nothing else."""
        return not self.system and not self.earlier


@dataclass(frozen=True, slots=True)
class Wishes:
    """How a client wants its answers drawn; None leaves it to the pipeline.

    ``n`` is how many answers it wants to see, ``extra`` whatever else it sends along
    to the LLM, by the names of OpenAI's chat completions.
    """

    n: int = 1
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
