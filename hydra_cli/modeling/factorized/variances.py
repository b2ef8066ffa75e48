"""Variance components of Gaussian processes: how much each kernel explains, for all users at once.

The targets of a block are Gaussian with covariance sum_k s_k K_k. The
likelihood's maximum over s is climbed by a minorise-maximise step that keeps
every s_k positive (Zhou, Hu, Qiao, Sobel and Zhou, 2019); a kernel that
explains nothing ends up near zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

STEPS = 20
_TINY = 1e-9


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """Targets that are dependent: kernels (k, n, n), the last one the noise; targets (n, m)."""

    kernels: Floats
    targets: Floats


def fit(blocks: Sequence[Block], *, steps: int = STEPS) -> Floats:
    """The variance of each kernel (k,); equal shares of all there is where no block says more."""
    count = len(blocks[0].kernels)
    total = float(np.mean([np.mean(block.targets**2) for block in blocks]))
    found = np.full(count, max(total, _TINY) / count)
    for _ in range(steps):
        explained, expected = np.zeros(count), np.zeros(count)
        for block in blocks:
            inverse = np.linalg.inv(np.tensordot(found, block.kernels, 1) + _jitter(block))
            dual = inverse @ block.targets  # (n, m)
            explained += np.einsum("nm,kno,om->k", dual, block.kernels, dual, optimize=True)
            expected += dual.shape[1] * np.einsum("no,kno->k", inverse, block.kernels)
        found = found * np.sqrt(explained / np.maximum(expected, _TINY))
    kept: Floats = np.maximum(found, _TINY)
    return kept


def _jitter(block: Block) -> Floats:
    """A ridge that keeps equal rows apart."""
    jitter: Floats = 1e-6 * np.eye(len(block.targets))
    return jitter
