"""Who may come in: the holder of a key, or without any keys whoever is on this machine."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv6Address, ip_address
from typing import TYPE_CHECKING

from hydra_cli.serving.asker import Asker
from hydra_cli.serving.errors import ApiError

if TYPE_CHECKING:
    from hydra_cli.store.api_keys import ApiKeys

_PROXIES = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via")
_ASKS = {"WWW-Authenticate": "Bearer"}


class Access:
    """Looks at every request's key. A server that once asked for keys goes on asking."""

    def __init__(self, keys: ApiKeys) -> None:
        self._keys = keys
        self._asking = False

    @property
    def asks_for_keys(self) -> bool:
        """Whether a key is needed; keys that another process makes or revokes count at once."""
        self._asking = self._asking or self._keys.any_made
        return self._asking

    def asker(self, headers: Mapping[str, str], client: str | None) -> Asker:
        """Who sends this request; ApiError 401 for whom the door stays shut."""
        if not self.asks_for_keys:
            # Through a proxy everybody comes from this machine.
            if is_loopback(client) and not any(name in headers for name in _PROXIES):
                return Asker()
            raise ApiError(
                401, "without keys this server answers its own machine alone", code="no_keys"
            )
        text = _bearer(headers)
        if text is None:
            raise ApiError(
                401,
                "this server asks for a key: send it as `Authorization: Bearer hp_...`",
                code="missing_api_key",
                headers=_ASKS,
            )
        key = self._keys.holder(text)
        if key is None:
            raise ApiError(
                401, "this key is unknown or was revoked", code="invalid_api_key", headers=_ASKS
            )
        return Asker(key.id, key.user)


def is_loopback(address: str | None) -> bool:
    """Whether it is an address of this machine for itself; names are none."""
    try:
        found = ip_address((address or "").partition("%")[0])
    except ValueError:
        return False
    if isinstance(found, IPv6Address) and found.ipv4_mapped is not None:
        return found.ipv4_mapped.is_loopback
    return found.is_loopback


def _bearer(headers: Mapping[str, str]) -> str | None:
    kind, _, text = headers.get("authorization", "").partition(" ")
    return text.strip() or None if kind.lower() == "bearer" else None
