"""Label runs that are killed or interrupted, counted on the server's side."""

from __future__ import annotations

import collections
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.llm.fault_server import Call, FaultServer, Reply, answers
from tests.signals import heed_interrupts

pytestmark = pytest.mark.slow

RUN = """
import sys
from pathlib import Path
from hydra_cli.config import Settings
from hydra_cli.core.protocols import ChatRequest, Sampling
from hydra_cli.wiring import open_chat

settings = Settings(store=Path(sys.argv[1]), concurrency=8, timeout=600.0)
chat = open_chat(settings, model="openai/x")
requests = [
    ChatRequest(({"role": "user", "content": f"q{i}"},), Sampling(2, 0.7), "u") for i in range(300)
]
for index, done in chat.complete_many(requests):
    print(index, done.texts[0], flush=True)
"""


class Holding:
    """Answers ``size`` calls, then keeps the next ones waiting and hangs up on them."""

    def __init__(self, size: int) -> None:
        self.left = size
        self.held = 0
        self.answered: collections.Counter[str] = collections.Counter()
        self.released = threading.Event()
        self._lock = threading.Lock()

    def __call__(self, call: Call) -> Reply:
        with self._lock:
            self.left -= 1
            if self.left >= 0:
                self.answered[call.prompt] += 1
                return answers(call)
            self.held += 1
        self.released.wait(60)
        return Reply(drop="before")

    def rearm(self, size: int) -> None:
        self.released.set()
        self.released = threading.Event()
        with self._lock:
            self.left, self.held = size, 0

    def wait_until_held(self, count: int) -> None:
        deadline = time.monotonic() + 120
        while self.held < count:
            assert time.monotonic() < deadline, "the run never got so far"
            time.sleep(0.02)
        time.sleep(0.5)  # what was answered before is on disk by now


def start(server: FaultServer, store: Path) -> subprocess.Popen[str]:
    environment = {**os.environ, "OPENAI_API_BASE": server.url}
    return subprocess.Popen(
        [sys.executable, "-c", RUN, str(store)],
        env=environment,
        preexec_fn=heed_interrupts,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_run_killed_twice_is_answered_no_call_twice(tmp_path: Path) -> None:
    plan = Holding(100)
    with FaultServer(plan) as server:
        for _ in range(2):
            process = start(server, tmp_path)
            plan.wait_until_held(8)
            process.send_signal(signal.SIGKILL)
            process.communicate(timeout=60)
            plan.rearm(100)
        plan.rearm(1000)
        process = start(server, tmp_path)
        printed, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    assert len(printed.splitlines()) == 300
    assert len(plan.answered) == 300
    assert set(plan.answered.values()) == {1}
    # Asked again: only what hung at the two kills, eight calls each.
    assert len(server.calls) == 300 + 2 * 8


def test_ctrl_c_keeps_what_came_back(tmp_path: Path) -> None:
    plan = Holding(50)
    with FaultServer(plan) as server:
        process = start(server, tmp_path)
        plan.wait_until_held(8)
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, talk = process.communicate(timeout=60)
        assert time.monotonic() - began < 15  # not the timeout of the calls that hang
        assert process.returncode != 0
        assert "KeyboardInterrupt" in talk
        plan.rearm(1000)
        process = start(server, tmp_path)
        process.communicate(timeout=120)
    assert set(plan.answered.values()) == {1}
    assert len(plan.answered) == 300
