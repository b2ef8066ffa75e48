"""Bases and heads without a disk."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hydra_cli.core.weights import Weights


class MemoryWeights:
    """A ``WeightStore`` in memory."""

    def __init__(self) -> None:
        self._bases: dict[tuple[str, str], Weights] = {}
        self._heads: dict[tuple[str, str, str], Weights] = {}

    def base(self, task: str, recipe: str) -> Weights | None:
        return self._bases.get((task, recipe))

    def head(self, user: str, task: str, recipe: str) -> Weights | None:
        return self._heads.get((user, task, recipe))

    def any_base(self) -> bool:
        return bool(self._bases)

    def write(
        self,
        task: str,
        recipe: str,
        *,
        base: Weights | None,
        heads: Mapping[str, Weights],
        new_base: bool,
    ) -> None:
        if new_base:
            for key in [key for key in self._heads if key[1:] == (task, recipe)]:
                del self._heads[key]
        if base is not None:
            self._bases[task, recipe] = base
        self._heads |= {(user, task, recipe): head for user, head in heads.items()}

    def within(self, user: str, tasks: Collection[str] | None) -> list[tuple[str, str, str]]:
        """The user's heads of these tasks, None for all."""
        return [key for key in self._heads if key[0] == user and (tasks is None or key[1] in tasks)]

    def drop(self, user: str, tasks: Collection[str] | None) -> None:
        for key in self.within(user, tasks):
            del self._heads[key]

    def everything(self) -> Iterator[tuple[str, str, Weights | None, dict[str, Weights]]]:
        """Task, recipe, base and heads by user."""
        for task, recipe in {*self._bases, *(key[1:] for key in self._heads)}:
            heads = {key[0]: w for key, w in self._heads.items() if key[1:] == (task, recipe)}
            yield task, recipe, self._bases.get((task, recipe)), heads

    def keep(self, weights: Weights) -> bool | None:
        """Keep an imported base or head: True; False where another is there; None: the same."""
        card = weights.card
        if card.user is None:
            held = self._bases.setdefault((card.task, card.recipe), weights)
        else:
            held = self._heads.setdefault((card.user, card.task, card.recipe), weights)
        if held is weights:
            return True
        return None if held.fingerprint == weights.fingerprint else False
