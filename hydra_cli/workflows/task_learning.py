"""Tasks as their records teach them: kind, labels and scale, kept beside the store.

A task declared in the settings with its labels is fixed: records must fit it.
Every other one learns. Its kind is decided once, in the ingest that first
brings it; its labels or its scale grow with each ingest, and so does the length
of its answers, in lines and in tokens. What the config file says stays.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from hydra_cli.core.answer_shape import AnswerShape, lengthened
from hydra_cli.core.errors import UsageError
from hydra_cli.core.recognition import (
    MAX_LABEL_LENGTH,
    MAX_LABELS,
    OutputStatistics,
    is_label,
    number_of,
    scale_of,
)
from hydra_cli.core.records import Record
from hydra_cli.core.tasks import PRESETS, Kind, TaskSpec

Refused = tuple[Record, str]
"""A record and why it doesn't fit its task."""

_INSTRUCTIONS: dict[Kind, str] = {
    "generation": "Answer as the user would.",
    "classification": "Name the label that fits. Answer with the label alone.",
    "rating": "Rate it from {} to {}. Answer with the number alone.",
}


class TaskLearner:
    """Fits records to their tasks, and tasks to their records.

    ``saved`` are the tasks learned by earlier ingests, ``declared`` all tasks
    of the settings, those included. ``save`` keeps a task. ``given`` are the
    keys of each task that the config file holds: they are not learned.
    """

    def __init__(
        self,
        declared: Mapping[str, TaskSpec],
        saved: Mapping[str, TaskSpec],
        save: Callable[[TaskSpec], TaskSpec],
        *,
        kind: Kind | None = None,
        given: Mapping[str, Collection[str]] | None = None,
    ) -> None:
        self._declared = declared
        self._saved = saved
        self._save = save
        self._kind = kind
        self._given = given or {}
        self._specs: dict[str, TaskSpec] = {}
        self._statistics: dict[str, OutputStatistics] = {}
        self._shapes: dict[str, AnswerShape] = {}

    @property
    def tasks(self) -> tuple[TaskSpec, ...]:
        """Every task that was met, as it is now."""
        return tuple(spec for _, spec in sorted(self._specs.items()))

    @property
    def recognised(self) -> tuple[str, ...]:
        """Tasks whose kind was guessed in this ingest."""
        return () if self._kind else tuple(sorted(self._statistics))

    @property
    def shapes(self) -> tuple[str, ...]:
        """What answers to each new or changed text task may be like, in words."""
        return tuple(
            f"{spec.name}: {self._shapes[spec.name]}, answers may take {spec.answer_tokens} tokens"
            for spec in self.tasks
            if spec.kind == "generation" and spec != self._declared.get(spec.name)
        )

    def fit(self, records: Sequence[Record], *, column: str) -> tuple[list[Record], list[Refused]]:
        """The records with their outputs as their task writes them, and those refused.

        ``column`` is the name of the source's output column.
        """
        if not records:
            return [], []
        names = {record.task for record in records}
        for name in names:
            outputs = [record.output for record in records if record.task == name]
            self._meet(name, outputs, column)
        if all(self._specs[name].kind == "generation" for name in names):
            return list(records), []
        fitting: list[Record] = []
        refused: list[Refused] = []
        for record in records:
            spec = self._specs[record.task]
            output, reason = self._output(spec, record.output)
            if reason is not None:
                refused.append((record, reason))
            else:
                same = output == record.output
                fitting.append(record if same else replace(record, output=output))
        return fitting, refused

    def accepted(self, records: Iterable[Record], offered: Iterable[str] = ()) -> None:
        """Learn the labels of records that are in the store now, and those offered with them."""
        found: dict[str, set[str]] = {}
        closed = {name for name, spec in self._specs.items() if spec.kind == "classification"}
        if not closed:
            return
        for record in records:
            if record.task in closed:
                found.setdefault(record.task, set()).add(record.output)
        for name, labels in found.items():
            spec = self._specs[name]
            # No other way to know whose labels they are: a source has one task then.
            labels |= set(offered) if len(found) == 1 else set()
            if not self._fixed(name) and not labels <= set(spec.labels):
                self._keep(spec.with_labels(sorted({*spec.labels, *labels})))

    def _fixed(self, name: str) -> bool:
        declared, saved = self._declared.get(name), self._saved.get(name)
        if declared is None or not declared.labels:
            return False
        return saved is None or saved.labels != declared.labels

    def _meet(self, name: str, outputs: Sequence[str], column: str) -> None:
        """Bring the task up to date with a batch of its outputs."""
        if name not in self._specs and name in self._declared:
            self._specs[name] = self._with_kind(self._declared[name])
        if name in self._declared:
            if self._specs[name].kind == "rating" and not self._fixed(name):
                self._widen(self._specs[name], outputs)
            if self._specs[name].kind == "generation" and PRESETS.get(name) != self._declared[name]:
                self._lengthen(self._declared[name], outputs)
            return
        statistics = self._statistics.setdefault(name, OutputStatistics(column))
        statistics.add(outputs)
        kind = self._kind or statistics.kind()
        known = self._specs.get(name)
        labels: tuple[str, ...] = ()
        if kind == "classification" and known is not None and known.kind == kind:
            labels = known.labels
        instruction = _INSTRUCTIONS[kind]
        if kind == "rating":
            labels = statistics.scale or _scale(outputs)
            instruction = instruction.format(
                *(labels or ("low", "high"))[:: max(1, len(labels) - 1)]
            )
        spec = TaskSpec(name, kind, instruction, labels, answer_tokens=8)
        if kind == "generation":
            shape = self._shapes[name] = statistics.shape
            spec = replace(spec, answer_tokens=shape.answer_tokens, multiline=shape.multiline)
        self._keep(spec)

    def _with_kind(self, spec: TaskSpec) -> TaskSpec:
        if self._kind in (None, spec.kind):
            return spec
        raise UsageError(
            f"task {spec.name!r} is known as {spec.kind}, not as {self._kind}",
            hint="leave --kind out, or give the records another --task",
        )

    def _lengthen(self, spec: TaskSpec, outputs: Sequence[str]) -> None:
        """Give answers the lines and the tokens that a known task's outputs turn out to need."""
        shape = self._shapes.setdefault(spec.name, AnswerShape())
        shape.add(outputs)
        self._keep(lengthened(spec, shape, self._given.get(spec.name, ())))

    def _widen(self, spec: TaskSpec, outputs: Sequence[str]) -> None:
        numbers = {number for text in outputs if (number := number_of(text)) is not None}
        labels = scale_of(numbers | {float(label) for label in spec.labels})
        if labels and labels != spec.labels:
            self._keep(spec.with_labels(labels))

    def _keep(self, spec: TaskSpec) -> None:
        if spec != self._specs.get(spec.name):
            self._specs[spec.name] = self._save(spec)

    def _output(self, spec: TaskSpec, text: str) -> tuple[str, str | None]:
        """The output as the task writes it, and why it can't be its output."""
        if spec.kind == "generation":
            return text, None
        if spec.kind == "rating":
            number = number_of(text)
            label = next((x for x in spec.labels if float(x) == number), None)
            scale = f"{spec.labels[0]} to {spec.labels[-1]}" if spec.labels else "any scale"
            return label or text, None if label else f"output is not on {scale} of {spec.name!r}"
        if self._fixed(spec.name):
            folded = " ".join(text.lower().split())
            label = next((x for x in spec.labels if x.lower() == folded), None)
            return label or text, None if label else f"output is no label of task {spec.name!r}"
        if not is_label(text):
            return text, f"output is longer than a label ({MAX_LABEL_LENGTH} characters)"
        if len(spec.labels) >= MAX_LABELS and text not in spec.labels:
            return text, f"task {spec.name!r} has {MAX_LABELS} labels already"
        return text, None


def _scale(outputs: Iterable[str]) -> tuple[str, ...]:
    """The scale of those outputs that are numbers at all."""
    return scale_of({number for text in outputs if (number := number_of(text)) is not None})
