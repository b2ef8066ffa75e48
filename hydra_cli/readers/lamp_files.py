"""LaMP's questions and their references (arXiv 2304.11406) as examples for evaluation.

A question without ``user_id`` is its own user, as in the official files.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hydra_cli.core.errors import DataError
from hydra_cli.core.records import Query, Record
from hydra_cli.core.tasks import TaskSpec
from hydra_cli.core.times import parse_time


@dataclass(frozen=True, slots=True)
class Example:
    """A query with its reference, and the records its user had written by then."""

    query: Query
    reference: str
    records: tuple[Record, ...]


@dataclass(frozen=True, slots=True)
class LampSplit:
    """One task's examples, in the order of the question file."""

    task: TaskSpec
    examples: tuple[Example, ...]

    @property
    def users(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(example.query.user for example in self.examples))


def read_split(questions: Path, outputs: Path, tasks: Mapping[str, TaskSpec]) -> LampSplit:
    """Questions joined with their references; DataError names the ids that don't match."""
    golds = _load(outputs)
    if not isinstance(golds, dict) or not isinstance(golds.get("golds"), list):
        raise DataError(
            f"{outputs} is not a file of LaMP references", hint='it needs {"task", "golds": [...]}'
        )
    task = tasks.get(str(golds.get("task")))
    if task is None:
        raise DataError(
            f"{outputs} names an unknown task {golds.get('task')!r}",
            hint=f"known: {', '.join(sorted(tasks))}; declare others under [tasks] in config.toml",
        )
    references = _unique(golds["golds"], outputs)
    asked = _load(questions)
    if not isinstance(asked, list) or not asked:
        raise DataError(f"{questions} holds no LaMP questions")
    by_id = _unique(asked, questions)
    if missing := sorted(by_id.keys() - references.keys()):
        raise DataError(
            f"{len(missing)} questions have no reference, first {missing[0]!r} ({outputs})"
        )
    if extra := sorted(references.keys() - by_id.keys()):
        raise DataError(
            f"{len(extra)} references have no question, first {extra[0]!r} ({questions})"
        )
    examples = tuple(
        _example(question, str(references[key].get("output", "")), task, questions)
        for key, question in by_id.items()
    )
    if task.kind == "classification":
        task = task.with_labels(sorted({label for e in examples for label in e.query.labels}))
    return LampSplit(task, examples)


def profile_record(item: Mapping[str, Any], user: str, task: TaskSpec) -> Record:
    """One profile item as a record; KeyError names a missing field."""
    main = {"id", "date", task.input_field, task.output_field}
    return Record(
        user=user,
        id=str(item["id"]),
        task=task.name,
        input=str(item[task.input_field]),
        output=str(item[task.output_field]),
        time=_time(item.get("date")),
        metadata={key: str(value) for key, value in item.items() if key not in main},
    )


def _time(value: object) -> datetime | None:
    """When a record was written; what can't be read is unknown, never a wrong time."""
    try:
        return parse_time(value)
    except ValueError:
        return None


def _example(question: Mapping[str, Any], reference: str, task: TaskSpec, source: Path) -> Example:
    user = str(question.get("user_id") or question["id"])
    try:
        content, labels = task.split_question(str(question["input"]))
        records = [profile_record(item, user, task) for item in question.get("profile", ())]
    except KeyError as error:
        raise DataError(
            f"{source}: question {question['id']!r} lacks the field {error}",
            hint=f"task {task.name} wants {task.input_field} and {task.output_field}",
        ) from error
    unique: dict[str, Record] = {}
    for record in records:  # the first of an id that stands there twice, as at ingest
        unique.setdefault(record.id, record)
    epoch = datetime.min.replace(tzinfo=UTC)
    ordered = sorted(unique.values(), key=lambda record: record.time or epoch)
    query = Query(user, str(question["id"]), task.name, content, labels=labels)
    return Example(query, reference, tuple(ordered))


def _load(path: Path) -> Any:
    try:
        return json.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise DataError(f"no such file: {path}") from error
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise DataError(f"{path} can't be read as JSON: {error}") from error


def _unique(items: Sequence[Any], source: Path) -> dict[str, Mapping[str, Any]]:
    found: dict[str, Mapping[str, Any]] = {}
    for number, item in enumerate(items):
        if not isinstance(item, dict) or "id" not in item:
            raise DataError(f"{source}: entry {number} has no id")
        key = str(item["id"])
        if key in found:
            raise DataError(f"{source}: the id {key!r} stands there twice")
        found[key] = item
    return found
