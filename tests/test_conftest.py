"""The guards that every other test stands on."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest


def test_home_is_fresh_and_keys_are_gone(home: Path, tmp_path: Path) -> None:
    assert os.environ["HYDRA_PERS_HOME"] == str(home)
    assert home.is_relative_to(tmp_path)
    assert not home.exists()
    assert not [name for name in os.environ if name.endswith("_API_KEY")]


def test_the_network_ends_at_loopback() -> None:
    with pytest.raises(AssertionError, match=r"192\.0\.2\.1"), socket.socket() as out:
        out.connect(("192.0.2.1", 80))
    with pytest.raises(AssertionError, match=r"example\.org"):
        socket.getaddrinfo("example.org", 443)
    with socket.create_server(("127.0.0.1", 0)) as server:
        socket.create_connection(server.getsockname(), timeout=5).close()


def test_the_tiny_encoder_loads_and_reads_pairs(tiny_encoder_path: Path) -> None:
    from transformers import AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_encoder_path)
    batch = tokenizer([("a cat", "the dog")], return_tensors="pt")
    assert batch["token_type_ids"].tolist() == [[0, 0, 0, 0, 1, 1, 1]]
    states = AutoModel.from_pretrained(tiny_encoder_path).eval()(**batch).last_hidden_state
    assert states.shape == (1, 7, 32)
