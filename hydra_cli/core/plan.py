"""How a query is answered: each setting of the pipeline, declared and bounded once.

Flags, environment, config file and Python all fill the same ``AnswerPlan``; its
fields carry their help and their bounds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

from hydra_cli.core.errors import UsageError

RETRIEVERS = ("bm25", "dense", "fused", "recency")
"""The first stages of ``core.retrieval``."""

MOST_ANSWERS = 8
"""Answers drawn for a choice among them, unless the gate or the user says otherwise."""

FirstStage = tuple[tuple[str, Any], ...]
"""A recipe's own first stage, as settings of an ``AnswerPlan`` with their values."""


def setting(
    default: Any,
    about: str,
    *,
    least: float | None = None,
    choices: Sequence[str] = (),
    told: str = "",
) -> Any:
    """A field with its help, its least value or its choices; ``told`` is its default in words."""
    return field(
        default=default,
        metadata={"about": about, "least": least, "choices": choices, "told": told},
    )


@dataclass(frozen=True, slots=True)
class AnswerPlan:
    """The pipeline's settings. UsageError for a value out of bounds.

    ``shortlist`` records are reranked, ``k`` of them are shown, ``n`` answers are
    drawn (None: as many as the gate found worth their calls, else ``MOST_ANSWERS``);
    ``sequential`` stops drawing once the winner is clear.
    """

    retriever: str = setting("fused", "First stage", choices=RETRIEVERS)
    k: int = setting(4, "Records in the prompt", least=0)
    n: int | None = setting(
        None,
        "Answers to choose from, 0 for none (labels and ratings)",
        least=0,
        told="8, or fewer where more win nothing",
    )
    shortlist: int = setting(20, "Records to rerank", least=1)
    temperature: float = setting(0.5, "Temperature of the n answers", least=0.0)
    seed: int = setting(0, "Seed of everything drawn by chance")
    sequential: bool = setting(False, "Stop sampling when the winner is clear")

    def __post_init__(self) -> None:
        for item in fields(AnswerPlan):
            check_bounds(item.name, getattr(self, item.name))

    @property
    def answers(self) -> int:
        """How many are drawn where an LLM is asked and nothing says that fewer do."""
        return self.n or MOST_ANSWERS

    def with_first_stage(self, first_stage: FirstStage) -> AnswerPlan:
        """The plan on a recipe's own first stage, which its base was trained on."""
        return replace(self, **dict(first_stage))


_SETTINGS = {item.name: item for item in fields(AnswerPlan)}


def about(name: str) -> str:
    """A setting's help, with its choices."""
    item = _SETTINGS[name]
    choices = item.metadata["choices"]
    return (
        f"{item.metadata['about']}: {', '.join(choices)}."
        if choices
        else (f"{item.metadata['about']}.")
    )


def default(name: str) -> Any:
    """A setting's default, in words where it is no value."""
    item = _SETTINGS[name]
    return item.metadata["told"] or item.default


def check_bounds(name: str, value: Any, *, where: str = "") -> None:
    """UsageError where the value is out of the setting's bounds; ``where`` says what set it."""
    bounds = _SETTINGS[name].metadata
    choices, least = bounds["choices"], bounds["least"]
    if value is None:  # as the default has it
        return
    if choices and value not in choices:
        raise UsageError(f"{where}{name} can't be {value!r}", hint=f"one of {', '.join(choices)}")
    if least is not None and not value >= least:
        raise UsageError(f"{where}{name} can't be {value!r}: it must be at least {least:g}")
