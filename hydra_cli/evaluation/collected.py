"""What methods answered, and the sums their metrics are made of."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from hydra_cli.core.metrics import Metric, quality
from hydra_cli.core.records import Query, Usage
from hydra_cli.core.tasks import TaskSpec
from hydra_cli.evaluation.methods import Method
from hydra_cli.evaluation.questions import Key

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Prediction:
    """One scored answer. ``quality`` is its grade in [0, 1], ``records`` the history's length."""

    key: Key
    seed: int
    text: str
    quality: float
    records: int


@dataclass(slots=True)
class Collected:
    """One method's answers over all queries and seeds.

    ``setup`` is what it spent before the first query: labels, fits, summaries.
    ``missing`` counts answers that failed, ``error`` says why the first did.
    """

    method: Method
    predictions: list[Prediction] = field(default_factory=list)
    rows: dict[str, list[Floats]] = field(default_factory=dict)
    missing: list[Key] = field(default_factory=list)
    usage: Usage = field(default_factory=Usage)
    setup: Usage = field(default_factory=Usage)
    own_seconds: float = 0.0
    error: str | None = None
    cut: int = 0
    """Answers that the limit of tokens ended, not the LLM."""
    stages: dict[str, tuple[bool, bool, bool]] = field(default_factory=dict)
    """For each user, whether reranker and adapter acted, and whether records were shown."""

    def add(self, prediction: Prediction, metrics: tuple[Metric, ...], reference: str) -> None:
        self.predictions.append(prediction)
        for metric in metrics:
            row = metric.score(prediction=prediction.text, reference=reference)
            self.rows.setdefault(metric.name, []).append(row)

    def miss(self, key: Key, why: str) -> None:
        self.missing.append(key)
        self.error = self.error or why


def as_prediction(text: str, query: Query, task: TaskSpec) -> str:
    """A raw answer as it is scored: a valid label where it names one, else as it stands."""
    return task.parse(text, query.labels) or text.strip()


def best_of(texts: list[str], reference: str, query: Query, task: TaskSpec) -> str:
    """The oracle's pick: the answer that its reference grades best."""
    return max(
        texts,
        key=lambda text: quality(
            prediction=as_prediction(text, query, task), reference=reference, task=task
        ),
    )
