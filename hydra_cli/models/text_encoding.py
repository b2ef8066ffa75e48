"""What every encoder of texts shares: settings, batches, fingerprints, vectors of this process.

Nothing here needs torch.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from hydra_cli.core.errors import ModelError
from hydra_cli.models.files import ModelFolder, damaged

if TYPE_CHECKING:
    from hydra_cli.core.records import Vectors

TEXT_TOKENS = 256
PAIR_TOKENS = 256
ALIKE, LEAST_TOKENS = 0.75, 256
_CACHE_ENTRIES = 4096


def fingerprint_of(folder: ModelFolder, pooling: str, text_tokens: int, architecture: str) -> str:
    """A hash of the weights and of how texts are read; ``architecture`` is transformers' class."""
    stated = json.dumps([folder.sha256, pooling, text_tokens, architecture])
    return hashlib.sha256(stated.encode()).hexdigest()


def token_batches(lengths: Sequence[int], budget: int) -> Iterator[list[int]]:
    """Indices in batches of similar length, longest first.

    A batch's longest length times its size stays within ``budget``, except
    where one text alone is longer. Texts much shorter than the longest start
    a batch of their own once there are ``LEAST_TOKENS``.
    """
    batch: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        longest = lengths[batch[0]] if batch else 0
        full = (len(batch) + 1) * longest > budget
        # Padding short texts to a long one costs more than another small batch.
        apart = lengths[index] < ALIKE * longest and len(batch) * longest >= LEAST_TOKENS
        if batch and (full or apart):
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


def sentence_settings(folder: ModelFolder) -> tuple[str, int | None]:
    """Pooling ("mean" or "cls") and token limit as sentence-transformers' files state them."""
    path = folder.path
    if not (path / "modules.json").is_file():
        return "mean", None
    try:
        modules = json.loads((path / "modules.json").read_text("utf-8"))
        kinds = {str(module["type"]).rsplit(".", 1)[-1]: module["path"] for module in modules}
        if unknown := set(kinds) - {"Transformer", "Pooling", "Normalize"}:
            raise ModelError(
                f"the encoder needs {min(unknown)} layers, which this tool doesn't have",
                hint="name an encoder of Transformer and Pooling alone",
            )
        settings: dict[str, Any] = {}
        if "Pooling" in kinds:
            settings = json.loads((path / kinds["Pooling"] / "config.json").read_text("utf-8"))
        limit = None
        if (path / "sentence_bert_config.json").is_file():
            limit = json.loads((path / "sentence_bert_config.json").read_text("utf-8"))
            limit = limit.get("max_seq_length")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise damaged(folder.name, f"modules.json or its parts: {error}") from error
    modes = {
        key.removeprefix("pooling_mode_").removesuffix("_token").removesuffix("_tokens")
        for key, on in settings.items()
        if key.startswith("pooling_mode_") and on is True
    }
    modes |= {settings["pooling_mode"]} if isinstance(settings.get("pooling_mode"), str) else set()
    modes = modes or {"mean"}
    if modes not in ({"mean"}, {"cls"}):
        raise ModelError(
            f"the encoder pools by {' + '.join(sorted(modes))}, this tool by mean or cls",
            hint="name another encoder",
        )
    return modes.pop(), limit


class VectorCache:
    """The last vectors made in this process: queries and answers come again and again."""

    def __init__(self, entries: int) -> None:
        self._entries = entries
        self._vectors: OrderedDict[tuple[str, str], Vectors] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: tuple[str, str]) -> Vectors | None:
        with self._lock:
            if key in self._vectors:
                self._vectors.move_to_end(key)
            return self._vectors.get(key)

    def put(self, key: tuple[str, str], vector: Vectors) -> None:
        with self._lock:
            self._vectors[key] = vector.copy()  # a row alone, not a view that keeps its batch
            if len(self._vectors) > self._entries:
                self._vectors.popitem(last=False)


VECTORS = VectorCache(_CACHE_ENTRIES)
