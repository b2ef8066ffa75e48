"""Recorded answers of text tasks, of either form, as training examples."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import tomlkit

from hydra_cli.core.protocols import TextEncoder
from hydra_cli.core.records import (
    Candidate,
    History,
    Query,
    QueryContext,
    Record,
    Scored,
    TrainingExample,
)
from hydra_cli.core.similarity import grade
from hydra_cli.core.task_keys import checked_keys
from hydra_cli.core.tasks import PRESETS, TaskSpec
from hydra_cli.readers.lamp_files import read_split

DEFAULT_DRAW = ("fused", 4, 0.5)
"""Retriever, records and temperature by which the command draws answers."""


@dataclass(frozen=True, slots=True, eq=False)
class Texts:
    """One text task: training users' examples and dev users' with the default draw.

    ``own`` are dev users' answered records, each with older ones alone: for their heads.
    """

    task: TaskSpec
    histories: list[History]
    train: list[TrainingExample]
    dev: list[TrainingExample]
    own: list[TrainingExample]


def read_texts(
    suite: Path,
    name: str,
    files: Sequence[Path],
    encoder: TextEncoder,
    *,
    most: int = 32,
    default_draw: bool = False,
) -> Texts:
    """A task of ``suite`` with its answers in ``files``.

    Lines are those of ``recorded`` (one a query: greedy, answers) or one a
    request (task, how, k, temperature, texts). A training example holds up to
    ``most`` different answers, a dev query the default draw, as all do with ``default_draw``.
    """
    task, owners, queries = _suite(suite, name)
    made: dict[str, History] = {}

    def history(user: str) -> History:
        if user not in made:
            records = owners[user][1]
            inputs = encoder.encode([record.input for record in records])
            made[user] = History(user, tuple(records), inputs)  # no adapter reads output vectors
        return made[user]

    found: dict[str, list[TrainingExample]] = {"train": [], "dev": [], "own": []}
    for line in answered(files, suite, name):
        split = owners[line["user"]][0]
        example = _example(line, task, history(line["user"]), queries, encoder)
        drawn = (
            line["answers"]
            if split == "dev" or default_draw
            else list(dict.fromkeys(line["pool"]))[:most]
        )
        if not drawn:
            continue
        known = {record.id: record for record in example.context.history.records}
        quality = [grade(prediction=t, reference=example.reference, task=task) for t in drawn]
        found["own" if split == "dev" and line["pseudo"] else split].append(
            replace(
                example,
                evidence=tuple(Scored(known[i], 0.0) for i in line["evidence"] if i in known),
                candidates=tuple(Candidate(text, i) for i, text in enumerate(drawn)),
                quality=tuple(quality),
                greedy=line["greedy"],
                plain=line["plain"],
            )
        )
    histories = [history(user) for user, (split, _) in owners.items() if split == "train"]
    return Texts(task, histories, found["train"], found["dev"], found["own"])


def _suite(
    suite: Path, name: str
) -> tuple[TaskSpec, dict[str, tuple[str, list[Record]]], dict[str, Any]]:
    tasks = dict(PRESETS)
    if (suite / "tasks.toml").is_file():
        for key, values in (
            tomlkit.parse((suite / "tasks.toml").read_text()).unwrap()["tasks"].items()
        ):
            tasks[key] = TaskSpec(name=key, **checked_keys(key, values))
    owners: dict[str, tuple[str, list[Record]]] = {}
    queries = {}
    for split in ("train", "dev"):
        folder = suite / name
        read = read_split(
            folder / f"{split}_questions.json", folder / f"{split}_outputs.json", tasks
        )
        records: dict[str, dict[str, Record]] = {}
        for example in read.examples:
            records.setdefault(example.query.user, {}).update({r.id: r for r in example.records})
            queries[example.query.id] = example
        for user, own in records.items():
            ordered = sorted(own.values(), key=lambda r: r.time.timestamp() if r.time else 0.0)
            owners[user] = (split, ordered)
    task = tasks[name]
    outputs = [r.output for _, own in owners.values() for r in own]
    lines = sum("\n" in output for output in outputs) > 0.05 * len(outputs)
    return replace(task, multiline=lines), owners, queries


def _example(
    line: Mapping[str, Any],
    task: TaskSpec,
    history: History,
    queries: Mapping[str, Any],
    encoder: TextEncoder,
) -> TrainingExample:
    """A split's own query, or a record with the records written before it."""
    if line["id"] in queries:
        asked = queries[line["id"]]
        before = {record.id for record in asked.records}
        rows = [i for i, record in enumerate(history.records) if record.id in before]
        context = QueryContext(
            asked.query, encoder.encode([asked.query.text])[0], history.take(rows)
        )
        return TrainingExample(context, line["reference"])
    row = next(i for i, record in enumerate(history.records) if record.id == line["id"])
    record = history.records[row]
    rest = history.before(record) if line["pseudo"] else history.without(record)
    query = Query(record.user, record.id, task.name, record.input)
    return TrainingExample(QueryContext(query, history.inputs[row], rest), record.output)


def answered(files: Sequence[Path], suite: Path, name: str) -> Iterator[dict[str, Any]]:
    """One line a query: the default draw's answers, and the pool of all that were drawn."""
    asked: dict[tuple[str, str], dict[str, Any]] = {}  # users may share records' ids
    for path in files:
        data = path.read_bytes()
        text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode()
        for line in map(json.loads, filter(None, text.split("\n"))):
            if "how" not in line:
                if path.name.startswith(f"{name}."):
                    yield {"plain": None, "pseudo": False, "pool": line["answers"], **line}
            elif (line["suite"], line["task"]) == (suite.name, name):
                place = (line["user"], line["id"])
                _collect(asked.setdefault(place, _empty(line)), line)
    yield from asked.values()


def _empty(line: Mapping[str, Any]) -> dict[str, Any]:
    kept = {key: line[key] for key in ("user", "id", "reference", "pseudo")}
    return {**kept, "evidence": [], "greedy": None, "plain": None, "answers": [], "pool": []}


def _collect(into: dict[str, Any], line: Mapping[str, Any]) -> None:
    how, k, heat = line["how"], line["k"], line["temperature"]
    if k == 0:
        into["plain"] = into["plain"] or line["texts"][0]
        return
    into["pool"] += line["texts"]
    if (how, k) == DEFAULT_DRAW[:2]:
        into["evidence"] = line["evidence"]
        if heat == 0.0:
            into["greedy"] = line["texts"][0]
        elif heat == DEFAULT_DRAW[2]:
            into["answers"] = line["texts"]
