from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hydra_cli.core.errors import ModelError, UsageError
from hydra_cli.models import hf_encoder
from hydra_cli.models.hf_encoder import HFEncoder
from hydra_cli.models.hf_precision import TOLERANCE, VARIABLE
from hydra_cli.models.text_encoding import VectorCache, token_batches

TEXTS = [
    "a new movie review",
    "the cat",
    "news on sports and travel " * 12,
    "",
    "the cat",
    "Data graph network!",
    "x" * 500,
]
PAIRS = [("a cat", "the dog"), ("label this article " * 40, "sports"), ("one", "two three " * 90)]


@pytest.fixture
def encoder(tiny_encoder_path: Path, monkeypatch: pytest.MonkeyPatch) -> HFEncoder:
    monkeypatch.setattr(hf_encoder, "VECTORS", VectorCache(64))
    return HFEncoder.open(str(tiny_encoder_path), device="cpu")


def with_modules(source: Path, target: Path, **pooling: bool) -> Path:
    """The tiny encoder as sentence-transformers would have saved it."""
    shutil.copytree(source, target)
    (target / "1_Pooling").mkdir()
    (target / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    modules = [
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
        {
            "idx": 1,
            "name": "1",
            "path": "1_Pooling",
            "type": "sentence_transformers.models.Pooling",
        },
    ]
    (target / "modules.json").write_text(json.dumps(modules))
    return target


@torch.inference_mode()
def states_alone(encoder: HFEncoder, *texts: str) -> torch.Tensor:
    """Last hidden states (t, d) of one text or pair, by a plain call of its own."""
    tokens = encoder.tokenizer(
        *texts, truncation="longest_first", max_length=128, return_tensors="pt"
    )
    return encoder.model(**tokens).last_hidden_state[0]


def test_mean_pooling_against_one_text_at_a_time(encoder: HFEncoder) -> None:
    vectors = encoder.encode(TEXTS)
    assert vectors.dtype == np.float32
    assert vectors.shape == (len(TEXTS), encoder.dimension) == (7, 32)
    for text, vector in zip(TEXTS, vectors, strict=True):
        mean = states_alone(encoder, text).mean(0)
        np.testing.assert_allclose(vector, mean / mean.norm(), atol=2e-6)


def test_cls_pooling_where_the_config_says_so(tmp_path: Path, tiny_encoder_path: Path) -> None:
    folder = with_modules(tiny_encoder_path, tmp_path / "cls", pooling_mode_cls_token=True)
    encoder = HFEncoder.open(str(folder), device="cpu")
    first = states_alone(encoder, TEXTS[0])[0]
    np.testing.assert_allclose(encoder.encode(TEXTS[:1])[0], first / first.norm(), atol=2e-6)


def test_newer_pooling_config(tmp_path: Path, tiny_encoder_path: Path) -> None:
    folder = with_modules(tiny_encoder_path, tmp_path / "new")
    (folder / "1_Pooling" / "config.json").write_text('{"pooling_mode": "cls"}')
    assert HFEncoder.open(str(folder), device="cpu").pooling == "cls"


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("1_Pooling/config.json", '{"pooling_mode_max_tokens": true}'),
        ("1_Pooling/config.json", "{"),
        ("modules.json", "[1]"),
        ("modules.json", '[{"type": "sentence_transformers.models.Dense", "path": "2_Dense"}]'),
        ("sentence_bert_config.json", "[]"),
    ],
)
def test_pooling_that_cannot_be_done(
    tmp_path: Path, tiny_encoder_path: Path, file: str, content: str
) -> None:
    folder = with_modules(tiny_encoder_path, tmp_path / "odd", pooling_mode_mean_tokens=True)
    (folder / file).write_text(content)
    with pytest.raises(ModelError):
        HFEncoder.open(str(folder), device="cpu")


def test_pairs_against_one_pair_at_a_time(encoder: HFEncoder) -> None:
    states = encoder.encode_pairs(PAIRS)
    assert states.dtype == torch.float32
    assert states.shape == (3, 32)
    for pair, state in zip(PAIRS, states, strict=True):
        torch.testing.assert_close(state, states_alone(encoder, *pair)[0], atol=5e-6, rtol=0)


def test_tokenize_pairs_is_what_the_model_reads(encoder: HFEncoder) -> None:
    batch = encoder.tokenize_pairs(PAIRS, max_length=16)
    assert batch["input_ids"].shape == (3, 16)
    assert encoder.tokenize_pairs(PAIRS, max_length=9999)["input_ids"].shape == (3, 128)
    with torch.inference_mode():
        states = encoder.model(**encoder.tokenize_pairs(PAIRS)).last_hidden_state[:, 0]
    torch.testing.assert_close(states, encoder.encode_pairs(PAIRS), atol=5e-6, rtol=0)


def test_nothing_to_encode(encoder: HFEncoder) -> None:
    assert encoder.encode([]).shape == (0, 32)
    assert encoder.encode_pairs([]).shape == (0, 32)


def test_progress_counts_every_text_once(
    encoder: HFEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hf_encoder, "_CPU_BATCH_TOKENS", 64)
    for _ in range(2):  # without and with cached vectors
        steps: list[int] = []
        encoder.encode(TEXTS, progress=steps.append)
        assert sum(steps) == len(TEXTS)


def test_repeated_texts_cost_nothing(encoder: HFEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    batches = HFEncoder._batches

    def counted(self: HFEncoder, tokens: dict[str, Sequence[object]], **options: bool) -> object:
        seen.append(len(tokens["input_ids"]))
        return batches(self, tokens, **options)

    monkeypatch.setattr(HFEncoder, "_batches", counted)
    first = encoder.encode(TEXTS)
    again = encoder.encode([*reversed(TEXTS), "tree"])
    assert seen == [len(set(TEXTS)), 1]
    np.testing.assert_array_equal(again[:-1], first[::-1])


def test_a_changed_result_does_not_reach_the_cache(encoder: HFEncoder) -> None:
    before = encoder.encode(["tree"])
    kept = before.copy()
    before[:] = 0
    np.testing.assert_array_equal(encoder.encode(["tree"]), kept)


def test_cache_forgets_the_oldest() -> None:
    cache = VectorCache(2)
    for text in "ab":
        cache.put(("f", text), np.zeros(1, np.float32))
    cache.get(("f", "a"))
    cache.put(("f", "c"), np.zeros(1, np.float32))
    assert [cache.get(("f", text)) is not None for text in "abc"] == [True, False, True]


def test_fingerprint_names_weights_and_pooling(tmp_path: Path, tiny_encoder_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    copied = tmp_path / "copy"
    shutil.copytree(tiny_encoder_path, copied)
    changed = tmp_path / "changed"
    shutil.copytree(tiny_encoder_path, changed)
    weights = load_file(changed / "model.safetensors")
    next(iter(weights.values()))[0] += 1
    save_file(weights, changed / "model.safetensors", metadata={"format": "pt"})
    cls = with_modules(tiny_encoder_path, tmp_path / "cls", pooling_mode_cls_token=True)
    folders = (tiny_encoder_path, copied, changed, cls)
    same, copy, other, pooled = (
        HFEncoder.open(str(folder), device="cpu").fingerprint for folder in folders
    )
    assert same == copy
    assert len({same, other, pooled}) == 3


def test_bfloat16_stays_within_its_tolerance(
    encoder: HFEncoder, tiny_encoder_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, "bfloat16")
    half = HFEncoder.open(str(tiny_encoder_path), device="cpu")
    assert half.precision == torch.bfloat16
    assert half.model.dtype == torch.float32  # whoever trains gets the full weights
    a = torch.nn.functional.normalize(encoder.encode_pairs(PAIRS), dim=1)
    b = torch.nn.functional.normalize(half.encode_pairs(PAIRS), dim=1)
    assert 0 < float((a - b).norm(dim=1).max()) < TOLERANCE


def test_unknown_precision(tiny_encoder_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "int4")
    with pytest.raises(UsageError, match="int4"):
        HFEncoder.open(str(tiny_encoder_path))


@given(st.lists(st.integers(1, 300)), st.integers(1, 1000))
def test_batches_hold_every_index_within_the_budget(lengths: list[int], budget: int) -> None:
    batches = list(token_batches(lengths, budget))
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(lengths[i] for i in batch) <= budget
    flat = [lengths[i] for batch in batches for i in batch]
    assert flat == sorted(flat, reverse=True)
