"""Stored bases as live encoders, opened once."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from hydra_cli.core.errors import ModelError
from hydra_cli.core.protocols import TextEncoder
from hydra_cli.core.weights import Array, Weights
from hydra_cli.modeling.hydra.pair_encoder import PairEncoder
from hydra_cli.modeling.hydra.pairs import STAGES, Scoring

OPEN_BASES = 2
"""Bases kept in memory: one is two encoders, 180 MB with MiniLM-L6."""


class OpenBases:
    """The encoders of the bases used last: scoring many users loads a base once."""

    def __init__(self) -> None:
        self._open: OrderedDict[str, dict[Scoring, PairEncoder]] = OrderedDict()
        self._lock = threading.Lock()

    def encoders(
        self, base: Weights, recipe: str, encoder: TextEncoder
    ) -> dict[Scoring, PairEncoder]:
        """An encoder for each stage that the base was trained for."""
        if base.card.recipe != recipe:
            raise ModelError(
                f"this base model is of recipe {base.card.recipe!r}, not of {recipe!r}",
                hint="run `hydra-pers fit` to train it anew",
            )
        if base.card.encoder != encoder.fingerprint:
            raise ModelError(
                f"this base model was made for another encoder than {encoder.name}",
                hint="run `hydra-pers fit` to train it anew, or name the encoder it was made for",
            )
        with self._lock:
            key = base.fingerprint
            if key not in self._open:
                self._open[key] = _load(base, encoder)
            self._open.move_to_end(key)
            while len(self._open) > OPEN_BASES:
                self._open.popitem(last=False)
            return self._open[key]


def _load(base: Weights, encoder: TextEncoder) -> dict[Scoring, PairEncoder]:
    opened: dict[Scoring, PairEncoder] = {}
    for stage in STAGES:
        if tensors := part_of(base, f"{stage}.encoder."):
            opened[stage] = PairEncoder(encoder, int(base.card.settings["pair_tokens"]))
            opened[stage].load(tensors)
    return opened


def part_of(weights: Weights, prefix: str) -> Mapping[str, Tensor]:
    """The tensors under a prefix, without it, as torch's: copies, so that they may be trained."""
    return {
        name.removeprefix(prefix): torch.from_numpy(np.array(array))
        for name, array in weights.tensors.items()
        if name.startswith(prefix)
    }


def under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Array]:
    """torch's tensors as ``Weights`` keeps them, with a prefix before each name."""
    return {f"{prefix}{name}": tensor.detach().cpu().numpy() for name, tensor in tensors.items()}
