"""What every test gets: a fresh home, no keys, no network but loopback.

Fixtures: ``home`` (the store's folder of this test), ``tiny_encoder_path`` (a
random two-layer BERT with its tokenizer on disk), ``records`` and ``history``
(made-up people), ``shared`` (data outside the repository, else skip).
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

# Read once, at import, by the libraries they are for.
OFFLINE = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "TOKENIZERS_PARALLELISM": "false",
}
os.environ.update(OFFLINE)
os.environ.setdefault("OMP_NUM_THREADS", "1")  # threads of tiny models only wait for each other

import numpy as np  # noqa: E402
import pytest  # noqa: E402

from hydra_cli.core.records import History, Record  # noqa: E402

SECRETS = re.compile(r"_(API_KEY|API_BASE|API_TOKEN|TOKEN|SECRET|ACCESS_KEY)$|^HYDRA_PERS_")
KEPT = {"HYDRA_PERS_SHARED", "HYDRA_PERS_MODELS"}
LOOPBACK = ("localhost", "127.", "::1", "0.0.0.0")

TEXT = (
    "the a of to and in is it for on with as at by from that this article review movie paper "
    "headline title label score good bad great new old red green blue cat dog bird tree house "
    "music guitar string sound news policy sports comedy travel food learning model data graph "
    "network method writes love hate one two three four five user wrote"
)
WORDS = TEXT.split()


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """HYDRA_PERS_HOME of this test alone, and an environment without keys."""
    for name in list(os.environ):
        if SECRETS.search(name) and name not in KEPT:
            monkeypatch.delenv(name)
    for name, value in OFFLINE.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "120")
    folder = tmp_path / "home"
    monkeypatch.setenv("HYDRA_PERS_HOME", str(folder))
    return folder


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any connection or name look-up beyond this machine fails the test."""

    def guarded(real: Callable[..., Any]) -> Callable[..., Any]:
        def connect(self: socket.socket, address: Any) -> Any:
            if isinstance(address, tuple):
                refuse(str(address[0]))
            return real(self, address)

        return connect

    def refuse(host: str) -> None:
        if not host.startswith(LOOPBACK):
            raise AssertionError(f"a test tried to reach {host!r}")

    look_up = socket.getaddrinfo

    def getaddrinfo(host: Any, *rest: Any, **options: Any) -> Any:
        if host:
            refuse(host.decode() if isinstance(host, bytes) else str(host))
        return look_up(host, *rest, **options)

    monkeypatch.setattr(socket.socket, "connect", guarded(socket.socket.connect))
    monkeypatch.setattr(socket.socket, "connect_ex", guarded(socket.socket.connect_ex))
    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


@pytest.fixture(scope="session")
def tiny_encoder_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT of two layers and 32 dimensions with seeded random weights. Read-only."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from torch import manual_seed, random
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    letters = [chr(c) for c in range(33, 127) if not chr(c).isupper()]
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    pieces = [*special, *letters, *(f"##{letter}" for letter in letters)]
    vocabulary = {piece: i for i, piece in enumerate(dict.fromkeys([*pieces, *WORDS]))}
    core = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    core.normalizer = normalizers.BertNormalizer(lowercase=True)
    core.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    core.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(name, vocabulary[name]) for name in ("[CLS]", "[SEP]")],
    )
    names = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core,
        model_max_length=128,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
        **{f"{key}_token": token for key, token in names.items()},
    )
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=128,
    )
    folder = tmp_path_factory.mktemp("tiny-encoder")
    with random.fork_rng(devices=[]):
        manual_seed(0)
        BertModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def records() -> list[Record]:
    """Twelve records of two people: ``ann`` writes headlines, ``bob`` labels articles."""
    start = datetime(2024, 1, 1, tzinfo=UTC)
    made = []
    for i in range(6):
        day = start + timedelta(days=i)
        topic, other = WORDS[20 + i], WORDS[30 + i]
        made.append(
            Record("ann", f"a{i}", "LaMP_4", f"an article on {topic} and {other}", topic, day)
        )
        label = ("sports", "comedy")[i % 2]
        made.append(Record("bob", f"b{i}", "LaMP_2N", f"{label} news on {other}", label, day))
    return made


@pytest.fixture
def history(records: list[Record]) -> History:
    """Ann's records with seeded random unit vectors of 16 dimensions."""
    own = tuple(record for record in records if record.user == "ann")
    vectors = np.random.default_rng(0).normal(size=(2, len(own), 16)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=-1, keepdims=True)
    return History("ann", own, vectors[0], vectors[1])


@pytest.fixture
def shared() -> Path:
    """Data beside the repository (HYDRA_PERS_SHARED, else ../shared); skips without it."""
    default = Path(__file__).resolve().parents[2] / "shared"
    folder = Path(os.environ.get("HYDRA_PERS_SHARED", default))
    if not folder.is_dir():
        pytest.skip("no data beside the repository; name its folder in HYDRA_PERS_SHARED")
    return folder
