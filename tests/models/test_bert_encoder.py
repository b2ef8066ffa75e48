"""BERT in numpy against the same weights in torch."""

from __future__ import annotations

import subprocess
import sys
from math import erf as exact
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from threadpoolctl import threadpool_info, threadpool_limits

from hydra_cli.core.errors import ModelError
from hydra_cli.models import bert_encoder, text_encoding
from hydra_cli.models.bert_encoder import BertEncoder, _OneThread, erfc, gelu, open_text_encoder
from hydra_cli.models.hf_encoder import HFEncoder
from hydra_cli.models.text_encoding import VectorCache

TEXTS = [
    "the cat wrote a review",
    "",
    "   ",
    "word " * 900,
    "ünïcode ß 漢字 🤗\nand\tlines",
    "the cat wrote a review",
    *(f"{'news policy ' * i}a" for i in range(30)),
]


@pytest.fixture(autouse=True)
def no_kept_vectors(monkeypatch: pytest.MonkeyPatch) -> None:
    from hydra_cli.models import hf_encoder

    for module in (text_encoding, bert_encoder, hf_encoder):
        monkeypatch.setattr(module, "VECTORS", VectorCache(0))


def light(path: Path) -> BertEncoder:
    opened = open_text_encoder(str(path))
    assert isinstance(opened, BertEncoder)
    return opened


def test_vectors_and_fingerprint_are_torchs(tiny_encoder_path: Path) -> None:
    torch, numpy = HFEncoder.open(str(tiny_encoder_path), device="cpu"), light(tiny_encoder_path)
    assert numpy.fingerprint == torch.fingerprint
    assert numpy.dimension == torch.dimension
    assert numpy.text_tokens == torch.text_tokens
    np.testing.assert_allclose(numpy.encode(TEXTS), torch.encode(TEXTS), atol=2e-6)
    assert numpy._full is None, "torch was used"


@settings(max_examples=30, deadline=None)
@given(st.lists(st.text(max_size=80), min_size=1, max_size=6))
def test_any_texts_in_any_company(tiny_encoder_path: Path, texts: list[str]) -> None:
    encoder = light(tiny_encoder_path)
    together = encoder.encode(texts)
    for text, vector in zip(texts, together, strict=True):
        np.testing.assert_allclose(encoder.encode([text])[0], vector, atol=2e-6)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1.0, atol=1e-5)


def test_first_token_pooling(tiny_encoder_path: Path, tmp_path: Path) -> None:
    import json
    import shutil

    folder = tmp_path / "cls"
    shutil.copytree(tiny_encoder_path, folder)
    (folder / "1_Pooling").mkdir(exist_ok=True)
    (folder / "1_Pooling" / "config.json").write_text('{"pooling_mode_cls_token": true}')
    modules = [
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
        {
            "idx": 1,
            "name": "1",
            "path": "1_Pooling",
            "type": "sentence_transformers.models.Pooling",
        },
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    torch, numpy = HFEncoder.open(str(folder), device="cpu"), light(folder)
    assert numpy.pooling == "cls"
    assert numpy.fingerprint == torch.fingerprint
    np.testing.assert_allclose(numpy.encode(TEXTS), torch.encode(TEXTS), atol=2e-6)


def test_much_work_and_pairs_go_to_torch(
    tiny_encoder_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = light(tiny_encoder_path)
    few = encoder.encode(TEXTS)
    monkeypatch.setattr(bert_encoder, "MANY_TOKENS", 50)
    told: list[int] = []
    np.testing.assert_allclose(encoder.encode(TEXTS, progress=told.append), few, atol=2e-6)
    assert encoder._full is not None
    assert sum(told) == len(TEXTS)
    assert encoder.encode_pairs([("a", "b")]).shape == (1, encoder.dimension)
    assert encoder.device.type == encoder.full.device.type


def test_other_architectures_are_torchs(tiny_encoder_path: Path, tmp_path: Path) -> None:
    import json
    import shutil

    folder = tmp_path / "relu"
    shutil.copytree(tiny_encoder_path, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "hidden_act": "relu"}))
    assert isinstance(open_text_encoder(str(folder)), HFEncoder)


@pytest.mark.parametrize("keep", [0, 7, 2000])
def test_truncated_weights(tmp_path: Path, tiny_encoder_path: Path, keep: int) -> None:
    import shutil

    folder = tmp_path / "cut"
    shutil.copytree(tiny_encoder_path, folder)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:keep])
    with pytest.raises(ModelError, match="damaged"):
        open_text_encoder(str(folder)).encode(["a"])


def test_no_torch_for_a_query(tiny_encoder_path: Path) -> None:
    code = (
        "import sys; from hydra_cli.models.bert_encoder import open_text_encoder as o;"
        f"o({str(tiny_encoder_path)!r}).encode(['a query']);"
        "sys.exit(sorted({'torch', 'transformers'} & set(sys.modules)) or 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_gelu_is_exact_to_a_float_s_last_digits() -> None:
    """Over more numbers than are worked on together, in any shape."""
    points = np.linspace(-6, 6, 30 * 1536, dtype=np.float32).reshape(2, 15, 1536)
    wanted = [x * (1.0 + exact(x / 2**0.5)) / 2.0 for x in points.ravel().astype(float)]
    np.testing.assert_allclose(gelu(points.copy()).ravel(), wanted, atol=1e-6)
    turned = np.asfortranarray(points[0])
    np.testing.assert_array_equal(gelu(turned.copy(order="F")), gelu(points[0].copy()))


def test_erfc() -> None:
    points = np.linspace(0, 6, 1001, dtype=np.float32)
    wanted = np.array([1.0 - exact(float(x)) for x in points])
    np.testing.assert_allclose(erfc(points), wanted, atol=6e-7)


def test_blas_stays_on_one_thread_until_the_last_one_has_gone() -> None:
    """Whoever leaves first must not hand the others' products to several threads."""

    def threads() -> set[int]:
        return {one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas"}

    with threadpool_limits(2, user_api="blas"):
        before, together = threads(), _OneThread()
        together.__enter__()
        together.__enter__()
        together.__exit__()
        assert threads() == {1}
        together.__exit__()
        assert threads() == before
