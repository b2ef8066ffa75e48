"""An encoder without weights, for tests and for trying things out."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from hydra_cli.core.tokens import tokens

if TYPE_CHECKING:
    from torch import Tensor

    from hydra_cli.core.records import Vectors


class HashEncoder:
    """A TextEncoder without weights: words hashed into a few dimensions."""

    name = "hash"

    def __init__(self, dimension: int = 64) -> None:
        self.dimension = dimension
        self.fingerprint = f"hash-{dimension}"

    def encode(
        self, texts: Sequence[str], *, progress: Callable[[int], None] | None = None
    ) -> Vectors:
        vectors = np.zeros((len(texts), self.dimension), np.float32)
        for row, text in enumerate(texts):
            for word in tokens(text):
                digest = hashlib.blake2b(word.encode(), digest_size=8).digest()
                sign = 1.0 if digest[0] % 2 else -1.0
                vectors[row, int.from_bytes(digest[1:], "big") % self.dimension] += sign
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        if progress is not None:
            progress(len(texts))
        vectors /= np.maximum(norms, 1e-9)
        return vectors

    def encode_pairs(self, pairs: Sequence[tuple[str, str]]) -> Tensor:
        import torch

        return torch.from_numpy(self.encode([f"{a} {b}" for a, b in pairs]))
