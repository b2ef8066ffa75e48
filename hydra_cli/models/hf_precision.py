"""The number format in which an encoder scores fastest on this machine.

bfloat16 doubles the speed where the processor has instructions for it, and is
many times slower where it is emulated. So it is measured, once a process, on
one product of an encoder's size.
"""

from __future__ import annotations

import os
import time
from functools import lru_cache

import torch

from hydra_cli.core.errors import UsageError

VARIABLE = "HYDRA_PERS_PRECISION"
TOLERANCE = 0.02
"""The most that a bfloat16 unit vector is off its float32 one (Euclidean distance)."""
_FORMATS = {"float32": torch.float32, "bfloat16": torch.bfloat16}
_CLEARLY_FASTER = 0.7


def scoring_dtype(device: torch.device) -> torch.dtype:
    """HYDRA_PERS_PRECISION (float32, bfloat16), else the faster one on this device."""
    wanted = os.environ.get(VARIABLE, "")
    if wanted and wanted not in _FORMATS:
        raise UsageError(f"{VARIABLE} can't be {wanted!r}", hint=f"use {' or '.join(_FORMATS)}")
    if wanted:
        return _FORMATS[wanted]
    return _fastest(device.type)


@lru_cache
def _fastest(device: str) -> torch.dtype:
    if device == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(False) else torch.float32
    if device != "cpu":
        return torch.float32
    if torch.backends.cpu.get_cpu_capability() in ("DEFAULT", "NO AVX", "AVX2"):
        return torch.float32  # x86 of that age emulates bfloat16
    half, full = (_seconds(dtype) for dtype in (torch.bfloat16, torch.float32))
    return torch.bfloat16 if half < _CLEARLY_FASTER * full else torch.float32


@torch.inference_mode()
def _seconds(dtype: torch.dtype) -> float:
    """The best of five products (256, 384) x (384, 1536)."""
    layer = torch.nn.Linear(384, 1536, dtype=dtype)
    states = torch.ones(256, 384, dtype=dtype)
    best = float("inf")
    for _ in range(5):
        began = time.perf_counter()
        layer(states)
        best = min(best, time.perf_counter() - began)
    return best
