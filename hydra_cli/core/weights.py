"""Bases and heads on disk: one safetensors file whose header holds a JSON card.

One file means one atomic rename: tensors and card can't drift apart. Loading
runs no code from the file.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from hydra_cli import __version__
from hydra_cli.core.errors import ModelError
from hydra_cli.core.files import write_atomic

FORMAT = 1
Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Card:
    """What the tensors are and how they came to be.

    ``encoder`` and, for a head, ``base`` are fingerprints: a head never loads
    on a base it was not made for. ``counts`` counts what it was trained on,
    ``held_out`` holds figures on records that training never saw, ``gate`` the
    decision for each stage with its reason.
    """

    kind: Literal["base", "head"]
    recipe: str
    task: str
    encoder: str
    seed: int
    base: str | None = None
    user: str | None = None
    counts: Mapping[str, int] = field(default_factory=dict)
    held_out: Mapping[str, Any] = field(default_factory=dict)
    gate: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(
        default_factory=lambda: {"hydra-pers": __version__, "numpy": np.__version__}
    )
    format: int = FORMAT


@dataclass(frozen=True, eq=False)
class Weights:
    """A base or a head: its tensors, as arrays, and its card."""

    card: Card
    tensors: Mapping[str, Array]

    @cached_property
    def fingerprint(self) -> str:
        """A hash of the tensors' names, shapes, types and bytes."""
        digest = hashlib.sha256()
        for name in sorted(self.tensors):
            tensor = self.tensors[name]
            # Types under torch's names, as in every fingerprint since the first release.
            digest.update(f"{name}{tensor.shape}torch.{tensor.dtype.name}".encode())
            digest.update(np.ascontiguousarray(tensor).tobytes())
        return digest.hexdigest()

    @property
    def heads_need_answers(self) -> bool:
        """Whether a head on this base can learn from the LLM's answers at all.

        A base whose held-out users chose the shared adapter says no, which
        saves every call that would be made for a head.
        """
        return bool(self.card.settings.get("heads_need_answers", True))

    def head(
        self,
        user: str,
        tensors: Mapping[str, Array],
        *,
        seed: int,
        counts: Mapping[str, int],
        settings: Mapping[str, Any],
    ) -> Weights:
        """A user's head on this base, with a card that says so."""
        card = Card(
            kind="head",
            recipe=self.card.recipe,
            task=self.card.task,
            encoder=self.card.encoder,
            seed=seed,
            base=self.fingerprint,
            user=user,
            counts=counts,
            settings=settings,
        )
        return Weights(card, tensors)

    def check_base(self, base: Weights) -> None:
        """ModelError where this head was made for another base."""
        if self.card.base != base.fingerprint:
            raise ModelError(
                f"the head of {self.card.user!r} was made for another base model",
                hint="run `hydra-pers fit` to renew it",
            )

    def save(self, path: Path) -> None:
        """Write the file whole or not at all."""
        tensors = {name: np.ascontiguousarray(array) for name, array in self.tensors.items()}
        write_atomic(path, save(tensors, {"card": json.dumps(asdict(self.card))}))

    @staticmethod
    def load(path: Path) -> Weights:
        """ModelError where the file is damaged or of a newer format."""
        try:
            with safe_open(path, framework="np") as file:
                header = (file.metadata() or {}).get("card", "")
                values = json.loads(header)
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (SafetensorError, OSError, ValueError) as error:
            raise ModelError(
                f"{path.name} is damaged: {error}", hint="run `hydra-pers fit` to make it anew"
            ) from error
        if values.get("format", 0) > FORMAT:
            raise ModelError(f"{path.name} was written by a newer release", hint="upgrade")
        known = {f.name for f in fields(Card)}
        return Weights(Card(**{k: v for k, v in values.items() if k in known}), tensors)
