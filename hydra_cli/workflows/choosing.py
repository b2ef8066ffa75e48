"""Whose records, of which task: what was named, else what the store leaves no doubt about."""

from __future__ import annotations

from difflib import get_close_matches

from hydra_cli.core.errors import NotFound, UsageError
from hydra_cli.core.protocols import HistoryStore


def choose_user(store: HistoryStore, user: str | None) -> str:
    """The user that was named, else the only one there is."""
    if user is not None:
        if not store.tasks_of(user):
            raise unknown_user(store, user)
        return user
    users = store.users()
    if len(users) == 1:
        return users[0].user
    if not users:
        raise nothing_stored()
    raise UsageError(
        f"the store holds {len(users)} users",
        hint="name one with --user, or set a default: `hydra-pers config set user NAME`",
    )


def choose_task(store: HistoryStore, user: str, task: str | None) -> str:
    """The task that was named, else the user's largest."""
    tasks = store.tasks_of(user)
    if task is None:
        return tasks[0][0]
    if task not in dict(tasks):
        raise unknown_task(store, user, task)
    return task


def unknown_user(store: HistoryStore, user: str) -> NotFound:
    """The error for a user without records, with the nearest names."""
    known = [summary.user for summary in store.users()]
    if not known:
        return nothing_stored()
    near = get_close_matches(user, known, n=3)
    hint = "`hydra-pers users` lists them"
    if near:
        hint = f"did you mean {' or '.join(map(repr, near))}?"
    return NotFound(f"no records of user {_short(user)}", hint=hint)


def unknown_task(store: HistoryStore, user: str, task: str) -> NotFound:
    """The error for a task of which the user has no records, with those they have."""
    return NotFound(
        f"user {_short(user)} has no records of task {_short(task)}",
        hint=f"their tasks: {', '.join(name for name, _ in store.tasks_of(user))}",
    )


def nothing_stored() -> NotFound:
    """The error for a store without records."""
    return NotFound("the store holds no records", hint="start with `hydra-pers ingest FILE`")


def _short(name: str) -> str:
    return repr(name if len(name) <= 80 else name[:80] + "…")
