"""How well an output matches a reference, in [0, 1]: the grade behind every label."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from hydra_cli.core.tasks import TaskSpec

if TYPE_CHECKING:
    from rouge_score.rouge_scorer import RougeScorer


def grade(*, prediction: str, reference: str, task: TaskSpec) -> float:
    """1 for the same label; 1 - distance/range for ratings; else (ROUGE-1 + ROUGE-L)/2.

    An unparsable rating or label grades 0.
    """
    if task.kind == "generation":
        one, longest = rouge(prediction=prediction, reference=reference)
        return (one + longest) / 2
    parsed = task.parse(prediction, task.labels or (reference,))
    if parsed is None:
        return 0.0
    if task.kind == "rating":
        values = [float(label) for label in task.labels]
        span = (max(values) - min(values)) or 1.0
        return 1.0 - abs(float(parsed) - float(reference)) / span
    return float(parsed == reference)


def rouge(*, prediction: str, reference: str) -> tuple[float, float]:
    """F1 of ROUGE-1 and ROUGE-L with Porter stemming, as LaMP scores generation."""
    found = _scorer().score(reference, prediction)
    return found["rouge1"].fmeasure, found["rougeL"].fmeasure


@lru_cache(maxsize=1)
def _scorer() -> RougeScorer:
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer(["rouge1", "rougeL"], use_stemmer=True)
