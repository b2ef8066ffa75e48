"""Embed every record again, with the same encoder or another."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hydra_cli.core.protocols import Progress, TextEncoder
from hydra_cli.store.folder import EncoderInfo
from hydra_cli.store.reindexing import Reindex

if TYPE_CHECKING:
    from hydra_cli.store.lancedb_store import LanceHistoryStore


@dataclass(frozen=True, slots=True)
class Reindexed:
    records: int
    encoder: str
    changed: bool
    """Whether the store's vectors were another encoder's before."""
    bases: bool
    """Whether the store holds bases, which are made for one encoder."""


def reindex(
    store: LanceHistoryStore,
    encoder: TextEncoder,
    *,
    closed: Callable[[str], bool],
    progress: Progress,
) -> Reindexed:
    """Make the vectors of every record with ``encoder``; the outputs of closed tasks have none.

    With another encoder, an interrupted run goes on where it stopped.
    """
    info = EncoderInfo(encoder.fingerprint, encoder.dimension, encoder.name)
    work = Reindex(store, info, closed)
    done = 0

    with store.noted("reindex", counted=True) as note:

        def advance(records: int) -> None:
            nonlocal done
            done += records
            note.reached(done)
            progress.advance(records)

        while True:
            progress.start("embedding", work.pending())
            work.run(encoder.encode, advance)
            if work.finish():
                bases = store.weights.any_base()
                return Reindexed(done, encoder.name, work.changed, bases)
