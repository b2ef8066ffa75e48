"""Histories as the router reads them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from hydra_cli.core.protocols import TextEncoder
from hydra_cli.core.records import History

NEWEST = 32
"""Records of a history that the router reads."""


def router_rows(
    histories: Sequence[History], encoder: TextEncoder, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Rows (b, h, 2d), input beside output vectors, and which of them are real (b, h).

    Labels of closed tasks are encoded like texts. An empty history is one row
    of zeros.
    """
    longest = max(1, *(min(NEWEST, len(history)) for history in histories))
    rows = np.zeros((len(histories), longest, 2 * encoder.dimension), np.float32)
    there = np.zeros((len(histories), longest), bool)
    there[:, 0] = True
    for i, history in enumerate(histories):
        count = min(NEWEST, len(history))
        if not count:
            continue
        newest = history.take(range(len(history) - count, len(history)))
        outputs = newest.outputs
        if outputs is None:
            outputs = encoder.encode([record.output for record in newest.records])
        rows[i, :count] = np.concatenate([newest.inputs, outputs], axis=1)
        there[i, :count] = True
    return torch.from_numpy(rows).to(device), torch.from_numpy(there).to(device)
