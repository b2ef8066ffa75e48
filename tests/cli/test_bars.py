"""What a terminal shows while a command works, on a pseudo-terminal."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from hydra_cli.cli.app import run
from tests.llm.fault_server import FaultServer

pty = pytest.importorskip("pty", reason="pseudo-terminals are Unix's")


def on_terminal(*arguments: str, **environment: str) -> tuple[str, str]:
    """stdout, and what a terminal at stderr was told, escapes left out."""
    leader, follower = pty.openpty()
    shown: list[bytes] = []

    def read() -> None:
        try:
            while data := os.read(leader, 65536):
                shown.append(data)
        except OSError:
            pass  # the other end is closed

    command = [sys.executable, "-m", "hydra_cli", *arguments]
    env = {**os.environ, "TERM": "xterm", **environment}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=follower, env=env) as process:
        os.close(follower)
        reader = threading.Thread(target=read)
        reader.start()
        out = process.communicate()[0].decode()
        reader.join()
    os.close(leader)
    return out, re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", b"".join(shown).decode())


@pytest.fixture
def filled(home: Path, tmp_path: Path) -> Path:
    rows = [{"user": "mia", "input": f"text {i}", "output": f"note {i}"} for i in range(3)]
    source = tmp_path / "records.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert run(["ingest", str(source), "--task", "notes"]) == 0
    return home


@pytest.mark.parametrize("command", [("users",), ("ask", "a text"), ("fit",)])
def test_a_terminal_is_told_before_the_store_s_library_is_imported(
    filled: Path, tmp_path: Path, command: tuple[str, ...]
) -> None:
    stub = tmp_path / "stubs" / "lancedb"
    stub.mkdir(parents=True)
    (stub / "__init__.py").write_text(
        "import os, time\ntime.sleep(0.3)\nos.write(2, b'IMPORTED')\nos._exit(0)\n"
    )
    path = os.pathsep.join([str(stub.parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    _, shown = on_terminal(*command, PYTHONPATH=path)
    assert "opening the store" in shown.partition("IMPORTED")[0]


def test_every_step_of_ask_has_a_total(filled: Path, tiny_encoder_path: Path) -> None:
    with FaultServer() as server:
        ask = ("ask", "a text", "--encoder", str(tiny_encoder_path), "--model", "openai/x")
        environment = {"OPENAI_API_BASE": server.url, "OPENAI_API_KEY": "none"}
        out, shown = on_terminal(*ask, "-n", "3", **environment)
    assert out
    assert "asking the LLM" in shown
    assert "/3" in shown
    assert "?" not in shown


def test_no_terminal_no_bars(filled: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["users"]) == 0
    assert capfd.readouterr().err == "1 user, 3 records\n"
