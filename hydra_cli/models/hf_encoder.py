"""Any Hugging Face encoder as a TextEncoder: vectors of texts, states of pairs.

Texts become unit vectors by the pooling that the model's own 1_Pooling config
names (mean of the tokens without one); pairs become the first token's last
hidden state, as a cross-encoder reads them. Both run over batches of texts of
similar length, each batch as large as a budget of padded tokens allows.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch

from hydra_cli.models.fetching import open_model
from hydra_cli.models.files import ModelFolder
from hydra_cli.models.hf_loading import best_device, load_encoder
from hydra_cli.models.hf_precision import scoring_dtype
from hydra_cli.models.text_encoding import (
    PAIR_TOKENS,
    TEXT_TOKENS,
    VECTORS,
    fingerprint_of,
    sentence_settings,
    token_batches,
)

if TYPE_CHECKING:
    from transformers import BatchEncoding, PreTrainedModel, PreTrainedTokenizerBase

    from hydra_cli.core.records import Vectors

_CPU_BATCH_TOKENS = 4096
_GPU_BATCH_TOKENS = 65536
_CHUNK = 8192  # texts tokenized and sorted at once: memory stays bounded


class HFEncoder:
    """A frozen encoder on the best device of this machine.

    ``model``, ``tokenizer`` and ``device`` are for whoever trains on top of it
    (``tokenize_pairs`` makes the model's input); the model is in eval mode and
    its weights must stay as they are, or ``fingerprint`` is no longer true.
    """

    def __init__(
        self,
        folder: ModelFolder,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        text_tokens: int = TEXT_TOKENS,
        pair_tokens: int = PAIR_TOKENS,
    ) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.folder = folder
        self.name = folder.name
        self.precision = scoring_dtype(model.device)
        self._frozen: PreTrainedModel | None = None
        self.pooling, limit = sentence_settings(folder)
        positions = int(getattr(model.config, "max_position_embeddings", 512))
        # Tokenizers without a limit state a huge number.
        longest = min(int(tokenizer.model_max_length), positions)
        self.text_tokens = min(text_tokens, limit or text_tokens, longest)
        self.pair_tokens = min(pair_tokens, longest)
        self.dimension = int(model.config.hidden_size)
        self.fingerprint = fingerprint_of(
            folder, self.pooling, self.text_tokens, type(model).__name__
        )

    @classmethod
    def open(cls, name: str, *, device: str | None = None) -> HFEncoder:
        """Load a model by name, fetching it first where it isn't on disk.

        ``device`` is a torch device; default: a GPU where there is one.
        """
        folder = open_model(name, "encoder")
        model, tokenizer = load_encoder(folder, device or best_device())
        return cls(folder, model, tokenizer)

    @property
    def _scoring_model(self) -> PreTrainedModel:
        """``model``, or a copy of it in the number format that is faster here."""
        if self.precision == torch.float32:
            return self.model
        if self._frozen is None:
            copied: Any = copy.deepcopy(self.model)
            self._frozen = copied.to(self.precision)
        return cast("PreTrainedModel", self._frozen)

    @property
    def device(self) -> torch.device:
        device: torch.device = self.model.device
        return device

    def encode(
        self, texts: Sequence[str], *, progress: Callable[[int], None] | None = None
    ) -> Vectors:
        """Unit vectors (n, d), float32; equal texts are encoded once.

        ``progress`` is told how many texts each batch finished.
        """
        vectors = np.empty((len(texts), self.dimension), np.float32)
        rows: dict[str, list[int]] = {}
        for row, text in enumerate(texts):
            rows.setdefault(text, []).append(row)
        new: list[str] = []
        known = 0
        for text, places in rows.items():
            vector = VECTORS.get((self.fingerprint, text))
            if vector is None:
                new.append(text)
            else:
                vectors[places] = vector
                known += len(places)
        if progress and known:
            progress(known)
        for start in range(0, len(new), _CHUNK):
            chunk = new[start : start + _CHUNK]
            for indices, states in self._batches(self._tokenize(chunk, None, self.text_tokens)):
                for index, vector in zip(indices, states, strict=True):
                    vectors[rows[chunk[index]]] = vector
                    VECTORS.put((self.fingerprint, chunk[index]), vector)
                if progress:
                    progress(sum(len(rows[chunk[index]]) for index in indices))
        return vectors

    def encode_pairs(self, pairs: Sequence[tuple[str, str]]) -> torch.Tensor:
        """First-token states (n, d), float32 on the CPU, of joined pairs.

        The longer side is cut first, down to ``pair_tokens``.
        """
        states = torch.empty(len(pairs), self.dimension)
        for start in range(0, len(pairs), _CHUNK):
            chunk = pairs[start : start + _CHUNK]
            left, right = [pair[0] for pair in chunk], [pair[1] for pair in chunk]
            tokens = self._tokenize(left, right, self.pair_tokens)
            for indices, batch in self._batches(tokens, first_token=True):
                states[start + torch.tensor(indices)] = torch.from_numpy(batch)
        return states

    def tokenize_pairs(
        self, pairs: Sequence[tuple[str, str]], max_length: int | None = None
    ) -> BatchEncoding:
        """The model's input for joined pairs: padded tensors (n, t) on the encoder's device."""
        batch: BatchEncoding = self.tokenizer(
            [pair[0] for pair in pairs],
            [pair[1] for pair in pairs],
            truncation="longest_first",
            max_length=min(max_length or self.pair_tokens, self.pair_tokens),
            padding=True,
            return_tensors="pt",
        )
        return batch.to(self.device)

    def _tokenize(self, left: Sequence[str], right: Sequence[str] | None, limit: int) -> Any:
        return self.tokenizer(
            list(left),
            None if right is None else list(right),
            truncation="longest_first",
            max_length=limit,
            padding=False,
        )

    @torch.inference_mode()
    def _batches(
        self, tokens: Any, *, first_token: bool = False
    ) -> Iterator[tuple[list[int], Vectors]]:
        """Indices and results (b, d) batch by batch, longest first."""
        lengths = [len(ids) for ids in tokens["input_ids"]]
        budget = _CPU_BATCH_TOKENS if self.device.type == "cpu" else _GPU_BATCH_TOKENS
        for indices in token_batches(lengths, budget):
            features = {key: [tokens[key][i] for i in indices] for key in tokens}
            batch = self.tokenizer.pad(features, return_tensors="pt").to(self.device)
            hidden = self._scoring_model(**batch).last_hidden_state  # (b, t, d)
            if first_token or self.pooling == "cls":
                states = hidden[:, 0]
            else:
                mask = batch["attention_mask"].unsqueeze(-1)  # (b, t, 1)
                states = (hidden.float() * mask).sum(1) / mask.sum(1)
            states = states.float()
            if not first_token:
                states = torch.nn.functional.normalize(states, dim=-1)
            yield indices, states.cpu().numpy()
