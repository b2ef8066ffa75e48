"""Forget a user, a task of theirs or one record, and say what that leaves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hydra_cli.core.counting import counted
from hydra_cli.core.errors import NotFound, UsageError
from hydra_cli.store.folder import StoreFolder
from hydra_cli.store.scope import Erased, Scope
from hydra_cli.workflows.choosing import unknown_user

if TYPE_CHECKING:
    from hydra_cli.config import Settings
    from hydra_cli.store.contract import Store


def plan_forget(store: Store, scope: Scope) -> Erased:
    """What would be erased; UsageError where a record id stands in several tasks."""
    if scope.record is not None and scope.task is None:
        tasks = store.tasks_of_record(scope.user, scope.record)
        if len(tasks) > 1:
            raise UsageError(
                f"record {scope.record!r} stands in several tasks: {', '.join(tasks)}",
                hint="say which with --task",
            )
    try:
        return store.would_forget(scope)
    except NotFound:
        if store.tasks_of(scope.user):
            raise
        raise unknown_user(store, scope.user) from None


def described(erased: Erased) -> list[str]:
    """What is erased, one thing a line."""
    lines = [
        counted(erased.records, "record"),
        counted(erased.vectors, "pair of vectors", "pairs of vectors"),
        counted(erased.heads, "head"),
    ]
    if erased.work_files:
        lines.append(counted(erased.work_files, "file of unfinished work", "files of it"))
    if erased.cached_answers:
        lines.append("the user's cached answers")
    if erased.kept_answers:
        lines.append(
            counted(erased.kept_answers, "answer kept for feedback", "answers kept for feedback")
        )
    if erased.feedback:
        lines.append(f"feedback on {counted(erased.feedback, 'answer')}")
    if erased.api_keys:
        lines.append(counted(erased.api_keys, "key to a server", "keys to a server"))
    if erased.backups:
        lines.append(counted(erased.backups, "backup of an older store (of all users)"))
    return lines


def remaining(store: Store, settings: Settings, user: str, record: str | None) -> list[str]:
    """What still knows of the user, in plain words."""
    notes = []
    if store.weights.any_base():
        notes.append(
            "the shared base was trained on everyone's records, this user's maybe included; "
            "train it without them: "
            + (
                f"hydra-pers fit --base --without {user}"
                if record is None
                else "hydra-pers fit --base"
            )
        )
    if settings.user == user and record is None:
        notes.append(f"{StoreFolder(settings.store).settings} still names them as the default user")
    if record is not None:
        notes.append("heads that had seen the record are gone; the next fit renews them")
    return notes
