"""Meaning and style: what they tell apart, and what they don't look at."""

from __future__ import annotations

import random

import pytest

from hydra_cli.evaluation.as_json import task_mapping
from hydra_cli.evaluation.text_measures import Meaning, Style
from tests.evaluation.helpers import run

TOPICS = ["dragon", "harbour", "market", "senate", "guitar", "planet", "bridge", "garden"]


def test_meaning_is_likeness_of_rare_words_whatever_their_form() -> None:
    meaning = Meaning([f"the {a} and the {b}" for a in TOPICS for b in TOPICS])
    assert meaning("The markets", "a market") == pytest.approx(1.0, abs=1e-3)
    assert meaning("the dragon", "the senate") < 0.2
    assert meaning("dragon", "the dragon and the senate") > meaning("the and", "the dragon")
    assert meaning("", "a market") == 0.0
    assert meaning("market", "") == 0.0


def forms(seed: int) -> dict[str, list[str]]:
    """Twelve users who write of the same things, each in a form of their own."""
    rng = random.Random(seed)
    marks = ["!", "...", " :)", "?!", ";", " --", ".", "!!", " <3", " ~", " #", "*"]
    return {
        f"u{i}": [
            f"{rng.choice(TOPICS)} {rng.choice(TOPICS)}{mark}"
            if i % 2
            else f"{rng.choice(TOPICS).upper()}, {rng.choice(TOPICS)}{mark}"
            for _ in range(30)
        ]
        for i, mark in enumerate(marks)
    }


def test_style_tells_who_wrote_it() -> None:
    style = Style(forms(0))
    fresh = forms(1)
    own = [style.row(t, u, str(i))[0] for u in fresh for i, t in enumerate(fresh[u])]
    assert sum(own) / len(own) > 0.8
    # Everybody's texts under one name are told to be another's.
    others = [
        style.row(t, "u0", f"{u}{i}")[0] for u in fresh if u != "u0" for i, t in enumerate(fresh[u])
    ]
    assert sum(others) / len(others) < 0.2
    # A text that says nothing is anybody's: one of ten.
    assert tuple(style.row("", "u0", "q")) == (pytest.approx(0.1), 1.0)
    assert tuple(style.row("x", "nobody", "q")) == (0.0, 0.0)
    assert (style.row("dragon!", "u0", "q") == style.row("dragon!", "u0", "q")).all()


def test_a_run_measures_both_for_texts_and_neither_for_labels() -> None:
    result = run("LaMP_4", "zero-shot,rag-bm25,lead")
    found = task_mapping(result)
    for method in found["methods"].values():
        assert 0.0 <= method["metrics"]["meaning"] <= 1.0
        assert 0.0 <= method["metrics"]["style"] <= 1.0
        low, high = method["intervals"]["style"]
        assert low <= method["metrics"]["style"] <= high
    assert 0.0 <= found["own_style"] <= 1.0
    # Neither counts in a gain.
    assert set(found["methods"]["lead"]["gain"]["metrics"]) == {"ROUGE-1", "ROUGE-L"}
    labels = task_mapping(run("LaMP_2N", "zero-shot,rag-bm25"))
    assert labels["own_style"] is None
    assert set(labels["methods"]["zero-shot"]["metrics"]) == {"accuracy", "macro-F1"}
