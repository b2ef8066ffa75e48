"""Answers as they are kept, and what people said about them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from hydra_cli.core.sortable_ids import is_id

ANSWER_ID, FEEDBACK_ID = "ans", "fb"
"""What the ids of answers and of feedback begin with."""

_DIGITS = 6
"""Decimal places of kept scores and features: more would be noise, and long files."""


@dataclass(frozen=True, slots=True)
class KeptCandidate:
    """An answer that could have been shown. ``features`` are those that its scorer saw."""

    text: str
    score: float
    sample: int | None = None
    features: tuple[float, ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class KeptAnswer:
    """An answer with what led to it, as far as feedback on it needs that.

    ``candidates`` stand best first, ``text`` is what was shown of the first. ``evidence``
    are the ids of the records in the prompt: their texts are the store's alone.
    ``stages`` says whose weights answered and which stages acted, ``known`` what
    other pipelines would have answered, where that is known.
    ``feature_set`` names what the candidates' features mean.
    """

    id: str
    user: str
    task: str
    recipe: str
    query: str
    text: str
    time: datetime
    candidates: tuple[KeptCandidate, ...]
    evidence: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    model: str | None = None
    n: int = 0
    stages: Mapping[str, Any] = field(default_factory=dict)
    known: Mapping[str, str] = field(default_factory=dict)
    feature_set: str = ""

    def as_mapping(self) -> dict[str, Any]:
        """Plain values, for JSON; ``of`` reads them back."""
        return {**asdict(self), "time": self.time.isoformat()}

    @staticmethod
    def of(values: Mapping[str, Any]) -> KeptAnswer:
        """From plain values; ValueError, KeyError or TypeError where they make no sense."""
        made = KeptAnswer(
            **{
                **values,
                "time": aware(values["time"]),
                "candidates": tuple(map(_candidate, values["candidates"])),
                "evidence": tuple(values["evidence"]),
                "labels": tuple(values["labels"]),
            }
        )
        texts = [made.user, made.task, made.recipe, made.query, made.text, made.feature_set]
        texts += [*made.evidence, *made.labels, *(one.text for one in made.candidates)]
        if not is_id(made.id, ANSWER_ID) or not all(isinstance(text, str) for text in texts):
            raise ValueError("no answer")
        return made


def _candidate(values: Mapping[str, Any]) -> KeptCandidate:
    features = tuple(map(float, values["features"]))
    return KeptCandidate(
        **{**values, "score": float(values["score"]), "features": features},
    )


def aware(text: str) -> datetime:
    """A time with its zone; ValueError for one without."""
    time = datetime.fromisoformat(text)
    if time.tzinfo is None:
        raise ValueError(f"{text} has no time zone")
    return time


def rounded(value: float) -> float:
    """As scores and features are kept."""
    return round(float(value), _DIGITS)
