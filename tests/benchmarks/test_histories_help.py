"""On real histories: more records never hurt, the own ones help, no control is ahead.

Slow, and it needs vectors that ``compare_histories --vectors DIR`` kept: name the
folder in BENCH_VECTORS. ``-s`` shows the tables.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from hydra_cli.core.statistics import interval, resamples
from hydra_cli.models.bert_encoder import open_text_encoder
from tests.benchmarks import compare_histories, suites
from tests.benchmarks.recorded import KeptVectors

TASKS = [("lamp", name) for name in ("LaMP_2M", "LaMP_2N", "LaMP_3")]
TASKS += [("long", name) for name in ("LaMP_2M", "LaMP_2N", "LaMP_3", "jokes", "movie_ratings")]


@pytest.mark.slow
@pytest.mark.shared
@pytest.mark.parametrize(("part", "name"), TASKS)
def test_the_whole_history_is_never_worse_beyond_noise(part: str, name: str, shared: Path) -> None:
    kept = Path(os.environ.get("BENCH_VECTORS", "none")) / f"{part}.{name}.npz"
    if not kept.is_file():
        pytest.skip("no vectors were kept")
    encoder = KeptVectors(open_text_encoder("all-minilm-l6-v2"), kept)
    suite = suites.read_suite(shared / "data" / part, name, encoder)
    cases, found = compare_histories.dev_values(suite, encoder)
    print(compare_histories.show(f"dev users of {part}", cases, found, suite.task))
    own = np.array(found.pop(compare_histories.OWN))
    users = sorted({case.user for case in cases})
    user_of = np.array([users.index(case.user) for case in cases])
    weights = resamples(users)
    counts = np.bincount(user_of).astype(np.float64)
    for way, values in found.items():
        sums = np.bincount(user_of, weights=own - np.array(values))
        _, high = interval((weights @ sums) / (weights @ counts))
        assert high >= 0.0, f"{way} is ahead of the own history"
