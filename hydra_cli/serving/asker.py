"""Who sent a request, and for whom they may ask."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hydra_cli.serving.errors import ApiError

USER_HEADER = "x-hydra-user"
_IN_BODY = ("safety_identifier", "user")


@dataclass(frozen=True, slots=True)
class Asker:
    """The holder of a key, or whoever is on loopback where the server has no keys.

    ``user`` is the one that the key is bound to; None: the asker is trusted to
    name users. ``key`` is the key's id, never the key.
    """

    key: str | None = None
    user: str | None = None

    @property
    def trusted(self) -> bool:
        return self.user is None

    def user_of(self, headers: Mapping[str, str], body: Mapping[str, Any]) -> str | None:
        """Whose answer is asked for: header, ``safety_identifier``, ``user``, in this order.

        A bound key is its user's, whatever the request names; 403 where the header
        names another. None: nobody was named.
        """
        named = _in_utf8(headers.get(USER_HEADER) or "") or None
        if self.user is not None:
            if named is not None and named != self.user:
                raise ApiError(403, f"this key isn't {named!r}'s", code="wrong_user")
            return self.user
        if named is not None:
            return named
        found = (body.get(name) for name in _IN_BODY)
        return next((name for name in found if isinstance(name, str) and name), None)

    def may_read(self, user: str) -> None:
        """403 where the asker may not see or change this user's data."""
        if self.user is not None and self.user != user:
            raise ApiError(403, f"this key isn't {user!r}'s", code="wrong_user")


def _in_utf8(header: str) -> str:
    """Headers are read as Latin-1; ids are sent as UTF-8."""
    try:
        return header.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return header
