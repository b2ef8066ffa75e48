"""Labels are counted exactly, and a pseudo-query's own record can't reach its prompt."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from hydra_cli.core.plan import AnswerPlan
from hydra_cli.core.protocols import ChatRequest, Supervision
from hydra_cli.core.records import History
from hydra_cli.core.tasks import PRESETS
from hydra_cli.llm.scripted import ScriptedChat
from hydra_cli.pipeline.supervision import (
    SupervisionPlan,
    hydra_labels,
    label_requests,
    pseudo_queries,
    supervise,
)

TASK = PRESETS["LaMP_4"]
ALL: frozenset[Supervision] = frozenset({"relevance", "hydra_relevance", "quality"})
PLAN = SupervisionPlan(
    needs=ALL, answers=True, plain=True, answering=AnswerPlan(shortlist=3, k=2, n=5)
)


def test_every_label_is_asked_for_once(history: History) -> None:
    examples = pseudo_queries(history, TASK, limit=4, seed=0)
    chat = ScriptedChat(lambda request, i: f"answer {i}")
    shown, usage = supervise(examples, TASK, PLAN, chat=chat)
    assert len(shown) == 4
    per_example = 1 + 1 + 1 + 3  # answers, greedy, plain, one per shortlisted record
    assert usage.calls == len(chat.requests) == 4 * per_example
    assert len(label_requests(examples, TASK, PLAN)) == 4 * per_example
    for example in shown:
        assert len(example.candidates) == len(example.quality or ()) == 5
        assert len(example.relevance or ()) == len(example.hydra_relevance or ()) == 3
        assert example.evidence == example.shortlist[:2]


def test_the_reference_reaches_no_prompt_and_no_evidence(history: History) -> None:
    secret = tuple(replace(r, output=f"canary{i}") for i, r in enumerate(history.records))
    examples = pseudo_queries(replace(history, records=secret), TASK, limit=6, seed=0)
    requests: list[ChatRequest] = []
    for example in examples:
        requests = label_requests([example], TASK, PLAN)
        assert example.reference.startswith("canary")
        assert example.reference not in json.dumps([r.messages for r in requests])
        assert example.context.query.id not in {r.id for r in example.context.history.records}


def test_held_out_records_see_only_older_ones(history: History) -> None:
    held = pseudo_queries(history, TASK, limit=2, seed=0, newest=True)
    assert [e.context.query.id for e in held] == ["a4", "a5"]
    assert [len(e.context.history) for e in held] == [4, 5]


def test_history_labels_ask_no_llm(history: History) -> None:
    examples = pseudo_queries(history, TASK, limit=6, seed=0)
    shown, usage = supervise(examples, TASK, replace(PLAN, answers=False), chat=None)
    assert usage.calls == 0
    assert all(e.candidates == () and e.greedy is None for e in shown)
    assert all(e.relevance is not None and len(e.relevance) == 3 for e in shown)


def test_the_same_seed_draws_the_same_records(history: History) -> None:
    def ids(seed: int) -> list[str]:
        return [e.context.query.id for e in pseudo_queries(history, TASK, limit=3, seed=seed)]

    assert ids(1) == ids(1)
    assert len({tuple(ids(seed)) for seed in range(20)}) > 1


@pytest.mark.parametrize(
    ("task", "grades", "labels"),
    [
        ("LaMP_2N", [1.0, 0.0, 1.0], (1.0, 0.0, 1.0)),
        ("LaMP_3", [1.0, 0.75, 0.0], (1.0, 0.0, 0.0)),
        ("LaMP_4", [0.1, 0.2, 0.6], (0.0, 0.0, 1.0)),
        ("LaMP_4", [0.3, 0.3], (0.0, 0.0)),
    ],
)
def test_the_papers_labels(task: str, grades: list[float], labels: tuple[float, ...]) -> None:
    assert hydra_labels(grades, PRESETS[task]) == labels


def test_a_closed_tasks_examples_need_one_answer(history: History) -> None:
    closed = replace(TASK, kind="classification", labels=tuple({r.output for r in history.records}))
    lone = replace(PLAN, needs=frozenset[Supervision](), plain=False, lone=True)
    chat = ScriptedChat(lambda request, i: f"answer {i}")
    shown, usage = supervise(
        pseudo_queries(history, closed, limit=4, seed=0), closed, lone, chat=chat
    )
    assert usage.calls == 4
    assert [[c.text for c in example.candidates] for example in shown] == [["answer 0"]] * 4
    drawn, usage = supervise(pseudo_queries(history, TASK, limit=4, seed=0), TASK, lone, chat=chat)
    assert usage.calls == 8, "free text is chosen from"
    assert {len(example.candidates) for example in drawn} == {5}
