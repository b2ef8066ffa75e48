"""Which methods there are, and how they are named."""

from __future__ import annotations

import pytest

from hydra_cli.core.errors import NotFound, UsageError
from hydra_cli.core.tasks import PRESETS
from hydra_cli.evaluation.conditions import Conditions
from hydra_cli.evaluation.methods import METHODS, parse_methods, suited


def test_all_are_all_but_the_slow_yardsticks() -> None:
    names = [method.name for method in parse_methods("all")]
    assert set(METHODS) - set(names) == {"hydra-paper", "mof"}
    assert set(names) - set(METHODS) == {"hydra-pers@n=0", "hydra-pers@n=1"}
    assert [m.name for m in parse_methods("all,mof")] == [*names, "mof"]


def test_the_names_that_the_documentation_promises() -> None:
    assert {"hydra-pers", "hydra", "mof", "rerank", "adapt"} <= set(METHODS)
    for method in METHODS.values():
        if method.family == "prompt":
            assert method.name.startswith(("zero-shot", "icl", "rag", "pag"))
        if method.family == "no LLM":
            assert method.name.startswith(("majority", "median", "knn", "lead"))


def test_lists_keep_their_order_and_drop_repeats() -> None:
    names = [method.name for method in parse_methods("rag-bm25, zero-shot,rag-bm25")]
    assert names == ["rag-bm25", "zero-shot"]


def test_overrides_change_the_setting() -> None:
    (method,) = parse_methods("rag-bm25@k=1")
    assert method.name == "rag-bm25@k=1"
    assert method.base_name == "rag-bm25"
    assert method.settle(Conditions(PRESETS["LaMP_4"])).plan.k == 1
    (method,) = parse_methods("consensus@k=2@n=16")
    assert (method.k, method.n) == (2, 16)


@pytest.mark.parametrize("text", ["rag-bm25@k", "rag-bm25@x=1", "rag-bm25@k=-1", "oracle@n=0"])
def test_overrides_that_make_no_sense(text: str) -> None:
    with pytest.raises(UsageError):
        parse_methods(text)


def test_unknown_names_come_with_the_nearest() -> None:
    with pytest.raises(NotFound) as error:
        parse_methods("zero-shot,rag-bm2")
    assert "rag-bm25" in str(error.value.hint)


def test_no_name_at_all() -> None:
    with pytest.raises(UsageError):
        parse_methods(" , ")


def test_methods_of_other_tasks_are_skipped_with_a_note() -> None:
    fit, notes = suited(parse_methods("median,majority,knn,zero-shot"), PRESETS["LaMP_4"])
    assert [method.name for method in fit] == ["zero-shot"]
    assert len(notes) == 3
    fit, _ = suited(parse_methods("median,majority,knn"), PRESETS["LaMP_3"])
    assert [method.name for method in fit] == ["median", "knn"]
