"""Embed every record again, with the same encoder or another."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hydra_cli.core.protocols import Progress, TextEncoder

if TYPE_CHECKING:
    from hydra_cli.store.contract import Store


@dataclass(frozen=True, slots=True)
class Reindexed:
    records: int
    encoder: str
    changed: bool
    """Whether the store's vectors were another encoder's before."""
    bases: bool
    """Whether the store holds bases, which are made for one encoder."""


def reindex(
    store: Store,
    encoder: TextEncoder,
    *,
    closed: Callable[[str], bool],
    progress: Progress,
) -> Reindexed:
    """Make the vectors of every record with ``encoder``; the outputs of closed tasks have none.

    With another encoder, an interrupted run goes on where it stopped.
    """
    records, changed = store.reindex(encoder, closed=closed, progress=progress)
    return Reindexed(records, encoder.name, changed, store.weights.any_base())
