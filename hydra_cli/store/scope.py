"""What is to be forgotten, and what that comes to."""

from __future__ import annotations

from dataclasses import dataclass

from hydra_cli.core.errors import NotFound


@dataclass(frozen=True, slots=True)
class Scope:
    """What to forget: a user, one task of theirs, or one record id."""

    user: str
    task: str | None = None
    record: str | None = None

    @property
    def whole(self) -> bool:
        """Whether it is everything of the user."""
        return self.task is None and self.record is None


@dataclass(frozen=True, slots=True)
class Erased:
    """What was, or would be, erased."""

    records: int
    vectors: int
    heads: int
    work_files: int
    cached_answers: bool
    backups: int
    kept_answers: int = 0
    """Answers kept for feedback."""
    feedback: int = 0
    """Answers with feedback on them."""
    api_keys: int = 0
    """Keys to a server that were bound to the user."""


def nothing_of(scope: Scope) -> NotFound:
    """The error where the store holds nothing of the scope."""
    what = "records" if scope.record is None else f"record {scope.record!r}"
    return NotFound(
        f"the store holds no {what} of user {scope.user!r}",
        hint="`hydra-pers users` lists the users, `hydra-pers history USER --json` the ids",
    )
