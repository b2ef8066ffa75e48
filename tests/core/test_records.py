"""A record taken as a pseudo-query leaves its history, reposts included."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hydra_cli.core.records import History, Usage


def test_without_drops_the_record_and_its_reposts(history: History) -> None:
    repost = replace(history.records[4], id="repost", input=history.records[1].input.upper() + " ")
    records = (*history.records[:4], repost, *history.records[5:])
    rest = replace(history, records=records).without(records[1])
    assert [r.id for r in rest.records] == ["a0", "a2", "a3", "a5"]
    np.testing.assert_array_equal(rest.inputs, history.inputs[[0, 2, 3, 5]])
    assert rest.outputs is not None
    assert history.outputs is not None
    np.testing.assert_array_equal(rest.outputs, history.outputs[[0, 2, 3, 5]])


def test_before_keeps_only_what_was_written_earlier(history: History) -> None:
    assert [r.id for r in history.before(history.records[3]).records] == ["a0", "a1", "a2"]
    assert len(history.before(history.records[0])) == 0


@pytest.mark.parametrize(("a", "b", "cost"), [(1.0, 2.0, 3.0), (1.0, None, None), (0.0, 0.0, 0.0)])
def test_an_unknown_cost_stays_unknown(a: float, b: float | None, cost: float | None) -> None:
    assert (Usage(calls=1, cost=a) + Usage(calls=2, cost=b)) == Usage(calls=3, cost=cost)
