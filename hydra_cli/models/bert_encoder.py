"""BERT encoders in plain numpy: a query's vector without importing torch.

Importing torch and transformers takes longer than anything that ``ask`` does with
them. A few texts are encoded here; many at once, pairs, and models of other
architectures go to ``HFEncoder``, which gives the same vectors (to 1e-5) under the
same fingerprint. The forward pass is that of Devlin et al. (arXiv 1810.04805).
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hydra_cli.core.errors import ModelError
from hydra_cli.models.fetching import open_model
from hydra_cli.models.files import ModelFolder, damaged
from hydra_cli.models.text_encoding import (
    TEXT_TOKENS,
    VECTORS,
    fingerprint_of,
    sentence_settings,
    token_batches,
)

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from hydra_cli.core.protocols import TextEncoder
    from hydra_cli.core.records import Vectors
    from hydra_cli.models.hf_encoder import HFEncoder

Floats = NDArray[np.float32]

MANY_TOKENS = 8_000
"""From here on, importing torch pays: it uses every core."""
_BATCH_TOKENS = 4096
_MASKED = np.float32(-1e9)
_CACHED = 32_768
"""Numbers that are worked on together: 128 KiB, and a few times that beside them."""


def open_text_encoder(name: str) -> TextEncoder:
    """The encoder of that name, the light one if it may be; fetched where it isn't on disk."""
    folder = open_model(name, "encoder")
    config = _read(folder, "config.json")
    if _is_plain_bert(folder, config):
        return BertEncoder(folder, config)
    from hydra_cli.models.hf_encoder import HFEncoder

    return HFEncoder.open(name)


class BertEncoder:
    """A TextEncoder that needs torch only for much work.

    Whatever else ``HFEncoder`` has, it has, too: that is where it comes from then.
    """

    def __init__(self, folder: ModelFolder, config: Mapping[str, Any]) -> None:
        self.folder = folder
        self.name = folder.name
        self.pooling, limit = sentence_settings(folder)
        stated = _read(folder, "tokenizer_config.json").get("model_max_length") or TEXT_TOKENS
        longest = min(int(stated), int(config["max_position_embeddings"]))
        self.text_tokens = min(TEXT_TOKENS, limit or TEXT_TOKENS, longest)
        self.dimension = int(config["hidden_size"])
        self.fingerprint = fingerprint_of(folder, self.pooling, self.text_tokens, "BertModel")
        self._config = config
        self._opening = threading.Lock()
        self._full: HFEncoder | None = None

    def encode(
        self, texts: Sequence[str], *, progress: Callable[[int], None] | None = None
    ) -> Vectors:
        """Unit vectors (n, d), float32; equal texts are encoded once."""
        known = {text: VECTORS.get((self.fingerprint, text)) for text in texts}
        new = [text for text, vector in known.items() if vector is None]
        rows = self._tokenized(new)
        if self._full is not None or sum(map(len, rows)) > MANY_TOKENS:
            return self.full.encode(texts, progress=progress)
        for indices in token_batches([len(row) for row in rows], _BATCH_TOKENS):
            vectors = self._pooled([rows[i] for i in indices])
            for i, vector in zip(indices, vectors, strict=True):
                known[new[i]] = vector
                VECTORS.put((self.fingerprint, new[i]), vector)
        if progress is not None and texts:
            progress(len(texts))
        found = [vector for text in texts if (vector := known[text]) is not None]
        return np.stack(found) if found else np.empty((0, self.dimension), np.float32)

    @property
    def full(self) -> HFEncoder:
        """The same model in torch, loaded when it is first needed."""
        from hydra_cli.models.hf_encoder import HFEncoder

        with self._opening:
            if self._full is None:
                self._full = HFEncoder.open(self.name)
            return self._full

    def encode_pairs(self, pairs: Sequence[tuple[str, str]]) -> Any:
        """First-token states of joined pairs, by ``HFEncoder``."""
        return self.full.encode_pairs(pairs)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self.full, name)

    def _tokenized(self, texts: Sequence[str]) -> list[list[int]]:
        return [encoding.ids for encoding in self._tokenizer.encode_batch(list(texts))]

    def _pooled(self, rows: Sequence[Sequence[int]]) -> Floats:
        """Unit vectors (b, d) of token ids, padded together."""
        longest = max(map(len, rows))
        ids = np.zeros((len(rows), longest), np.int64)
        mask = np.zeros((len(rows), longest), np.float32)
        for i, row in enumerate(rows):
            ids[i, : len(row)] = row
            mask[i, : len(row)] = 1.0
        with _ONE_THREAD:
            hidden = self._network(ids, mask)  # (b, t, d)
        if self.pooling == "cls":
            states = hidden[:, 0]
        else:
            states = (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdims=True)
        norms = np.linalg.norm(states, axis=1, keepdims=True)
        unit: Floats = (states / np.maximum(norms, 1e-12)).astype(np.float32)
        return unit

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        from tokenizers import Tokenizer

        try:
            tokenizer = Tokenizer.from_file(str(self.folder.path / "tokenizer.json"))
        except Exception as error:  # the library raises nothing narrower
            raise damaged(self.name, f"tokenizer.json: {error}") from error
        tokenizer.no_padding()
        tokenizer.enable_truncation(self.text_tokens)
        return tokenizer

    @cached_property
    def _network(self) -> Bert:
        return Bert(_tensors(self.folder), self._config)


class Bert:
    """The network without its pooler: token ids (b, t) and mask (b, t) to states (b, t, d)."""

    def __init__(self, tensors: Mapping[str, Floats], config: Mapping[str, Any]) -> None:
        self._tensors = tensors
        self._layers = int(config["num_hidden_layers"])
        self._heads = int(config["num_attention_heads"])
        self._epsilon = float(config.get("layer_norm_eps", 1e-12))

    def __call__(self, ids: NDArray[np.int64], mask: Floats) -> Floats:
        words = self._tensors["embeddings.word_embeddings.weight"]
        positions = self._tensors["embeddings.position_embeddings.weight"]
        kinds = self._tensors["embeddings.token_type_embeddings.weight"]
        states = words[ids] + positions[: ids.shape[1]] + kinds[0]
        states = self._normed(states, "embeddings.LayerNorm")
        away = (1.0 - mask)[:, None, None, :] * _MASKED  # (b, 1, 1, t)
        for layer in range(self._layers):
            states = self._layer(states, away, f"encoder.layer.{layer}.")
        return states

    def _layer(self, states: Floats, away: Floats, name: str) -> Floats:
        seen = self._attention(states, away, f"{name}attention.")
        wide = gelu(self._linear(seen, f"{name}intermediate.dense"))
        return self._normed(
            self._linear(wide, f"{name}output.dense") + seen, f"{name}output.LayerNorm"
        )

    def _attention(self, states: Floats, away: Floats, name: str) -> Floats:
        batch, length, width = states.shape

        def heads(part: str) -> Floats:
            found = self._linear(states, f"{name}self.{part}")
            split: Floats = found.reshape(batch, length, self._heads, -1).transpose(0, 2, 1, 3)
            return split

        query, key, value = heads("query"), heads("key"), heads("value")  # (b, h, t, d/h)
        scale = np.float32(np.sqrt(query.shape[-1]))
        scores: Floats = query @ key.transpose(0, 1, 3, 2) / scale + away
        scores -= scores.max(-1, keepdims=True)
        np.exp(scores, out=scores)
        scores /= scores.sum(-1, keepdims=True)
        mixed = (scores @ value).transpose(0, 2, 1, 3).reshape(batch, length, width)
        return self._normed(
            self._linear(mixed, f"{name}output.dense") + states, f"{name}output.LayerNorm"
        )

    def _linear(self, states: Floats, name: str) -> Floats:
        flat = states.reshape(-1, states.shape[-1]) @ self._tensors[f"{name}.weight"].T
        flat += self._tensors[f"{name}.bias"]
        found: Floats = flat.reshape(*states.shape[:-1], -1)
        return found

    def _normed(self, states: Floats, name: str) -> Floats:
        centred = states - states.mean(-1, keepdims=True)
        spread = np.sqrt((centred**2).mean(-1, keepdims=True) + np.float32(self._epsilon))
        found: Floats = centred / spread * self._tensors[f"{name}.weight"]
        found += self._tensors[f"{name}.bias"]
        return found


class _OneThread:
    """BLAS on one thread: products this small are slower on several, beside other work 80 times.

    The number is the process's: the first who comes lowers it, and the last who goes
    puts it back, so that nobody's products are split while another thread leaves.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._lowered = ExitStack()

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._lowered.enter_context(_threads().limit(limits=1, user_api="blas"))
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                self._lowered.close()


_ONE_THREAD = _OneThread()


@lru_cache(maxsize=1)
def _threads() -> Any:
    """The process's BLAS, looked for once: that takes as long as a short text."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


def gelu(x: Floats) -> Floats:
    """x times the normal distribution's cumulative density (Hendrycks and Gimpel, 1606.08415).

    That is max(x, 0) - |x| erfc(|x| / sqrt(2)) / 2. It is written over ``x``, in pieces that
    stay in a core's cache.
    """
    rows = x.reshape(-1, x.shape[-1])
    step = max(1, _CACHED // rows.shape[-1])
    for start in range(0, len(rows), step):
        piece = rows[start : start + step]
        size = np.abs(piece)
        tail = erfc(size * np.float32(np.sqrt(0.5)))
        tail *= size
        tail *= np.float32(0.5)
        np.maximum(piece, np.float32(0.0), out=piece)
        piece -= tail
    found: Floats = rows.reshape(x.shape)
    return found


def erfc(x: Floats) -> Floats:
    """1 minus the error function of x >= 0, to 1.5e-7; numpy has none.

    Abramowitz and Stegun, 7.1.26.
    """
    t = x * np.float32(0.3275911)
    t += np.float32(1.0)
    np.reciprocal(t, out=t)
    series = t * np.float32(1.061405429)
    for term in (-1.453152027, 1.421413741, -0.284496736, 0.254829592):
        series += np.float32(term)
        series *= t
    np.multiply(x, x, out=t)
    np.negative(t, out=t)
    series *= np.exp(t, out=t)
    return series


def _is_plain_bert(folder: ModelFolder, config: Mapping[str, Any]) -> bool:
    return (
        config.get("model_type") == "bert"
        and config.get("hidden_act", "gelu") == "gelu"
        and config.get("position_embedding_type", "absolute") == "absolute"
        and not config.get("is_decoder")
        and (folder.path / "tokenizer.json").is_file()
        and all(_is_float(path) for path in folder.weights)
    )


def _is_float(path: Path) -> bool:
    """Whether numpy can read the file's types: it has no bfloat16."""
    try:
        with path.open("rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        kinds = {entry["dtype"] for name, entry in header.items() if name != "__metadata__"}
    except (OSError, ValueError, KeyError, TypeError, OverflowError, MemoryError):
        return False  # HFEncoder says what is wrong with it
    return kinds <= {"F32", "F16", "F64", "I64"}


def _tensors(folder: ModelFolder) -> dict[str, Floats]:
    from safetensors import SafetensorError, safe_open

    found: dict[str, Floats] = {}
    try:
        for path in folder.weights:
            with safe_open(path, framework="np") as file:
                for name in file.keys():  # noqa: SIM118
                    # Some files hold the network below "bert.", beside a task's own layers.
                    short = name.removeprefix("bert.")
                    if short.startswith(("embeddings.", "encoder.")):
                        array = file.get_tensor(name)
                        if array.dtype.kind == "f":
                            found[short] = array.astype(np.float32, copy=False)
        found["embeddings.word_embeddings.weight"]
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise damaged(folder.name, f"{type(error).__name__}: {error}") from error
    return found


def _read(folder: ModelFolder, name: str) -> dict[str, Any]:
    """A JSON file of the model; empty where it has none."""
    path = folder.path / name
    if not path.is_file():
        return {}
    try:
        read = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise damaged(folder.name, f"{name}: {error}") from error
    if not isinstance(read, dict):
        raise ModelError(f"{name} of {folder.name} holds no settings")
    return read
