"""What a user's past outputs hold, counted once for all queries on the same history."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from hydra_cli.modeling.factorized import text_form as form

_KEPT = 8
REPEATED = 0.8
"""Two texts whose distinct words are this much alike (F1) are the same one again."""
_NEWEST = 100
"""So many of the newest outputs tell how often a user repeats themselves."""
_REPEATS, _TEXTS = 0.5, 10.0


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

    def likeness(self, said: Iterable[str]) -> NDArray[np.float64]:
        """F1 of a text's distinct stems with those of each output (n,)."""
        places, flat, sizes = self._index
        own = set(said)
        marked = np.zeros(len(places))
        marked[[places[word] for word in own if word in places]] = 1.0
        shared = np.bincount(self._owners, weights=marked[flat], minlength=len(sizes))
        found: NDArray[np.float64] = 2.0 * shared / np.maximum(sizes + len(own), 1)
        return found

    def repeats(self, said: Iterable[str]) -> bool:
        """Whether a text of these stems is one of the outputs again."""
        return bool(self.likeness(said).max(initial=0.0) >= REPEATED)

    @cached_property
    def repeat_rate(self) -> float:
        """The share of outputs that are an older one again, smoothed."""
        newest = range(max(0, len(self._outputs) - _NEWEST), len(self._outputs))
        again = sum(
            self.likeness(self._stems(self._outputs[i]))[:i].max(initial=0.0) >= REPEATED
            for i in newest
        )
        return float(again + _REPEATS) / (len(newest) + _TEXTS)

    @property
    def places(self) -> dict[str, int]:
        """Each stem's place in ``near``."""
        return self._index[0]

    @cached_property
    def _owners(self) -> NDArray[np.int64]:
        sizes = self._index[2]
        return np.repeat(np.arange(len(sizes)), sizes)

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
