"""What a user's past outputs hold, counted once for all queries on the same history."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from hydra_cli.modeling.factorized import text_form as form

_KEPT = 8


class PastOutputs:
    """Counts of words in past outputs, oldest first, made when first asked for."""

    def __init__(self, outputs: tuple[str, ...], stems: Callable[[str], tuple[str, ...]]) -> None:
        self._outputs = outputs
        self._stems = stems

    @cached_property
    def style(self) -> form.Style:
        return form.style_of(self._outputs)

    @cached_property
    def bags(self) -> list[Counter[str]]:
        """Each output's words in lower case."""
        return [Counter(form.folded(output)) for output in self._outputs]

    @cached_property
    def holding(self) -> Counter[str]:
        """How many outputs hold a word."""
        found: Counter[str] = Counter()
        for bag in self.bags:
            found.update(bag.keys())
        return found

    @cached_property
    def lengths(self) -> NDArray[np.float64]:
        """How many stems each output has (n,)."""
        return np.array([len(self._stems(output)) for output in self._outputs], np.float64)

    def near(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """The summed weights (s,) of the outputs that hold each stem, in the order of ``places``.

        Added up in the outputs' order, so that the last bit doesn't depend on the way.
        """
        _, flat, sizes = self._index
        if not len(flat):
            return np.zeros(0)
        return np.asarray(np.bincount(flat, weights=np.repeat(weights, sizes)), np.float64)

    @property
    def places(self) -> dict[str, int]:
        """Each stem's place in ``near``."""
        return self._index[0]

    @cached_property
    def _index(self) -> tuple[dict[str, int], NDArray[np.int64], NDArray[np.int64]]:
        places: dict[str, int] = {}
        flat: list[int] = []
        sizes = []
        for output in self._outputs:
            held = set(self._stems(output))
            flat += [places.setdefault(word, len(places)) for word in held]
            sizes.append(len(held))
        return places, np.array(flat, np.int64), np.array(sizes, np.int64)


@lru_cache(maxsize=_KEPT)
def past_outputs(outputs: tuple[str, ...], stems: Callable[[str], tuple[str, ...]]) -> PastOutputs:
    """The counts of these outputs; a few histories' are kept."""
    return PastOutputs(outputs, stems)
