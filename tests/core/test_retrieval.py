"""First-stage orders against independent computations."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from rank_bm25 import BM25Okapi

from hydra_cli.core.controls import majority, nearest_vote
from hydra_cli.core.errors import UsageError
from hydra_cli.core.records import History, Query, QueryContext, Record
from hydra_cli.core.retrieval import best, bm25_scores, fused_scores, retrieve
from hydra_cli.core.tasks import PRESETS
from hydra_cli.core.tokens import tokens


def context_of(inputs: list[str], text: str, outputs: list[str] | None = None) -> QueryContext:
    made = outputs or [""] * len(inputs)
    records = tuple(
        Record("u", str(i), "LaMP_3", t, o)
        for i, (t, o) in enumerate(zip(inputs, made, strict=True))
    )
    vectors = np.eye(len(inputs), 8, dtype=np.float32)
    return QueryContext(Query("u", "q", "LaMP_3", text), vectors[0], History("u", records, vectors))


def test_bm25_is_okapi() -> None:
    """k1 1.5 and b 0.75, with idf ln((N - n + 0.5)/(n + 0.5)), worked by hand."""
    context = context_of(["red cat", "blue dog", "blue bird sings", "green frog"], "red")
    idf = math.log((4 - 1 + 0.5) / (1 + 0.5))
    length = 2 / (9 / 4)
    expected = idf * (1 * 2.5) / (1 + 1.5 * (1 - 0.75 + 0.75 * length))
    assert bm25_scores(context) == pytest.approx([expected, 0, 0, 0])


WORDS = st.lists(st.sampled_from(["a", "b", "c", "d", "é", "not", "-"]), max_size=8).map(" ".join)


@given(st.lists(WORDS, min_size=1, max_size=12), st.lists(WORDS, min_size=1, max_size=3))
def test_bm25_is_the_library_s_to_the_bit(texts: list[str], queries: list[str]) -> None:
    """At the first query to a history, and at the next ones, which find the index's postings."""
    index = BM25Okapi([tokens(text) or ["\0"] for text in texts])
    context = context_of(texts, "")
    for query in queries:
        asked = replace(context, query=replace(context.query, text=query))
        assert bm25_scores(asked).tolist() == index.get_scores(tokens(query)).tolist()


def test_fusion_adds_reciprocal_ranks() -> None:
    context = context_of(["x y", "red cat", "z"], "red")  # dense prefers row 0, BM25 row 1
    ranks = fused_scores(context)
    assert ranks[0] == pytest.approx(1 / 62 + 1 / 61)
    assert ranks[1] == pytest.approx(1 / 61 + 1 / 62)


def test_records_that_no_word_tells_apart_share_a_rank_and_the_newest_wins() -> None:
    context = context_of(["a", "b", "c", "d"], "nothing of them")
    ranks = fused_scores(context)
    assert ranks == pytest.approx([1 / 61 + 1 / 61, *[1 / 61 + 1 / 62] * 3])
    found = retrieve(context, how="fused", k=4)
    assert [scored.item.id for scored in found] == ["0", "3", "2", "1"]


@given(arrays(np.float64, st.integers(1, 30), elements=st.integers(-3, 3)), st.integers(0, 40))
def test_best_agrees_with_a_full_sort(scores: np.ndarray, k: int) -> None:
    context = context_of(["t"] * len(scores), "t")
    found = best(context.history, scores, k)
    rows = [int(scored.item.id) for scored in found]
    assert rows == sorted(range(len(scores)), key=lambda i: (-scores[i], -i))[:k]


def test_recency_gives_the_newest_first() -> None:
    context = context_of(["a", "b", "c"], "q")
    assert [s.item.id for s in retrieve(context, how="recency", k=2)] == ["2", "1"]


def test_empty_history_gives_nothing_and_a_wrong_name_is_refused() -> None:
    context = context_of(["a"], "q")
    empty = QueryContext(context.query, context.vector, context.history.take([]))
    assert retrieve(empty, how="bm25", k=4) == []
    with pytest.raises(UsageError, match="unknown retriever"):
        retrieve(context, how="magic", k=4)


def test_controls_use_the_median_rating() -> None:
    context = context_of(["a", "b", "c", "d"], "q", ["5", "1", "1", "4"])
    assert majority(context, PRESETS["LaMP_3"]) == "1"
    assert nearest_vote(context, PRESETS["LaMP_3"], k=1) == "5"
    empty = QueryContext(context.query, context.vector, context.history.take([]))
    assert majority(empty, PRESETS["LaMP_3"]) is None


def test_bm25_follows_a_record_that_was_corrected(history: History) -> None:
    """The index of a history is kept, and never taken for another one's."""
    query = Query("ann", "q", "LaMP_4", "a zeppelin")
    before = bm25_scores(QueryContext(query, history.inputs[0], history))
    again = bm25_scores(QueryContext(query, history.inputs[0], replace(history)))
    assert again is before, "the same records: nothing is computed twice"
    first, *rest = history.records
    changed = replace(history, records=(replace(first, input="a zeppelin"), *rest))
    after = bm25_scores(QueryContext(query, history.inputs[0], changed))
    assert not before.any()
    assert after[0] == max(after) > 0
