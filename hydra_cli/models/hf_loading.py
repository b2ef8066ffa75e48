"""Loading models with transformers: from local files alone, quietly, errors translated."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError

from hydra_cli.models.files import ModelFolder, damaged

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def best_device() -> str:
    """A GPU where torch sees one."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def load_encoder(
    folder: ModelFolder, device: str
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """An encoder without its pooler, in float32 and eval mode."""
    from transformers import AutoModel

    model, tokenizer = _load(AutoModel, folder, device, torch.float32)
    if getattr(model, "pooler", None) is not None:
        model.pooler = None  # type: ignore[assignment]  # unused, and random where untrained
    return model, tokenizer


def load_llm(
    folder: ModelFolder, device: str, dtype: torch.dtype
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A causal language model in eval mode."""
    from transformers import AutoModelForCausalLM

    return _load(AutoModelForCausalLM, folder, device, dtype)


def _load(
    loader: Any, folder: ModelFolder, device: str, dtype: torch.dtype
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    from transformers import AutoTokenizer

    with quietly():
        try:
            tokenizer = AutoTokenizer.from_pretrained(folder.path, local_files_only=True)
            model = loader.from_pretrained(
                folder.path, local_files_only=True, use_safetensors=True, dtype=dtype
            )
        except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
            raise damaged(folder.name, f"{type(error).__name__}: {error}") from error
    return model.to(device).eval(), tokenizer


@contextmanager
def quietly() -> Iterator[None]:
    """No bars, no advice, no telemetry."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    from transformers.utils import logging as untyped

    logging: Any = untyped
    level = logging.get_verbosity()
    bars = logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
