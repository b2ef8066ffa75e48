"""Which encoder made vectors: those of two never mix."""

from __future__ import annotations

from dataclasses import dataclass

from hydra_cli.core.errors import StoreError


@dataclass(frozen=True, slots=True)
class EncoderInfo:
    """The encoder that made the store's vectors."""

    fingerprint: str
    dimension: int
    name: str | None = None


def check_same_encoder(held: EncoderInfo, given: EncoderInfo) -> None:
    """StoreError where the store holds vectors of another encoder, or of another size."""
    if held.fingerprint != given.fingerprint:
        raise StoreError(
            f"the store's vectors were made by {_named(held)}, these by {_named(given)}",
            hint="`hydra-pers reindex --encoder NAME` embeds every record again",
        )
    if held.dimension != given.dimension:
        raise StoreError(
            f"vectors of dimension {given.dimension} don't fit the store's {held.dimension}",
            hint="`hydra-pers reindex` embeds every record again",
        )


def _named(encoder: EncoderInfo) -> str:
    return encoder.name or f"encoder {encoder.fingerprint[:12]}"
