"""What callers may ask of a store: one object, on a disk or in memory, fulfils it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from hydra_cli.core.protocols import HistoryStore

if TYPE_CHECKING:
    from hydra_cli.core.protocols import Progress, TextEncoder
    from hydra_cli.core.tasks import TaskSpec
    from hydra_cli.core.weights import Weights
    from hydra_cli.store.answer_log import AnswerLog
    from hydra_cli.store.archives import Manifest
    from hydra_cli.store.exporting import Format
    from hydra_cli.store.importing import Imported
    from hydra_cli.store.scope import Erased, Scope


class WeightStore(Protocol):
    """Bases and heads, as the store holds them now. A warm process reads each once."""

    def base(self, task: str, recipe: str) -> Weights | None:
        """The task's base, or None where none was trained; ModelError where it is damaged."""
        ...

    def head(self, user: str, task: str, recipe: str) -> Weights | None:
        """The user's head, or None where none was fitted; ModelError where it is damaged."""
        ...

    def any_base(self) -> bool:
        """Whether there is a base of any task."""
        ...

    def write(
        self,
        task: str,
        recipe: str,
        *,
        base: Weights | None,
        heads: Mapping[str, Weights],
        new_base: bool,
    ) -> None:
        """For the store's own ``save_fit``, which holds the lock."""
        ...


class Store(HistoryStore, Protocol):
    """Everything of one store: records, vectors, weights, tasks, forgetting, archives."""

    @property
    def weights(self) -> WeightStore: ...

    @property
    def answer_log(self) -> AnswerLog:
        """The answers that were given, and what people said about them."""
        ...

    def save_fit(
        self,
        task: str,
        recipe: str,
        *,
        base: Weights | None,
        heads: Mapping[str, Weights],
        new_base: bool,
    ) -> None:
        """Keep what a fit made; a user forgotten meanwhile doesn't come back as a head.

        ``base`` None: the one there is stays. ``new_base``: older heads don't stand on it.
        """
        ...

    def withdraw(self, user: str, task: str, id: str) -> bool:
        """Remove a record that its user takes back; whether it was there.

        Unlike ``forget`` it leaves no mark, and heads that saw the record stay.
        """
        ...

    def tasks(self) -> dict[str, TaskSpec]:
        """The tasks recognised at ingest, by name; StoreError where their file is damaged."""
        ...

    def save_task(self, spec: TaskSpec) -> TaskSpec:
        """Keep a task; labels of a classification join those already kept. What was kept."""
        ...

    def would_forget(self, scope: Scope) -> Erased:
        """What ``forget`` would erase; NotFound where there is nothing of it."""
        ...

    def forget(self, scope: Scope) -> Erased:
        """Erase the scope for good, with the vectors, heads, labels and answers it led to.

        An ingest of the same source doesn't bring it back, unless it says ``restore``.
        """
        ...

    def tasks_of_record(self, user: str, record: str) -> list[str]:
        """The tasks in which the user has a record of this id."""
        ...

    def export(self, target: Path, *, users: Sequence[str], format: Format) -> Manifest:
        """Write users (none named: the whole store) to a new folder, tar or zip."""
        ...

    def import_archive(self, path: Path, *, restore: bool) -> Imported:
        """Add an export: checked to its last row before anything changes."""
        ...

    def reindex(
        self, encoder: TextEncoder, *, closed: Callable[[str], bool], progress: Progress
    ) -> tuple[int, bool]:
        """Make every vector anew: how many records, and whether the encoder is another.

        ``closed`` tells the tasks whose outputs are not embedded.
        """
        ...
