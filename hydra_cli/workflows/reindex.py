"""Embed every record again, with the same encoder or another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hydra_cli.core.protocols import Progress, TextEncoder
from hydra_cli.store.folder import EncoderInfo
from hydra_cli.store.journal import noted_work
from hydra_cli.store.reindexing import Reindex

if TYPE_CHECKING:
    from hydra_cli.store.lancedb_store import LanceHistoryStore


@dataclass(frozen=True, slots=True)
class Reindexed:
    records: int
    encoder: str
    changed: bool
    """Whether the store's encoder is another one now."""


def reindex(store: LanceHistoryStore, encoder: TextEncoder, *, progress: Progress) -> Reindexed:
    """Make the vectors of every record that has some with ``encoder``.

    An interrupted run goes on where it stopped. Records without vectors get
    theirs when they are first needed.
    """
    info = EncoderInfo(encoder.fingerprint, encoder.dimension, encoder.name)
    work = Reindex(store, info)
    done = 0
    with noted_work(store.folder.work, "reindex"):
        while True:
            progress.start("embedding", work.pending())
            done += work.run(encoder.encode, progress.advance)
            if work.finish():
                return Reindexed(done, encoder.name, work.changed)
