"""Features of each answer of the LLM: expected overlap, agreement, the query, the user's form.

Every feature looks at the query, the answers and the history alone; no encoder
reads an answer. Each is divided by a fixed scale (about its standard deviation
within a list), so that weights compare and prior weights mean the same
everywhere.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hydra_cli.core.records import QueryContext
from hydra_cli.core.similarity import common_length
from hydra_cli.modeling.factorized import text_form as form
from hydra_cli.modeling.factorized.word_model import (
    WordModel,
    overlap,
    past_of,
    saved,
    stems,
)

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Feature:
    """A feature's name, its scale, and its weight (per scale) before any training."""

    name: str
    scale: float
    prior: float


FEATURES: tuple[Feature, ...] = (
    Feature("expected overlap", 0.03, 0.6),
    Feature("agreement", 0.1, 0.2),
    Feature("agreement of pairs", 0.1, 0.0),
    Feature("words in query", 0.18, 0.0),
    Feature("query opening", 0.1, 0.0),
    Feature("names not in query", 0.15, 0.0),
    Feature("numbers not in query", 0.3, 0.0),
    Feature("user's words", 0.5, 0.0),
    Feature("longer than usual", 1.2, 0.0),
    Feature("length off usual", 0.8, -0.05),
    Feature("capitals off usual", 0.15, 0.0),
    Feature("habits", 0.8, 0.0),
    Feature("opening word", 1.0, 0.0),
    Feature("repetition", 0.08, -0.05),
    Feature("cut off", 0.4, -0.05),
    Feature("odd characters", 0.03, -0.05),
    Feature("log-probability", 0.3, 0.1),
    Feature("past text again", 1.0, 0.5),
    Feature("words saved", 0.03, 0.0),
)
NAMES = tuple(feature.name for feature in FEATURES)
PRIOR = tuple(feature.prior for feature in FEATURES)
_SCALES = np.array([feature.scale for feature in FEATURES])

_KEPT, _SAVING = 0.25, 0.35
"""What somebody who edits asks for: this share of the other weights, this one on words saved.

Of a few shares and weights, the one that saves most edits of training users (four text tasks).
"""

_OPENING = 30  # words of the query that a summary most often draws on
_ENDINGS = frozenset(
    {"a", "an", "the", "of", "to", "in", "on", "for", "with", "and", "or", "by", "at", "from"}
    | {"as", "is", "are", "its", "their"}
)


def for_editing(weights: Sequence[float]) -> tuple[float, ...]:
    """How ``weights`` (f,) move for somebody who edits what is shown: fewer words to change."""
    move = [(_KEPT - 1.0) * weight for weight in weights]
    move[NAMES.index("words saved")] = _SAVING
    return tuple(move)


def answer_features(
    context: QueryContext,
    texts: Sequence[str],
    logprobs: Sequence[float | None],
    model: WordModel,
) -> Floats:
    """Features (n, f) of the answers ``texts``."""
    tokens = [form.words(text) for text in texts]
    low = [form.folded(text) for text in texts]
    expected = model.expected_words(context, texts)
    columns = [
        overlap(expected, context, texts),
        *_agreement(low),
        *_closeness_to_query(context, tokens, low),
        _users_words(context, low),
        *_form(context, texts, tokens, low),
        _logprobs(logprobs),
        _past_text(context, texts),
        saved(expected, context, texts),
    ]
    features: Floats = np.stack(columns, axis=1) / _SCALES
    return features


def _agreement(low: Sequence[Sequence[str]]) -> list[Floats]:
    """Mean likeness to the other answers: expected utility under the LLM's own samples.

    Minimum Bayes risk decoding (Kumar and Byrne, 2004); the utility is the mean
    of ROUGE-1 and ROUGE-L, and the F1 of pairs of words.
    """
    n = len(low)
    one = [Counter(tokens) for tokens in low]
    two = [form.bigrams(tokens) for tokens in low]
    words, pairs = np.zeros((n, n)), np.zeros((n, n))
    for i in range(n):
        for j in range(i):
            total = len(low[i]) + len(low[j])
            order = 2.0 * common_length(low[i], low[j]) / total if total else 0.0
            words[i, j] = words[j, i] = (form.overlap_f1(one[i], one[j]) + order) / 2.0
            pairs[i, j] = pairs[j, i] = form.overlap_f1(two[i], two[j])
    others = max(n - 1, 1)
    return [words.sum(1) / others, pairs.sum(1) / others]


def _closeness_to_query(
    context: QueryContext, tokens: Sequence[Sequence[str]], low: Sequence[Sequence[str]]
) -> list[Floats]:
    asked = form.folded(context.query.text)
    known, opening = set(asked), Counter(asked[:_OPENING])

    def share(chosen: Sequence[str]) -> float:
        return sum(word.lower() in known for word in chosen) / len(chosen) if chosen else 0.0

    def strange(chosen: Sequence[str]) -> float:
        return sum(word.lower() not in known for word in chosen) / max(len(chosen), 1)

    names = [[w for w in one[1:] if w[0].isupper()] for one in tokens]
    numbers = [[w for w in one if w[0].isdigit()] for one in tokens]
    return [
        np.array([share([w for w in one if len(w) > 3]) for one in low]),
        np.array([form.overlap_f1(Counter(one), opening) for one in low]),
        np.array([strange(one) for one in names]),
        np.array([strange(one) for one in numbers]),
    ]


def _users_words(context: QueryContext, low: Sequence[Sequence[str]]) -> Floats:
    """Mean log share of the user's outputs that hold an answer's words (n,)."""
    past = past_of(context)
    holding, size = past.holding, len(past.bags)
    return np.array(
        [
            sum(math.log((holding[word] + 0.1) / (size + 1.0)) for word in one) / max(len(one), 1)
            for one in low
        ]
    )


def _past_text(context: QueryContext, texts: Sequence[str]) -> Floats:
    """The log rate at which the user repeats a text, for answers that are a past one again (n,).

    Small LLMs like to hand back an output of the records shown, and few users write
    the same text twice: such an answer is about an older query.
    """
    past, asked = past_of(context), context.query.text.strip()
    # Whoever asks the very same again may well want what they made of it then.
    made = {r.output.strip() for r in context.history.records if r.input.strip() == asked}
    again = np.array(
        [text.strip() not in made and past.repeats(stems(text)) for text in texts], dtype=bool
    )
    return np.where(again, math.log(past.repeat_rate), 0.0)


def _form(
    context: QueryContext,
    texts: Sequence[str],
    tokens: Sequence[Sequence[str]],
    low: Sequence[Sequence[str]],
) -> list[Floats]:
    style = past_of(context).style
    z = np.array([(len(one) - style.length) / style.spread for one in tokens])
    rate = np.array(style.habits)
    shown = np.array([form.habits(text) for text in texts], dtype=bool).reshape(len(texts), -1)
    likely = np.where(shown, np.log(rate), np.log1p(-rate)).sum(1)
    openings = [
        math.log((style.openings[one[0]] + 0.1) / (style.outputs + 1.0)) if one else -4.0
        for one in low
    ]
    capitals = np.array([abs(form.capital_share(one) - style.capitals) for one in tokens])
    repeated = [1.0 - len(set(one)) / len(one) if one else 1.0 for one in low]
    cut = [
        float(not one or one[-1] in _ENDINGS or text.rstrip()[-1:] in ",:-(")
        for one, text in zip(low, texts, strict=True)
    ]
    odd = [
        sum(not (c.isalnum() or c.isspace() or c in ".,:;!?'\"’‘“”-–—()&$%/") for c in text)
        / max(len(text), 1)
        for text in texts
    ]
    return [
        z,
        np.abs(z),
        capitals,
        likely,
        np.array(openings),
        np.array(repeated),
        np.array(cut),
        np.array(odd),
    ]


def _logprobs(given: Sequence[float | None]) -> Floats:
    """Mean token log-probabilities; all zero unless every answer has one."""
    if any(value is None for value in given):
        return np.zeros(len(given))
    return np.array([value for value in given if value is not None])
