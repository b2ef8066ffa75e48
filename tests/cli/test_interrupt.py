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
from hydra_cli.store.lancedb_store import LanceHistoryStore
from tests.llm.fault_server import Call, FaultServer, Reply
from tests.signals import heed_interrupts


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
            preexec_fn=heed_interrupts,
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


LATE = """
import sys, time
from hydra_cli.cli.app import main
from hydra_cli.store import lancedb_store, reindexing
from hydra_cli.workflows import fit_many, ingest

def third_call_waits(owner, name):
    real, calls = getattr(owner, name), []
    def waits(*given, **named):
        calls.append(name)
        if len(calls) == 3 or name == "fit":
            print("waiting", file=sys.stderr, flush=True)
            time.sleep(300)
        return real(*given, **named)
    setattr(owner, name, waits)

ingest.BATCH, reindexing._ROWS = 4, 4
third_call_waits(lancedb_store.LanceHistoryStore, "add")
third_call_waits(reindexing.Reindex, "_write")
third_call_waits(fit_many, "fit")
main()
"""
"""The command itself, with small batches, stopped in its third one."""
ROWS = 21


@pytest.mark.parametrize(
    ("command", "sent", "said"),
    [
        ("ingest", signal.SIGINT, "ingest of r.jsonl stopped after 8 records on 2"),
        ("ingest", signal.SIGKILL, "ingest of r.jsonl stopped after 8 records on 2"),
        pytest.param("fit", signal.SIGINT, "fit of default stopped on 2", marks=pytest.mark.slow),
        ("fit", signal.SIGKILL, "fit of default, begun on 2"),
        ("reindex", signal.SIGKILL, "reindex stopped after 8 records on 2"),
    ],
)
def test_doctor_tells_what_was_left_until_it_is_run_again(
    command: str,
    sent: signal.Signals,
    said: str,
    home: Path,
    tmp_path: Path,
    tiny_encoder_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    path = tmp_path / "r.jsonl"
    row = '{{"user": "u", "input": "question {0} about trees", "output": "answer {0} of many"}}\n'
    path.write_text("".join(row.format(i) for i in range(ROWS)))
    ingest = ["ingest", str(path), "--kind", "generation"]
    encoder = ["--encoder", str(tiny_encoder_path)]
    arguments = ingest if command == "ingest" else [command, *encoder]
    if command != "ingest":
        assert run(ingest) == 0
    with subprocess.Popen(
        [sys.executable, "-c", LATE, *arguments],
        preexec_fn=heed_interrupts,
        env={**os.environ, "HYDRA_PERS_HOME": str(home)},
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stderr is not None
        heard = next((line for line in process.stderr if "waiting" in line), "ended")
        process.send_signal(sent)
        _, rest = process.communicate(timeout=60)
    assert "waiting" in heard, rest
    assert process.returncode == (130 if sent == signal.SIGINT else -signal.SIGKILL)

    capsys.readouterr()
    assert run(["users"]) == 0
    assert said in caplog.text, "the next command says nothing of it"
    assert run(["doctor"]) == 4
    found = capsys.readouterr().out
    assert said in " ".join(found.split())
    assert "run it again to go on" in " ".join(found.split())
    # The same file under another name of its path.
    monkeypatch.chdir(tmp_path)
    again = ["ingest", "./r.jsonl"] if command == "ingest" else arguments
    assert run(again) == 0
    assert run(["doctor"]) == 0, capsys.readouterr().out
    store = LanceHistoryStore.open(home, create=False)
    assert len(store.records("u")) == ROWS


def test_a_file_that_must_be_mended_is_no_unfinished_work(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "r.csv"
    path.write_text("input,output\na,b\n")
    assert run(["ingest", str(path)]) == 3
    assert run(["doctor"]) == 0, capsys.readouterr().out
