"""One user's records."""

from __future__ import annotations

from hydra_cli.core.errors import UsageError
from hydra_cli.core.protocols import HistoryStore
from hydra_cli.core.records import Record
from hydra_cli.workflows.choosing import unknown_task, unknown_user


def user_history(
    store: HistoryStore, user: str, *, task: str | None = None, limit: int | None = None
) -> list[Record]:
    """The user's newest ``limit`` records, oldest first; NotFound names the nearest users."""
    if limit is not None and limit < 1:
        raise UsageError(f"--limit must be at least 1, not {limit}")
    records = store.records(user, task=task, limit=limit)
    if records:
        return records
    if task is not None and store.tasks_of(user):
        raise unknown_task(store, user, task)
    raise unknown_user(store, user)
