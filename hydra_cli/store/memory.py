"""A ``Store`` without a disk: for tests, and for trying things out."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from hydra_cli.core.encoders import EncoderInfo, check_same_encoder
from hydra_cli.core.protocols import AddResult, UserSummary, WorkNote
from hydra_cli.core.record_building import unix_lines
from hydra_cli.core.records import History, Query, QueryContext, Record, Scored
from hydra_cli.core.retrieval import best, bm25_scores, dense_scores
from hydra_cli.store.answer_log import AnswerLog
from hydra_cli.store.answers import forget_answers
from hydra_cli.store.memory_weights import MemoryWeights
from hydra_cli.store.scope import Erased, Scope, nothing_of
from hydra_cli.store.task_file import joined

if TYPE_CHECKING:
    from hydra_cli.core.protocols import Progress, TextEncoder
    from hydra_cli.core.records import Vectors
    from hydra_cli.core.tasks import TaskSpec
    from hydra_cli.core.weights import Weights
    from hydra_cli.store.archives import Manifest
    from hydra_cli.store.contract import WeightStore
    from hydra_cli.store.exporting import Format
    from hydra_cli.store.importing import Imported
    from hydra_cli.store.lance_store import LanceStore

Key = tuple[str, str, str]
"""User, task and id of a record."""

_EPOCH = datetime.min.replace(tzinfo=UTC)
_MADE_ID = re.compile(r"[0-9a-f]{32}")


class _NoNote:
    """Work on a store without a disk leaves nothing unfinished."""

    def reached(self, records: int) -> None:
        pass


class MemoryHistoryStore:
    """Records, vectors, weights and tasks in memory.

    ``answers`` is the file of kept answers, where somebody keeps some beside it.
    """

    def __init__(self, *, answers: Path | None = None) -> None:
        self._records: dict[Key, Record] = {}
        self._order: dict[Key, int] = {}
        self._vectors: dict[Key, tuple[Vectors, Vectors | None]] = {}
        self._encoder: EncoderInfo | None = None
        self._forgotten: set[tuple[str, ...]] = set()
        self._tasks: dict[str, TaskSpec] = {}
        self._heads = MemoryWeights()
        self._answers = answers
        self.weights: WeightStore = self._heads
        self.answer_log = AnswerLog(None)

    def noted(
        self, operation: str, *, counted: bool = False, **details: str
    ) -> AbstractContextManager[WorkNote]:
        return nullcontext(_NoNote())

    # -- records

    def add(
        self,
        records: Sequence[Record],
        *,
        restore: bool = False,
        update: Literal["id", "content"] | None = None,
    ) -> AddResult:
        added = present = 0
        conflicting: list[Record] = []
        refused: list[Record] = []
        written: set[Key] = set()
        replaced: set[str] = set()
        old = self._corrected(records) if update == "content" else {}
        count = 0
        for record in records:
            marks = {(record.user,), (record.user, record.task), _key(record)} & self._forgotten
            if marks and not restore:
                refused.append(record)
                continue
            self._forgotten -= marks
            key = _key(record)
            known = self._records.get(key)
            if known is None:
                if (former := old.get(key)) is not None:
                    self._put(record, self._order[former])
                    self._drop(former)
                    replaced.add(record.user)
                    count += 1
                else:
                    self._put(record, max(self._order.values(), default=-1) + 1)
                    added += 1
                written.add(key)
            elif _content(known) == _content(record):
                present += 1
            elif update is not None and key not in written:
                self._put(record, self._order[key])
                self._vectors.pop(key, None)
                written.add(key)
                replaced.add(record.user)
                count += 1
            else:
                conflicting.append(record)
        if self._answers is not None and replaced:
            forget_answers(self._answers, replaced)
        return AddResult(added, present, tuple(conflicting), tuple(refused), count)

    def _put(self, record: Record, order: int) -> None:
        self._records[_key(record)] = record
        self._order[_key(record)] = order

    def _drop(self, key: Key) -> None:
        del self._records[key], self._order[key]
        self._vectors.pop(key, None)

    def _corrected(self, records: Sequence[Record]) -> dict[Key, Key]:
        """The stored record of a made id that each new one replaces, where it is the only one."""
        own = {_key(record) for record in records}
        stored: dict[tuple[object, ...], list[Key]] = {}
        for key, record in self._records.items():
            if key not in own and _MADE_ID.fullmatch(record.id):
                stored.setdefault(_asked(record), []).append(key)
        new: dict[tuple[object, ...], list[Key]] = {}
        for key in own - self._records.keys():
            record = next(r for r in records if _key(r) == key)
            new.setdefault(_asked(record), []).append(key)
        return {
            keys[0]: stored[asked][0]
            for asked, keys in new.items()
            if len(keys) == 1 and len(stored.get(asked, ())) == 1
        }

    def users(self) -> list[UserSummary]:
        found = []
        for user in sorted({key[0] for key in self._records}):
            own = self.records(user)
            times = [record.time for record in own if record.time]
            tasks = tuple(sorted({record.task for record in own}))
            first, last = (min(times), max(times)) if times else (None, None)
            found.append(UserSummary(user, len(own), tasks, first, last))
        return found

    def tasks_of(self, user: str) -> list[tuple[str, int]]:
        return self._counts(1, lambda key: key[0] == user)

    def users_of(self, task: str) -> list[tuple[str, int]]:
        return sorted(self._counts(0, lambda key: key[1] == task))

    def tasks_of_record(self, user: str, record: str) -> list[str]:
        return sorted(task for owner, task, id_ in self._records if (owner, id_) == (user, record))

    def _counts(self, part: int, where: Callable[[Key], bool]) -> list[tuple[str, int]]:
        counts: dict[str, int] = {}
        for key in self._records:
            if where(key):
                counts[key[part]] = counts.get(key[part], 0) + 1
        return sorted(counts.items(), key=lambda item: (-item[1], item[0]))

    def records(
        self, user: str, *, task: str | None = None, limit: int | None = None
    ) -> list[Record]:
        own = [
            record
            for record in self._records.values()
            if record.user == user and task in (None, record.task)
        ]
        own.sort(key=lambda record: (record.time or _EPOCH, self._order[_key(record)]))
        return own if limit is None else own[max(0, len(own) - limit) :]

    # -- vectors

    @property
    def encoder(self) -> EncoderInfo | None:
        return self._encoder

    def vectors(
        self, user: str, task: str, ids: Sequence[str]
    ) -> dict[str, tuple[Vectors, Vectors | None]]:
        return {i: self._vectors[user, task, i] for i in ids if (user, task, i) in self._vectors}

    def put_vectors(
        self,
        user: str,
        task: str,
        fingerprint: str,
        vectors: Iterable[tuple[str, Vectors, Vectors | None]],
        *,
        of: Sequence[Record] | None = None,
    ) -> None:
        given = list(vectors)
        if of is not None:
            same = {record.id for record in of if self._records.get(_key(record)) == record}
            given = [one for one in given if one[0] in same]
        if not given:
            return
        encoder = EncoderInfo(fingerprint, int(given[0][1].shape[0]))
        if self._encoder is not None and self._vectors:
            check_same_encoder(self._encoder, encoder)
        self._encoder = encoder
        for record_id, inputs, outputs in given:
            key = (user, task, record_id)
            held = self._vectors.get(key)
            if key in self._records and (held is None or held[1] is None):
                self._vectors[key] = (inputs, outputs)

    def reindex(
        self, encoder: TextEncoder, *, closed: Callable[[str], bool], progress: Progress
    ) -> tuple[int, bool]:
        changed = self._encoder is not None and self._encoder.fingerprint != encoder.fingerprint
        progress.start("embedding", len(self._records))
        for key, record in self._records.items():
            inputs = encoder.encode([record.input])[0]
            outputs = None if closed(record.task) else encoder.encode([record.output])[0]
            self._vectors[key] = (inputs, outputs)
            progress.advance()
        self._encoder = EncoderInfo(encoder.fingerprint, encoder.dimension, encoder.name)
        return len(self._records), changed

    def kept_history(self, key: Hashable, make: Callable[[], History]) -> History:
        """Read each time: there is no disk to save."""
        return make()

    def search_text(self, user: str, task: str, text: str, k: int) -> list[Scored[Record]]:
        records = tuple(self.records(user, task=task))
        if not records or k < 1 or not text.strip():
            return []
        history = History(user, records, np.zeros((len(records), 1), np.float32))
        context = QueryContext(Query(user, "", task, text), np.zeros(1, np.float32), history)
        return best(history, bm25_scores(context), k)

    def search_vector(self, user: str, task: str, vector: Vectors, k: int) -> list[Scored[Record]]:
        records = [r for r in self.records(user, task=task) if _key(r) in self._vectors]
        if not records or k < 1:
            return []
        inputs = np.stack([self._vectors[_key(r)][0] for r in records])
        history = History(user, tuple(records), inputs)
        context = QueryContext(Query(user, "", task, ""), vector, history)
        return best(history, dense_scores(context), k)

    # -- weights and tasks

    def save_fit(
        self,
        task: str,
        recipe: str,
        *,
        base: Weights | None,
        heads: Mapping[str, Weights],
        new_base: bool,
    ) -> None:
        left = dict(self.users_of(task))
        kept = {user: head for user, head in heads.items() if left.get(user)}
        self.weights.write(task, recipe, base=base, heads=kept, new_base=new_base)

    def withdraw(self, user: str, task: str, id: str) -> bool:
        key = user, task, id
        if key not in self._records:
            return False
        self._drop(key)
        if self._answers is not None:
            forget_answers(self._answers, [user])
        return True

    def tasks(self) -> dict[str, TaskSpec]:
        return dict(self._tasks)

    def save_task(self, spec: TaskSpec) -> TaskSpec:
        self._tasks[spec.name] = joined(self._tasks.get(spec.name), spec)
        return self._tasks[spec.name]

    # -- forgetting

    def would_forget(self, scope: Scope) -> Erased:
        keys = self._within(scope)
        kept, said = self.answer_log.count(scope)
        erased = Erased(
            records=len(keys),
            vectors=sum(key in self._vectors for key in keys),
            heads=len(self._heads.within(scope.user, self._tasks_within(scope, keys))),
            work_files=0,
            cached_answers=self._answers is not None and self._answers.is_file(),
            backups=0,
            kept_answers=kept,
            feedback=said,
        )
        if not (erased.records or erased.heads or (scope.whole and (kept or said))):
            raise nothing_of(scope)
        return erased

    def forget(self, scope: Scope) -> Erased:
        erased, keys = self.would_forget(scope), self._within(scope)
        self._forgotten |= {_mark(scope, task) for task in self._tasks_within(scope, keys) or [""]}
        self._heads.drop(scope.user, self._tasks_within(scope, keys))
        going = [self._records[key] for key in keys]
        for key in keys:
            self._drop(key)
        self._forget_labels(going)
        if self._answers is not None:
            forget_answers(self._answers, [scope.user])
        self.answer_log.erase(scope)
        return erased

    def _within(self, scope: Scope) -> list[Key]:
        return [
            (user, task, id_)
            for user, task, id_ in self._records
            if user == scope.user
            and scope.task in (None, task)
            and (scope.record is None or scope.record == id_)
        ]

    @staticmethod
    def _tasks_within(scope: Scope, keys: Sequence[Key]) -> set[str] | None:
        """The tasks that the scope touches; None: whatever there is of the user."""
        if scope.whole:
            return None
        return {scope.task} if scope.task is not None else {task for _, task, _ in keys}

    def _forget_labels(self, going: Sequence[Record]) -> None:
        """Labels learned from the forgotten records alone, and tasks without any other record."""
        for name in {record.task for record in going} & self._tasks.keys():
            left = {record.output for record in self._records.values() if record.task == name}
            if not left:
                del self._tasks[name]
                continue
            lost = {record.output for record in going if record.task == name} - left
            spec = self._tasks[name]
            labels = [label for label in spec.labels if label not in lost]
            self._tasks[name] = spec.with_labels(labels)

    # -- archives, by way of a store on a disk

    def export(self, target: Path, *, users: Sequence[str], format: Format) -> Manifest:
        with _disk() as disk:
            disk.add(sorted(self._records.values(), key=lambda r: self._order[_key(r)]))
            for user, task in dict.fromkeys((user, task) for user, task, _ in self._vectors):
                assert self._encoder is not None
                own = [(key[2], *self._vectors[key]) for key in self._vectors
                       if key[:2] == (user, task)]  # fmt: skip
                disk.put_vectors(
                    user, task, self._encoder.fingerprint, own, encoder_name=self._encoder.name
                )
            for task, recipe, base, heads in self._heads.everything():
                disk.save_fit(task, recipe, base=base, heads=heads, new_base=False)
            for spec in self._tasks.values():
                disk.save_task(spec)
            disk.answer_log.load(self.answer_log.dump())
            return disk.export(target, users=users, format=format)

    def import_archive(self, path: Path, *, restore: bool) -> Imported:
        from hydra_cli.core.weights import Weights
        from hydra_cli.store.importing import Imported, kept_note

        done, refused = Imported(), set()
        with _disk() as disk:
            disk.import_archive(path, restore=True)
            for summary in disk.users():
                result = self.add(disk.records(summary.user), restore=restore)
                done.records += result.added
                done.present += result.present
                done.conflicting += len(result.conflicting)
                done.forgotten += len(result.forgotten)
                refused |= {record.user for record in result.forgotten}
            self._import_vectors(disk, done)
            for file in [*disk.folder.base_files(), *disk.folder.every_head()]:
                weights = Weights.load(file)
                if weights.card.user in refused:
                    continue
                new = self._heads.keep(weights)
                done.files, done.kept = done.files + (new is True), done.kept + (new is False)
            for spec in disk.tasks().values():
                self._tasks.setdefault(spec.name, spec)
            known = {summary.user for summary in self.users()} - refused
            done.answers = self.answer_log.load(disk.answer_log.dump(sorted(known)))
        if done.kept:
            done.notes.append(kept_note(done.kept))
        return done

    def _import_vectors(self, disk: LanceStore, done: Imported) -> None:
        from hydra_cli.store.importing import OTHER_ENCODER

        if disk.encoder is None:
            return
        if self._encoder is not None and self._encoder.fingerprint != disk.encoder.fingerprint:
            done.notes.append(OTHER_ENCODER)
            return
        before = len(self._vectors)
        for summary in disk.users():
            for task in summary.tasks:
                ids = [record.id for record in disk.records(summary.user, task=task)]
                found = disk.vectors(summary.user, task, ids)
                given = [(id_, inputs, outputs) for id_, (inputs, outputs) in found.items()]
                self.put_vectors(summary.user, task, disk.encoder.fingerprint, given)
        self._encoder = disk.encoder
        done.vectors = len(self._vectors) - before


@contextmanager
def _disk() -> Iterator[LanceStore]:
    """An empty store in a folder that is gone afterwards."""
    from hydra_cli.store.lance_store import LanceStore

    with tempfile.TemporaryDirectory(prefix="hydra-pers-") as folder:
        yield LanceStore.open(Path(folder, "store"), create=True)


def _key(record: Record) -> Key:
    return record.user, record.task, record.id


def _content(record: Record) -> tuple[object, ...]:
    return unix_lines(record.input), unix_lines(record.output), record.time


def _asked(record: Record) -> tuple[object, ...]:
    return record.user, record.task, unix_lines(record.input), record.time


def _mark(scope: Scope, task: str) -> tuple[str, ...]:
    if scope.whole:
        return (scope.user,)
    return (scope.user, task) if scope.record is None else (scope.user, task, scope.record)
