"""What callers may ask of a store: one object, on a disk or in memory, fulfils it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

from hydra_cli.core.protocols import HistoryStore

if TYPE_CHECKING:
    from hydra_cli.core.weights import Weights


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
    """Records, vectors, bases and heads."""

    @property
    def weights(self) -> WeightStore: ...

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
