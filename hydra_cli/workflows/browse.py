"""What the store holds: its users, and one user's records."""

from __future__ import annotations

from difflib import get_close_matches

from hydra_cli.core.errors import NotFound, UsageError
from hydra_cli.core.protocols import HistoryStore, UserSummary
from hydra_cli.core.records import Record


def list_users(store: HistoryStore) -> list[UserSummary]:
    return store.users()


def user_history(
    store: HistoryStore, user: str, *, task: str | None = None, limit: int | None = None
) -> list[Record]:
    """The user's newest ``limit`` records, oldest first; NotFound names the nearest users."""
    if limit is not None and limit < 1:
        raise UsageError(f"--limit must be at least 1, not {limit}")
    records = store.records(user, task=task, limit=limit)
    if records:
        return records
    tasks = [name for name, _ in store.tasks_of(user)]
    if tasks:
        raise NotFound(
            f"user {_short(user)} has no records of task {_short(task or '')}",
            hint=f"their tasks: {', '.join(tasks)}",
        )
    raise NotFound(f"no user {_short(user)} in the store", hint=_nearest(store, user))


def _nearest(store: HistoryStore, user: str) -> str:
    known = [summary.user for summary in store.users()]
    if not known:
        return "the store is empty; fill it with: hydra-pers ingest FILE"
    close = get_close_matches(user, known, n=3, cutoff=0.5)
    if close:
        return f"did you mean {' or '.join(map(repr, close))}?"
    return "see who is there with: hydra-pers users"


def _short(name: str) -> str:
    return repr(name if len(name) <= 80 else name[:80] + "…")
