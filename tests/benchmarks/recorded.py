"""Recorded answers of an LLM as training examples, and vectors kept between runs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

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
from hydra_cli.core.retrieval import retrieve
from hydra_cli.core.similarity import grade
from hydra_cli.core.tasks import PRESETS, TaskSpec
from hydra_cli.readers.lamp_files import read_split

if TYPE_CHECKING:
    from torch import Tensor

    from hydra_cli.core.records import Vectors


@dataclass(frozen=True, slots=True, eq=False)
class Recorded:
    """One task: training users' answered records, dev users' answered queries."""

    task: TaskSpec
    train: list[TrainingExample]
    dev: list[TrainingExample]
    train_histories: list[History]
    dev_histories: list[History]


class KeptVectors:
    """A TextEncoder that remembers its vectors in a file."""

    def __init__(self, encoder: TextEncoder, path: Path | None) -> None:
        self._encoder, self._path = encoder, path
        self.name, self.dimension = encoder.name, encoder.dimension
        self.fingerprint = encoder.fingerprint
        self._known: dict[str, Vectors] = {}
        if path is not None and path.is_file():
            with np.load(path) as file:
                self._known = dict(zip(file["keys"].tolist(), file["vectors"], strict=True))

    def encode(
        self, texts: Sequence[str], *, progress: Callable[[int], None] | None = None
    ) -> Vectors:
        keys = [_key(text) for text in texts]
        missing = dict(zip(keys, texts, strict=True))
        missing = {key: text for key, text in missing.items() if key not in self._known}
        if missing:
            made = self._encoder.encode(list(missing.values()), progress=progress)
            self._known.update(zip(missing, made, strict=True))
        if not keys:
            return np.zeros((0, self.dimension), np.float32)
        return np.stack([self._known[key] for key in keys]).astype(np.float32)

    def encode_pairs(self, pairs: Sequence[tuple[str, str]]) -> Tensor:
        return self._encoder.encode_pairs(pairs)

    def save(self) -> None:
        if self._path is not None and self._known:
            np.savez(
                self._path, keys=list(self._known), vectors=np.stack(list(self._known.values()))
            )


def _key(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def read_recorded(data: Path, name: str, encoder: TextEncoder) -> Recorded:
    """Both splits of a task, from the folders ``lamp`` and ``recorded`` of ``data``."""
    task, train_histories, _ = _split(data, name, "train", encoder)
    dev_task, dev_histories, queries = _split(data, name, "dev", encoder)
    if task.kind == "classification":
        task = task.with_labels(sorted({*task.labels, *dev_task.labels}))
    by_user = {history.user: history for history in train_histories}
    train = []
    for line in _lines(data / "recorded" / f"{name}.train.records.jsonl"):
        history = by_user[line["user"]]
        row = next(i for i, record in enumerate(history.records) if record.id == line["id"])
        record = history.records[row]
        query = Query(record.user, record.id, task.name, record.input, labels=task.labels)
        context = QueryContext(query, history.inputs[row], history.without(record))
        train.append(_answered(TrainingExample(context, record.output), line, task))
    dev = [
        _answered(queries[line["id"]], line, task)
        for line in _lines(data / "recorded" / f"{name}.dev.queries.jsonl")
    ]
    return Recorded(task, train, dev, train_histories, dev_histories)


def _split(
    data: Path, name: str, part: str, encoder: TextEncoder
) -> tuple[TaskSpec, list[History], dict[str, TrainingExample]]:
    folder = data / "lamp" / name
    split = read_split(folder / f"{part}_questions.json", folder / f"{part}_outputs.json", PRESETS)
    task = split.task

    def history(user: str, records: Sequence[Record]) -> History:
        inputs = encoder.encode([record.input for record in records])
        outputs = None if task.closed else encoder.encode([record.output for record in records])
        return History(user, tuple(records), inputs, outputs)

    found: dict[str, dict[str, Record]] = {}
    queries = {}
    for example in split.examples:
        query = example.query
        found.setdefault(query.user, {}).update({r.id: r for r in example.records})
        vector = encoder.encode([query.text])[0]
        context = QueryContext(query, vector, history(query.user, example.records))
        queries[query.id] = TrainingExample(context, example.reference)
    histories = []
    for user, records in found.items():
        ordered = sorted(records.values(), key=lambda r: r.time.timestamp() if r.time else 0.0)
        histories.append(history(user, ordered))
    return task, histories, queries


def _answered(example: TrainingExample, line: dict[str, Any], task: TaskSpec) -> TrainingExample:
    by_id = {record.id: record for record in example.context.history.records}
    shortlist = tuple(retrieve(example.context, how="fused", k=20))

    def graded(text: str) -> float:
        return grade(prediction=text, reference=example.reference, task=task)

    return replace(
        example,
        shortlist=shortlist,
        relevance=tuple(graded(scored.item.output) for scored in shortlist),
        evidence=tuple(Scored(by_id[i], 0.0) for i in line["evidence"] if i in by_id),
        candidates=tuple(Candidate(text, i) for i, text in enumerate(line["answers"])),
        quality=tuple(graded(text) for text in line["answers"]),
        greedy=line["greedy"],
    )


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]
