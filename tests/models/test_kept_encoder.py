"""Vectors kept on disk: the same ones, each text encoded once, nothing of another encoder's."""

from __future__ import annotations

import stat
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from hydra_cli.core.errors import StoreError
from hydra_cli.models.hash_encoder import HashEncoder
from hydra_cli.models.kept_encoder import KeptEncoder

if TYPE_CHECKING:
    from hydra_cli.core.records import Vectors


class Counting(HashEncoder):
    """Counts what it encodes."""

    def __init__(self, dimension: int = 8) -> None:
        super().__init__(dimension)
        self.texts: list[str] = []

    def encode(
        self, texts: Sequence[str], *, progress: Callable[[int], None] | None = None
    ) -> Vectors:
        self.texts += texts
        return super().encode(texts, progress=progress)


def test_each_text_is_encoded_once_ever(tmp_path: Path) -> None:
    path, inner = tmp_path / "in" / "vectors.sqlite", Counting()
    texts = ["a cat", "a dog", "a cat", "", "\ud800 half a pair"]
    told: list[int] = []
    first = KeptEncoder(inner, path).encode(texts, progress=told.append)
    assert (first == HashEncoder(8).encode(texts)).all()
    assert sum(told) == len(texts)
    assert len(inner.texts) == 4
    told.clear()
    again = KeptEncoder(inner, path).encode([*reversed(texts), "a bird"], progress=told.append)
    assert (again[:5] == first[::-1]).all()
    assert inner.texts[4:] == ["a bird"]
    assert sum(told) == 6
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_another_encoder_gets_its_own_vectors(tmp_path: Path) -> None:
    path = tmp_path / "vectors.sqlite"
    KeptEncoder(Counting(8), path).encode(["a cat"])
    other = Counting(16)
    kept = KeptEncoder(other, path)
    assert (kept.name, kept.dimension, kept.fingerprint) == ("hash", 16, "hash-16")
    assert kept.encode(["a cat"]).shape == (1, 16)
    assert other.texts == ["a cat"]
    assert kept.encode([]).shape == (0, 16)


def test_a_damaged_file_is_one_clear_line(tmp_path: Path) -> None:
    path = tmp_path / "vectors.sqlite"
    path.write_bytes(b"no database " * 100)
    with pytest.raises(StoreError, match="kept vectors") as error:
        KeptEncoder(Counting(), path).encode(["a cat"])
    assert "delete that file" in str(error.value.hint)
