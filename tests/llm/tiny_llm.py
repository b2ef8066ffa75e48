"""A two-layer Llama or Qwen2 with random weights, a word tokenizer and a chat template."""

from __future__ import annotations

from pathlib import Path
from typing import Any

TEMPLATE = (
    "{% for message in messages %}{{ message['role'] }} {{ message['content'] }} <end> "
    "{% endfor %}{% if add_generation_prompt %}assistant {% endif %}"
)
WORDS = [
    "system",
    "user",
    "assistant",
    "red",
    "green",
    "blue",
    "one",
    "two",
    "three",
    "four",
    "five",
    "say",
    "a",
    "colour",
    "stop",
]


def save_tiny_llm(folder: Path, *, template: str | None = TEMPLATE, qwen: bool = False) -> Path:
    """A model's folder; ``qwen`` adds what Qwen2 has: biases, and one matrix at both ends."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from torch import manual_seed, nn, random
    from transformers import (
        LlamaConfig,
        LlamaForCausalLM,
        PreTrainedTokenizerFast,
        Qwen2Config,
        Qwen2ForCausalLM,
    )

    vocabulary = {word: i for i, word in enumerate(["<pad>", "<unk>", "<end>", *WORDS, "\n"])}
    core = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    core.decoder = decoders.Fuse()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token="<pad>", unk_token="<unk>", eos_token="<end>"
    )
    tokenizer.chat_template = template
    shape: dict[str, Any] = {
        "vocab_size": len(vocabulary),
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 96,
        "pad_token_id": 0,
        "bos_token_id": None,
        "eos_token_id": 2,
        "initializer_range": 0.5,
    }
    with random.fork_rng(devices=[]):
        manual_seed(3)
        if qwen:
            model = Qwen2ForCausalLM(Qwen2Config(tie_word_embeddings=True, **shape))
            for layer in model.model.layers:  # biases start as zeros, which would test nothing
                for part in (layer.self_attn.q_proj, layer.self_attn.k_proj):
                    nn.init.normal_(part.bias, std=0.5)
        else:
            model = LlamaForCausalLM(LlamaConfig(**shape))
        model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
