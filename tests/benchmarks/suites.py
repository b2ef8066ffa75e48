"""Closed tasks of a suite as histories and cases: real queries, other histories, cut ones."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from hydra_cli.core.protocols import TextEncoder
from hydra_cli.core.records import Candidate, History, QueryContext, Record, TrainingExample
from hydra_cli.core.tasks import PRESETS, TaskSpec
from hydra_cli.pipeline.supervision import query_of
from hydra_cli.readers.lamp_files import LampSplit, read_split
from hydra_cli.workflows.evaluate import suite_tasks

TRAIN_NEWEST = 10
"""Newest records of a training user that are cases when training users are judged."""


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """Users of one split: their histories with all that is known, and cases to judge them by."""

    histories: tuple[History, ...]
    cases: tuple[TrainingExample, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Suite:
    """One closed task, both splits."""

    task: TaskSpec
    train: Part
    dev: Part


def closed_tasks(folder: Path, names: Sequence[str] = ()) -> list[str]:
    """The labels and ratings among a suite's tasks."""
    known = suite_tasks(folder, PRESETS)
    found = [path.parent.name for path in sorted(folder.glob("*/dev_questions.json"))]
    return [name for name in found if known[name].closed and (not names or name in names)]


def read_suite(folder: Path, name: str, encoder: TextEncoder) -> Suite:
    """Both splits of a task, encoded."""
    tasks = suite_tasks(folder, PRESETS)
    train, dev = (
        read_split(
            folder / name / f"{part}_questions.json", folder / name / f"{part}_outputs.json", tasks
        )
        for part in ("train", "dev")
    )
    task = train.task
    if task.kind == "classification":
        task = task.with_labels(sorted({*task.labels, *dev.task.labels}))
    return Suite(task, _part(train, encoder), _part(dev, encoder))


def _part(split: LampSplit, encoder: TextEncoder) -> Part:
    """Histories end with the queries themselves: their answers are known after them."""
    records: dict[str, dict[str, Record]] = {}
    for example in split.examples:
        records.setdefault(example.query.user, {}).update({r.id: r for r in example.records})
    for example in split.examples:
        query = example.query
        newest = Record(query.user, query.id, query.task, query.text, example.reference)
        records[query.user].setdefault(query.id, newest)
    histories = {user: _history(user, list(own.values()), encoder) for user, own in records.items()}
    cases = []
    for example in split.examples:
        context = QueryContext(
            example.query,
            encoder.encode([example.query.text])[0],
            _history(example.query.user, example.records, encoder),
        )
        cases.append(TrainingExample(context, example.reference))
    return Part(tuple(histories.values()), tuple(cases))


def _history(user: str, records: Sequence[Record], encoder: TextEncoder) -> History:
    return History(user, tuple(records), encoder.encode([record.input for record in records]))


def newest_cases(part: Part, task: TaskSpec, count: int = TRAIN_NEWEST) -> list[TrainingExample]:
    """The newest records of every history, each with only older ones as its history."""
    found = []
    for history in part.histories:
        first = max(len(history) - count, len(history) // 2)
        for row in range(first, len(history)):
            record = history.records[row]
            rest = history.before(record)
            if len(rest):
                context = QueryContext(query_of(record, task), history.inputs[row], rest)
                found.append(TrainingExample(context, record.output))
    return found


def with_history(case: TrainingExample, history: History) -> TrainingExample:
    """The case as if ``history`` were its user's; what has the query's very text goes."""
    query = case.context.query
    asked = Record(query.user, f"{query.id} asked", query.task, query.text, "")
    own = replace(history.without(asked), user=query.user)
    return replace(case, context=replace(case.context, history=own))


def newest(case: TrainingExample, count: int) -> TrainingExample:
    """The case with the newest ``count`` records alone."""
    history = case.context.history
    cut = history.take(range(max(len(history) - count, 0), len(history)))
    return replace(case, context=replace(case.context, history=cut))


def strangers(cases: Sequence[TrainingExample], histories: Sequence[History]) -> dict[str, History]:
    """For every user another one's history: of the nearest length, no two the same if it can be."""
    taken: dict[str, int] = {}
    found = {}
    for user in sorted({case.user for case in cases}):
        length = max(len(case.context.history) for case in cases if case.user == user)
        others = [history for history in histories if history.user != user]
        chosen = min(
            others, key=lambda h: (taken.get(h.user, 0), abs(len(h) - length), h.user), default=None
        )
        if chosen is not None:
            taken[chosen.user] = taken.get(chosen.user, 0) + 1
            found[user] = chosen.take(range(max(len(chosen) - length, 0), len(chosen)))
    return found


def unseen(histories: Sequence[History], cases: Sequence[TrainingExample]) -> list[History]:
    """The histories without any record that has a case's very text."""
    texts = {_folded(case.context.query.text) for case in cases}
    return [
        history.take(i for i, r in enumerate(history.records) if _folded(r.input) not in texts)
        for history in histories
    ]


def _folded(text: str) -> str:
    return " ".join(text.lower().split())


Answers = Mapping[str, tuple[str, ...]]


def recorded_answers(folder: Path, name: str) -> Answers:
    """The LLM's recorded answers of a task by id of query or record; empty where there are none."""
    found: dict[str, tuple[str, ...]] = {}
    for part in ("train.records", "dev.queries"):
        path = folder / f"{name}.{part}.jsonl"
        for line in path.read_text("utf-8").splitlines() if path.is_file() else ():
            row = json.loads(line)
            found[row["id"]] = tuple(row["answers"])
    return found


def answered(case: TrainingExample, answers: Answers, count: int) -> TrainingExample:
    """The case with the first ``count`` of its recorded answers."""
    texts = answers.get(case.context.query.id, ())[:count]
    candidates = tuple(Candidate(text, i) for i, text in enumerate(texts))
    return replace(case, candidates=candidates)


def answered_records(
    histories: Sequence[History], task: TaskSpec, answers: Answers, count: int
) -> list[TrainingExample]:
    """Records whose answers were recorded, as training examples."""
    found = []
    for history in histories:
        for row, record in enumerate(history.records):
            if count and record.id in answers:
                context = QueryContext(
                    query_of(record, task), history.inputs[row], history.without(record)
                )
                case = TrainingExample(context, record.output)
                found.append(answered(case, answers, count))
    return found


def folds_of(users: Sequence[str], count: int) -> dict[str, int]:
    """Each user's fold."""
    order = np.random.default_rng(0).permutation(sorted(users))
    return {str(user): i % count for i, user in enumerate(order)}
