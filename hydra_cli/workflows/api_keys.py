"""Keys to a server of the store: for whom they are is checked before one is made."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hydra_cli.core.errors import UsageError
from hydra_cli.core.record_building import Rejected, checked_id

if TYPE_CHECKING:
    from hydra_cli.store.api_keys import ApiKey, ApiKeys


def make_key(keys: ApiKeys, user: str | None, *, trusted: bool, name: str) -> tuple[ApiKey, str]:
    """A key bound to a user, or a trusted one, and its text. UsageError where it is neither."""
    if (user is not None) == trusted:
        raise UsageError(
            "a key is bound to one user, or trusted to name any",
            hint="--user NAME for a person's own client, --trusted for an application's",
        )
    return keys.add(user=None if user is None else checked_user(user), name=_checked(name))


def checked_user(user: str, what: str = "--user") -> str:
    """The user's id as the store writes it; UsageError where it can't be one."""
    try:
        found = checked_id(user, what)
    except Rejected as refusal:
        raise UsageError(str(refusal)) from refusal
    if not found:
        raise UsageError(f"{what} is empty")
    return found


def _checked(name: str) -> str:
    try:
        return checked_id(name, "--name")
    except Rejected as refusal:
        raise UsageError(str(refusal)) from refusal
