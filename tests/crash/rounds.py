"""Processes on one store, killed at random moments; what they said before."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


class Round:
    """Workers on one store, killed one after the other."""

    def __init__(self, store: Path, logs: Path, modes: list[str], number: int) -> None:
        self.logs: list[Path] = []
        self.processes: list[subprocess.Popen[bytes]] = []
        for i, mode in enumerate(modes):
            log = logs / f"{number:04d}-{i}-{mode}.log"
            first = (number * 10 + i) * 1000
            command = [sys.executable, "-m", "tests.crash.worker", str(store), mode, str(first)]
            self.processes.append(
                subprocess.Popen([*command, str(log)], cwd=ROOT, stderr=subprocess.PIPE)
            )
            self.logs.append(log)

    def wait_until_ready(self, seconds: float = 120) -> None:
        deadline = time.monotonic() + seconds
        while not all(log.is_file() and log.stat().st_size for log in self.logs):
            for process in self.processes:
                if process.poll() is not None:
                    assert process.stderr is not None
                    raise AssertionError(process.stderr.read().decode())
            assert time.monotonic() < deadline, "the workers never started"
            time.sleep(0.02)

    def kill(self, chance: random.Random) -> int:
        for process in chance.sample(self.processes, len(self.processes)):
            time.sleep(chance.random() * 0.7)
            os.kill(process.pid, signal.SIGKILL)
            _, errors = process.communicate()
            assert process.returncode == -signal.SIGKILL, errors.decode()
        return len(self.processes)


def words(logs: Path, mode: str, first: str) -> list[str]:
    """Second words of the lines that start with ``first``, a torn last line left out."""
    found = []
    for log in sorted(logs.glob(f"*-{mode}.log")):
        for line in log.read_text().split("\n")[:-1]:
            if line.startswith(first + " "):
                found.append(line.split(" ")[1])
    return found
