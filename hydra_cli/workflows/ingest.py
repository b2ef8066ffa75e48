"""Files to records in the store: streamed, in batches, each of them whole or not at all."""

from __future__ import annotations

import gc
import json
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import BinaryIO, Literal, Protocol

from hydra_cli.core.errors import DataError, Incomplete
from hydra_cli.core.files import name_of
from hydra_cli.core.protocols import HistoryStore, Progress
from hydra_cli.core.recognition import guess_columns
from hydra_cli.core.record_building import RecordBuilder, Rejected
from hydra_cli.core.records import Record
from hydra_cli.core.rows import NOT_UTF8, BadRow, Row
from hydra_cli.core.tasks import TaskSpec
from hydra_cli.core.time_rules import TimeRule, time_rule
from hydra_cli.readers import STDIN, Source, open_source
from hydra_cli.readers.lamp import USER_FIELD, is_question, match_task, profile_rows
from hydra_cli.workflows.task_learning import TaskLearner

DEFAULT_TASK = "default"
"""The task of records that name none."""
BATCH = 20_000
_BATCH_CHARACTERS = 32 * 1024 * 1024
_SAMPLE = 200
_SAMPLE_CHARACTERS = 8 * 1024 * 1024
_REASONS = 1000
_ALLOCATIONS = 100_000
TOLERATED = 0.02
"""The share of rows that may be rejected before an ingest counts as incomplete."""


class RejectLog(Protocol):
    """Where rejected rows go."""

    def add(self, source: str, line: int, reason: str, text: str) -> None: ...


@dataclass(frozen=True, slots=True)
class IngestOptions:
    """What the user said about the sources. ``columns`` maps a record's fields to columns.

    ``keep``: the other columns that are kept as metadata, None for all.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    task: str | None = None
    user: str | None = None
    restore: bool = False
    update: bool = False
    encoding: str | None = None
    times: TimeRule | None = None
    keep: Collection[str] | None = ()


@dataclass(slots=True)
class FileReport:
    """What became of one source. ``error``: it couldn't be read, or not to its end."""

    source: str
    format: str | None = None
    added: int = 0
    present: int = 0
    replaced: int = 0
    rejected: int = 0
    reasons: dict[str, int] = field(default_factory=dict)
    first_rejected: str | None = None
    columns: str | None = None
    error: str | None = None
    hint: str | None = None
    encoding: str | None = None
    times: str | None = None
    """The rule that times were read by, where it is not the usual one."""
    dropped: tuple[str, ...] = ()
    """Columns that are neither a record's field nor kept."""

    @property
    def usable(self) -> int:
        return self.added + self.present + self.replaced


@dataclass(frozen=True, slots=True)
class IngestReport:
    files: tuple[FileReport, ...]
    tasks: tuple[TaskSpec, ...]
    recognised: tuple[str, ...]
    """Tasks whose kind is a guess made in this ingest."""
    shapes: tuple[str, ...] = ()
    """What answers to text tasks that are new or changed may be like, in words."""

    @property
    def added(self) -> int:
        return sum(report.added for report in self.files)

    @property
    def present(self) -> int:
        return sum(report.present for report in self.files)

    @property
    def replaced(self) -> int:
        return sum(report.replaced for report in self.files)

    @property
    def rejected(self) -> int:
        return sum(report.rejected for report in self.files)

    @property
    def usable(self) -> int:
        return sum(report.usable for report in self.files)

    def incomplete(self) -> Incomplete | None:
        """The error to end with where more than TOLERATED of all rows were rejected."""
        rows = self.rejected + self.usable
        if self.rejected <= TOLERATED * rows:
            return None
        return Incomplete(
            f"{self.rejected:,} of {rows:,} rows were rejected; the others are in the store",
            hint="--rejects FILE keeps them with the reasons, - prints them; "
            "--allow-rejects takes that for a success",
        )


def ingest(
    sources: Sequence[Path | None],
    store: HistoryStore,
    learner: TaskLearner,
    known_tasks: Mapping[str, TaskSpec],
    *,
    options: IngestOptions,
    stdin: BinaryIO,
    progress: Progress,
    rejects: RejectLog | None = None,
) -> IngestReport:
    """Read every source (None is ``stdin``) into the store.

    A source that can't be read doesn't stop the others. DataError where none
    gave a usable record.
    """
    reports = []
    for path in sources:
        report = FileReport(STDIN if path is None else str(path))
        reports.append(report)
        reading = _Reading(report, store, learner, known_tasks, options, progress, rejects)
        try:
            with open_source(path, stdin, encoding=options.encoding) as source, _rare_collections():
                reading.read(source)
        except DataError as error:
            report.error, report.hint = error.message, error.hint
    if not any(report.usable for report in reports):
        raise _nothing(reports)
    return IngestReport(tuple(reports), learner.tasks, learner.recognised, learner.shapes)


@contextmanager
def _rare_collections() -> Iterator[None]:
    """Rows make no cycles, and a batch of them is walked by every collection of garbage."""
    before = gc.get_threshold()
    gc.set_threshold(_ALLOCATIONS, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)


class _Reading:
    """One source on its way into the store."""

    def __init__(
        self,
        report: FileReport,
        store: HistoryStore,
        learner: TaskLearner,
        known_tasks: Mapping[str, TaskSpec],
        options: IngestOptions,
        progress: Progress,
        rejects: RejectLog | None,
    ) -> None:
        self._report = report
        self._store = store
        self._learner = learner
        self._known_tasks = known_tasks
        self._options = options
        self._progress = progress
        self._rejects = rejects
        self._reasons: Counter[str] = Counter()
        self._offered: set[str] = set()
        self._update: Literal["id", "content"] | None = None
        self._reached: Callable[[int], None] = lambda _: None

    def read(self, source: Source) -> None:
        """Add the source's records batch by batch; what precedes an error is kept."""
        self._report.format = source.format
        self._report.encoding = source.encoding
        self._progress.start(f"reading {source.name}", None)
        until_error = _UntilError(source.rows)
        try:
            with self._store.noted("ingest", counted=True, **_noted_as(source.name)) as note:
                self._reached = note.reached
                self._read(iter(until_error), source.name)
        finally:
            self._report.reasons = dict(self._reasons.most_common(10))
        if until_error.error is not None:
            raise until_error.error

    def _read(self, rows: Iterator[Row | BadRow], name: str) -> None:
        task = self._options.task
        given = dict(self._options.columns)
        head = self._sample(rows)
        if head and is_question(head[0].fields):
            self._report.format = "lamp"
            spec = self._lamp_task(head[0].fields)
            rows = profile_rows(chain(head, rows), spec, self._offered)
            head = self._sample(rows)
            given["user"] = USER_FIELD
            if spec is not None:
                task = spec.name
                given = {"input": spec.input_field, "output": spec.output_field, **given}
        if not head:
            return
        columns = guess_columns([row.fields for row in head], given, source=name)
        if task is not None:
            columns = replace(columns, task=None)
        if columns.user is None and self._options.user is None:
            raise DataError(
                f"{name} has no column that names the user",
                hint="name it with --map user=COLUMN, or the user of the whole file with --user",
            )
        self._report.columns = str(columns)
        if self._options.update:
            self._update = "content" if columns.id is None else "id"
        times = self._times(columns.time, head)
        keep = self._options.keep
        if keep is not None:
            names = dict.fromkeys(name for row in head for name in row.fields)
            # An object of this name says itself that it is to be kept: `history --json` has one.
            if any(isinstance(row.fields.get("metadata"), dict) for row in head):
                keep = {*keep, "metadata"}
            self._report.dropped = tuple(n for n in names if n not in columns.used() | set(keep))
        builder = RecordBuilder(
            columns,
            task=task or DEFAULT_TASK,
            user=self._options.user,
            times=times,
            keep=keep,
        )
        self._add_all(chain(head, rows), builder, columns.output)

    def _times(self, column: str | None, head: Sequence[Row]) -> TimeRule:
        """The rule of the file's times, told where it is not the usual one."""
        if column is None:
            return TimeRule()
        rule = self._options.times or time_rule(
            (row.fields.get(column) for row in head), column=column
        )
        self._report.times = rule.said
        return rule

    def _lamp_task(self, question: Mapping[str, object]) -> TaskSpec | None:
        if self._options.task is not None:
            return self._known_tasks.get(self._options.task)
        return match_task(question, self._known_tasks.values())

    def _sample(self, rows: Iterator[Row | BadRow]) -> list[Row]:
        """The first rows, to guess from; bad ones among them are rejected at once."""
        sample: list[Row] = []
        room = _SAMPLE_CHARACTERS
        for row in rows:
            if isinstance(row, BadRow):
                self._reject(row.line, row.reason, row.text)
                continue
            sample.append(row)
            room -= sum(len(value) for value in row.fields.values() if isinstance(value, str))
            if len(sample) == _SAMPLE or room < 0:
                break
        return sample

    def _add_all(self, rows: Iterable[Row | BadRow], builder: RecordBuilder, column: str) -> None:
        build = builder.build
        records: list[Record] = []
        lines: list[int] = []
        characters = 0
        for row in rows:
            if isinstance(row, BadRow):
                self._reject(row.line, row.reason, row.text)
                continue
            try:
                record = build(row.fields)
            except Rejected as refusal:
                self._reject(row.line, str(refusal), _shown(row.fields))
                continue
            records.append(record)
            lines.append(row.line)
            characters += len(record.input) + len(record.output)
            if len(records) >= BATCH or characters > _BATCH_CHARACTERS:
                self._add(records, lines, column)
                records, lines, characters = [], [], 0
        if records:
            self._add(records, lines, column)

    def _add(self, records: list[Record], lines: list[int], column: str) -> None:
        fitting, refused = self._learner.fit(records, column=column)
        result = self._store.add(fitting, restore=self._options.restore, update=self._update)
        self._report.added += result.added
        self._report.present += result.present
        self._report.replaced += result.replaced
        out = [
            *refused,
            *(
                (record, "the id is taken by other content (--update replaces it)")
                for record in result.conflicting
            ),
            *((record, "was forgotten before (--restore takes it)") for record in result.forgotten),
        ]
        if out:
            line_of = {
                key: line
                for record, line in zip(records, lines, strict=True)
                for key in _keys(record)
            }
            for record, reason in out:
                self._reject(line_of[_key(record)], reason, _shown(_as_row(record)))
            gone = {(*_key(record), record.output) for record, _ in out}
            fitting = [r for r in fitting if gone.isdisjoint((*k, r.output) for k in _keys(r))]
        self._learner.accepted(fitting, self._offered)
        self._reached(self._report.usable)
        self._progress.advance(len(records))

    def _reject(self, line: int, reason: str, text: str) -> None:
        report = self._report
        report.rejected += 1
        if report.first_rejected is None:
            report.first_rejected = f"line {line}: {reason}"
        if len(self._reasons) < _REASONS or reason in self._reasons:
            self._reasons[reason] += 1
        if self._rejects is not None:
            self._rejects.add(report.source, line, reason, text)


def _noted_as(source: str) -> dict[str, str]:
    """How an unfinished ingest is noted: the file's name to be shown, a hash of its path.

    The same file by another path is the same work; where it lies is nobody's business.
    """
    if source == STDIN:
        return {"what": STDIN}
    path = Path(source).absolute().resolve()
    return {"what": path.name, "where": name_of(str(path))}


class _UntilError:
    """Rows up to the error that ends them, which is kept: the batch before it still counts."""

    def __init__(self, rows: Iterator[Row | BadRow]) -> None:
        self._rows = rows
        self.error: DataError | None = None

    def __iter__(self) -> Iterator[Row | BadRow]:
        try:
            yield from self._rows
        except DataError as error:
            self.error = error


def _key(record: Record) -> tuple[str, str, str]:
    return record.user, record.task, record.id


def _keys(record: Record) -> list[tuple[str, str, str]]:
    """The record's key, and those that a store may know it by."""
    return [(record.user, record.task, name) for name in (record.id, *record.former)]


def _as_row(record: Record) -> dict[str, object]:
    time = None if record.time is None else record.time.isoformat()
    return {
        "id": record.id,
        "user": record.user,
        "task": record.task,
        "input": record.input,
        "output": record.output,
        "time": time,
        "metadata": dict(record.metadata),
    }


def _shown(fields: Mapping[str, object]) -> str:
    """A row as JSON; a row nested beyond Python's recursion limit has no text."""
    try:
        return json.dumps(fields, ensure_ascii=False, default=str)
    except RecursionError:
        return ""


def _nothing(reports: Sequence[FileReport]) -> DataError:
    """Why no source gave a record: the first cause in full."""
    rejected = sum(report.rejected for report in reports)
    failed = [report for report in reports if report.error]
    where = reports[0].source if len(reports) == 1 else f"{len(reports)} files"
    if failed and not rejected:
        more = f" (and {len(reports) - 1} more)" if len(reports) > 1 else ""
        return DataError(f"{failed[0].error}{more}", hint=failed[0].hint)
    if not rejected:
        return DataError(f"no rows in {where}")
    first = next(report for report in reports if report.rejected)
    if all(set(report.reasons) <= {NOT_UTF8} for report in reports):
        return DataError(
            f"nothing usable in {where}: {rejected} rejected, first {first.first_rejected}",
            hint="say with --encoding what the file is, such as cp1252",
        )
    return DataError(
        f"nothing usable in {where}: {rejected} rejected, first {first.first_rejected}",
        hint="see all of them with --rejects FILE, or name the columns with --map",
    )
