"""The default models themselves, where they have been pulled before."""

from __future__ import annotations

import numpy as np
import pytest

from hydra_cli.core.protocols import Message, Sampling
from hydra_cli.llm.local_chat import LocalChat
from hydra_cli.models.files import find_model
from hydra_cli.models.hf_encoder import HFEncoder
from hydra_cli.models.hf_precision import TOLERANCE

pytestmark = pytest.mark.slow


def need(name: str) -> str:
    if find_model(name) is None:
        pytest.skip(f"hydra-pers models pull {name}")
    return name


def test_encoder_knows_what_is_alike() -> None:
    encoder = HFEncoder.open(need("all-minilm-l6-v2"))
    cat, kitten, tax = encoder.encode(["a cat sleeps", "the kitten naps", "income tax law"])
    assert cat @ kitten > 0.5 > 0.2 > cat @ tax


def test_vectors_are_those_of_sentence_transformers() -> None:
    library = pytest.importorskip("sentence_transformers")
    encoder = HFEncoder.open(need("all-minilm-l6-v2"), device="cpu")
    texts = ["This is an example sentence", "", "long " * 600]
    reference = library.SentenceTransformer(str(encoder.folder.path), device="cpu").encode(
        texts, normalize_embeddings=True
    )
    assert np.linalg.norm(encoder.encode(texts) - reference, axis=1).max() < TOLERANCE


def test_llm_knows_a_capital_and_its_own_template() -> None:
    chat = LocalChat.open(need("smollm2-135m-instruct"))
    messages: list[Message] = [{"role": "user", "content": "What is the capital of France?"}]
    prompt = chat.prompt(messages, Sampling())
    assert chat.tokenizer.decode(list(prompt.ids)) == (
        "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face"
        "<|im_end|>\n<|im_start|>user\nWhat is the capital of France?<|im_end|>\n"
        "<|im_start|>assistant\n"
    )
    (answers,) = chat.generate_batch([(messages, Sampling(max_tokens=12, stop=("\n",)))])
    assert answers.answers[0].text == "The capital of France is Paris."
    assert answers.answers[0].finish == "stop"
