"""Weights in other formats to safetensors, once, right after they were fetched."""

from __future__ import annotations

import io
import json
import pickle
import sys
from contextlib import nullcontext, redirect_stderr
from pathlib import Path

from hydra_cli.core.errors import ModelError
from hydra_cli.models.catalog import Kind


def to_safetensors(folder: Path, kind: Kind | None) -> None:
    """Make the folder one with config, tokenizer and safetensors weights."""
    if any(folder.glob("*.safetensors")):
        return
    gguf = sorted(folder.glob("*.gguf"))
    if not gguf and not (folder / "pytorch_model.bin").is_file():
        raise ModelError(
            "the model has no weights this tool reads",
            hint="it needs *.safetensors, pytorch_model.bin or a .gguf file",
        )
    from hydra_cli.models.hf_loading import quietly

    sys.stderr.write("converting the weights to float32, once: a minute or two\n")
    # transformers draws a bar with a total of its own, which belongs on a terminal alone.
    hidden = nullcontext() if sys.stderr.isatty() else redirect_stderr(io.StringIO())
    try:
        with quietly(), hidden:
            if gguf:
                _from_gguf(folder, gguf[0])
            else:
                _from_bin(folder, kind)
    except (ValueError, KeyError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        reason = " ".join(str(error).split())[:160]
        raise ModelError(f"the model's weights can't be converted: {reason}") from error


def _from_gguf(folder: Path, path: Path) -> None:
    """Dequantize into float32 tensors: plain matrices are what a CPU multiplies fastest."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=path.name, local_files_only=True)
    model = AutoModelForCausalLM.from_pretrained(
        folder,
        gguf_file=path.name,
        quantization_config=GgufConfig(dequantize=True),
        dtype=torch.float32,
        local_files_only=True,
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    path.unlink()


def _from_bin(folder: Path, kind: Kind | None) -> None:
    """torch's zip format, read with ``weights_only``: tensors alone, no code is run."""
    from transformers import AutoModel, AutoModelForCausalLM

    if kind is None:
        config = json.loads((folder / "config.json").read_text("utf-8"))
        architectures = config.get("architectures") or [""]
        kind = "llm" if architectures[0].endswith("ForCausalLM") else "encoder"
    loader = AutoModelForCausalLM if kind == "llm" else AutoModel
    model = loader.from_pretrained(folder, local_files_only=True, weights_only=True)
    model.save_pretrained(folder)
    (folder / "pytorch_model.bin").unlink()
