"""Ctrl-C, sent for real: one line that says what is kept, and the exit code that shells expect."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hydra_cli.cli.app import run
from tests.llm.fault_server import Call, FaultServer, Reply


@pytest.mark.parametrize("command", ["ask", "eval"])
def test_ctrl_c_while_the_llm_is_asked(
    command: str, home: Path, tmp_path: Path, tiny_encoder_path: Path
) -> None:
    path = tmp_path / "r.jsonl"
    path.write_text(
        "".join(f'{{"user": "u", "input": "in {i}", "output": "out {i}"}}\n' for i in range(9))
    )
    assert run(["ingest", str(path), "--kind", "generation"]) == 0

    def slow(call: Call) -> Reply:
        return Reply(delay=30.0)

    asked = ["ask", "x"] if command == "ask" else ["eval", "--methods", "zero-shot"]
    with FaultServer(slow) as server:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "hydra_cli", *asked, "--model", "openai/x"),
                *("--encoder", str(tiny_encoder_path)),
            ],
            env={**os.environ, "OPENAI_API_BASE": server.url, "HYDRA_PERS_HOME": str(home)},
            stderr=subprocess.PIPE,
            text=True,
        )
        until = time.monotonic() + 60
        while not server.calls and time.monotonic() < until:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "interrupted; answers that came are kept: the same command goes on" in said
    assert "Traceback" not in said
