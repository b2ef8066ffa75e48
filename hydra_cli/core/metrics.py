"""Metrics with the field's own meaning, as sums over queries.

Each metric is a row of numbers a query adds, and a function of the rows' sum.
So a bootstrap over users is one matrix product, whatever the metric.

Definitions follow LaMP (arXiv 2304.11406):

* macro-F1 averages over the task's whole label set; a label that nobody
  predicted and no reference holds counts 0, as scikit-learn counts it.
* a rating that is no number counts as the end of the scale that is farther
  from the reference; so does a number off the scale, which LaMP lets count as it is.
* ROUGE is the F1 without stemming, on lower-cased runs of letters and digits.

BLEU is sacrebleu's corpus BLEU. METEOR is nltk's with exact and stem matches;
WordNet synonyms are left out, since their data would have to be downloaded,
so scores are a little lower than with them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from hydra_cli.core import similarity
from hydra_cli.core.tasks import TaskSpec

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

BLEU_ORDER = 4
_METEOR_TOKEN = re.compile(r"\w+|[^\w\s]")


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric of one task.

    ``row`` gives the numbers (s,) that one prediction adds to a reference, None
    where they need more than both; ``value`` turns their sums (..., s) into the
    metric (...). ``primary`` metrics are those the task is compared by. ``smooth``:
    the percentile bootstrap holds for it.
    """

    name: str
    higher: bool
    primary: bool
    row: Callable[[str, str], Floats] | None
    value: Callable[[Floats], Floats]
    smooth: bool = True

    def score(self, *, prediction: str, reference: str) -> Floats:
        assert self.row is not None, f"{self.name} needs more than a prediction and a reference"
        return self.row(prediction, reference)


def metrics_for(task: TaskSpec, references: Iterable[str] = ()) -> tuple[Metric, ...]:
    """The task's metrics, primary ones first.

    ``references`` completes the label set of a classification that declares none.
    """
    if task.kind == "rating":
        return (
            Metric("MAE", False, True, _absolute_error(task), mean),
            Metric("RMSE", False, True, _squared_error(task), _root_mean),
        )
    if task.kind == "classification":
        labels = tuple(dict.fromkeys((*task.labels, *sorted(set(references)))))
        return (
            Metric("accuracy", True, True, _same, mean),
            Metric("macro-F1", True, False, _label_counts(labels), _macro_f1, smooth=False),
        )
    return (
        Metric("ROUGE-1", True, True, _rouge(0), mean),
        Metric("ROUGE-L", True, True, _rouge(1), mean),
        Metric("BLEU", True, False, _bleu_row, _bleu),
        Metric("METEOR", True, False, _meteor_row, mean),
    )


def quality(*, prediction: str, reference: str, task: TaskSpec) -> float:
    """``similarity.grade`` with ROUGE remembered: every method meets the same answers."""
    if task.kind == "generation":
        return sum(rouge(prediction, reference)) / 2
    if task.kind == "rating":
        return similarity.rating_quality(prediction, reference, task)
    return float(prediction.strip() == reference.strip())


@lru_cache(maxsize=100_000)
def rouge(prediction: str, reference: str) -> tuple[float, float]:
    """ROUGE-1 and ROUGE-L, F1, without stemming, as LaMP scores answers."""
    return similarity.rouge(prediction=prediction, reference=reference, stemmed=False)


def log_gain(value: Floats, baseline: Floats, *, higher: bool) -> Floats:
    """The log of the ratio to the baseline, positive where better; nan where that is 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        change = np.log(value) - np.log(baseline)
        gain: Floats = np.where(baseline != 0, change if higher else -change, np.nan)
    return gain


def mean(sums: Floats) -> Floats:
    """The mean, from (..., 2) sums of value and count."""
    return np.asarray(sums[..., 0] / np.maximum(sums[..., 1], 1e-12))


def _root_mean(sums: Floats) -> Floats:
    return np.asarray(np.sqrt(mean(sums)))


def _same(prediction: str, reference: str) -> Floats:
    return np.array([float(prediction.strip() == reference.strip()), 1.0])


def _label_counts(labels: tuple[str, ...]) -> Callable[[str, str], Floats]:
    """Rows (3 * labels,): per label right, predicted, true."""
    places = {label: i for i, label in enumerate(labels)}

    def row(prediction: str, reference: str) -> Floats:
        counts = np.zeros((3, len(labels)))
        said, true = places.get(prediction.strip()), places.get(reference.strip())
        if said is not None:
            counts[1, said] = 1.0
            counts[0, said] = float(said == true)
        if true is not None:
            counts[2, true] = 1.0
        return counts.reshape(-1)

    return row


def _macro_f1(sums: Floats) -> Floats:
    right, said, true = np.split(sums, 3, axis=-1)
    return np.asarray((2.0 * right / np.maximum(said + true, 1e-12)).mean(axis=-1))


def _absolute_error(task: TaskSpec) -> Callable[[str, str], Floats]:
    return lambda prediction, reference: np.array(
        [similarity.rating_error(prediction, reference, task), 1.0]
    )


def _squared_error(task: TaskSpec) -> Callable[[str, str], Floats]:
    return lambda prediction, reference: np.array(
        [similarity.rating_error(prediction, reference, task) ** 2, 1.0]
    )


def _rouge(which: int) -> Callable[[str, str], Floats]:
    return lambda prediction, reference: np.array([rouge(prediction, reference)[which], 1.0])


def _bleu_row(prediction: str, reference: str) -> Floats:
    """(10,): matches and totals of 1- to 4-grams, lengths of prediction and reference."""
    score = _sacrebleu().corpus_score([prediction], [[reference]])
    return np.array([*score.counts, *score.totals, score.sys_len, score.ref_len], dtype=float)


def _bleu(sums: Floats) -> Floats:
    """Corpus BLEU in [0, 1] with sacrebleu's exponential smoothing (Papineni et al., 2002)."""
    sums = np.asarray(sums, dtype=float)
    counts, totals = sums[..., :BLEU_ORDER], sums[..., BLEU_ORDER : 2 * BLEU_ORDER]
    length, wanted = sums[..., -2], sums[..., -1]
    zeros = np.cumsum((counts == 0) & (totals > 0), axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        precision = np.where(counts > 0, counts, 0.5**zeros) / totals
        geometric = np.exp(np.log(precision).mean(axis=-1))
        brevity = np.where(length < wanted, np.exp(1.0 - wanted / length), 1.0)
        bleu = brevity * geometric
    usable = (totals > 0).all(axis=-1) & (counts > 0).any(axis=-1) & (length > 0)
    return np.asarray(np.where(usable, bleu, 0.0))


@lru_cache(maxsize=1)
def _sacrebleu() -> Any:
    from sacrebleu.metrics.bleu import BLEU

    return BLEU()


def _meteor_row(prediction: str, reference: str) -> Floats:
    return np.array([meteor(prediction, reference), 1.0])


@lru_cache(maxsize=20_000)
def meteor(prediction: str, reference: str) -> float:
    """METEOR with exact and stem matches (Lavie and Agarwal, 2007)."""
    from nltk.translate.meteor_score import single_meteor_score

    said, true = _METEOR_TOKEN.findall(prediction), _METEOR_TOKEN.findall(reference)
    return float(single_meteor_score(true, said, wordnet=_NoSynonyms()))


class _NoSynonyms:
    """Stands where nltk wants the WordNet corpus, and knows no synonym."""

    def synsets(self, word: str) -> list[Any]:
        return []
