"""Ids of answers and of feedback."""

from __future__ import annotations

import time

import pytest

from hydra_cli.core.sortable_ids import is_id, new_id


def test_ids_are_new_and_sort_by_time() -> None:
    made = []
    for _ in range(5):
        made.append(new_id("ans"))
        time.sleep(0.002)
    assert made == sorted(made)
    assert len({new_id("ans") for _ in range(1000)}) == 1000
    assert all(is_id(id_, "ans") and len(id_) == 30 for id_ in made)


@pytest.mark.parametrize(
    "text",
    ["", "last", "ans_", "ans_" + "I" * 26, "ans_" + "0" * 25, "fb_" + "0" * 26,
     "ans_" + "0" * 26 + "\n", "ans_" + "a" * 26, "../" + "0" * 26, "ans_" + "\udcff" * 26],
)  # fmt: skip
def test_what_is_no_id(text: str) -> None:
    assert not is_id(text, "ans")
