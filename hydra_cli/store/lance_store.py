"""``Store`` in one folder: the tables, and everything that lies beside them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hydra_cli.core.encoders import EncoderInfo
from hydra_cli.store import forgetting, updating
from hydra_cli.store.archives import Manifest
from hydra_cli.store.exporting import Format, export_store
from hydra_cli.store.folder import StoreFolder
from hydra_cli.store.importing import Imported, import_into
from hydra_cli.store.lancedb_store import LanceHistoryStore
from hydra_cli.store.reindexing import Reindex
from hydra_cli.store.scope import Erased, Scope
from hydra_cli.store.task_file import load_tasks, save_task
from hydra_cli.store.weight_files import WeightFiles

if TYPE_CHECKING:
    from hydra_cli.core.protocols import Progress, TextEncoder
    from hydra_cli.core.tasks import TaskSpec
    from hydra_cli.core.weights import Weights


class LanceStore(LanceHistoryStore):
    """Records, vectors, weights and tasks of one folder. ``open`` it."""

    def __init__(self, folder: StoreFolder) -> None:
        super().__init__(folder)
        self.weights = WeightFiles(folder)

    def save_fit(
        self,
        task: str,
        recipe: str,
        *,
        base: Weights | None,
        heads: Mapping[str, Weights],
        new_base: bool,
    ) -> None:
        """Keep what a fit made; a user forgotten meanwhile doesn't come back as a head."""
        with self.lock.held():
            left = dict(self.users_of(task))
            kept = {user: head for user, head in heads.items() if left.get(user)}
            self.weights.write(task, recipe, base=base, heads=kept, new_base=new_base)

    def withdraw(self, user: str, task: str, id: str) -> bool:
        """Remove a record that its user takes back; whether it was there."""
        return updating.withdraw(self, user, task, id)

    def tasks(self) -> dict[str, TaskSpec]:
        """The recognised tasks by name; StoreError where their file is damaged."""
        return load_tasks(self.folder.root)

    def save_task(self, spec: TaskSpec) -> TaskSpec:
        """Keep a task; labels of a classification join those already kept. What was kept."""
        return save_task(self.folder.root, spec)

    def would_forget(self, scope: Scope) -> Erased:
        """What ``forget`` would erase; NotFound where there is nothing of it."""
        return forgetting.preview(self, scope)

    def forget(self, scope: Scope) -> Erased:
        """Erase the scope for good. A kill in between is finished by the next command."""
        return forgetting.erase(self, scope)

    def tasks_of_record(self, user: str, record: str) -> list[str]:
        """The tasks in which the user has a record of this id."""
        return forgetting.tasks_of_record(self, Scope(user, record=record))

    def export(self, target: Path, *, users: Sequence[str], format: Format) -> Manifest:
        """Write users (none named: the whole store) to a new folder, tar or zip."""
        return export_store(self, target, users=users, format=format)

    def import_archive(self, path: Path, *, restore: bool) -> Imported:
        """Add an export: checked to its last row before anything changes."""
        return import_into(path, lambda: self, restore=restore)

    def reindex(
        self, encoder: TextEncoder, *, closed: Callable[[str], bool], progress: Progress
    ) -> tuple[int, bool]:
        """Make every vector anew: how many records, and whether the encoder is another.

        ``closed`` tells the tasks whose outputs are not embedded. With another
        encoder, an interrupted run goes on where it stopped.
        """
        info = EncoderInfo(encoder.fingerprint, encoder.dimension, encoder.name)
        work = Reindex(self, info, closed)
        done = 0
        with self.noted("reindex", counted=True) as note:

            def advance(records: int) -> None:
                nonlocal done
                done += records
                note.reached(done)
                progress.advance(records)

            while True:
                progress.start("embedding", work.pending())
                work.run(encoder.encode, advance)
                if work.finish():
                    return done, work.changed
