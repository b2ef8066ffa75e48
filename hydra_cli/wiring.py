"""The one place that picks backends. Each is imported only when it is opened."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hydra_cli.config import Settings
    from hydra_cli.core.protocols import HistoryStore, TextEncoder


def open_store(settings: Settings, *, create: bool = False) -> HistoryStore:
    """The store of ``settings.store``; NotFound where there is none and ``create`` is off."""
    from hydra_cli.backends.lancedb_store import LanceHistoryStore

    return LanceHistoryStore.open(settings.store, create=create)


def open_encoder(settings: Settings) -> TextEncoder:
    """The text encoder, fetched once where it isn't on disk yet."""
    from hydra_cli.backends.hf_encoder import HFEncoder

    return HFEncoder.open(settings.encoder)
