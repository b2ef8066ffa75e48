"""Whole commands, start-up included, as multiples of ``hydra-pers users``.

    python -m tests.benchmarks.bench_commands [--rounds N] [--encoder NAME]

A user of 1,000 records and ten of 30, their vectors stored and a base fitted; the
LLM is a server on this machine that answers at once. The commands take turns,
after a round that isn't counted. Processor seconds (user and system) are the
operating system's own figures for each finished process; the middle one of the
rounds' ratios counts. Prints Markdown.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from hydra_cli.config import Settings
from hydra_cli.store.lance_store import LanceStore
from hydra_cli.wiring import open_encoder
from tests.benchmarks.bench_ask import fill
from tests.llm.fault_server import FaultServer

ASK = ("ask", "--user", "u0", "--model", "openai/stub")


def processor_seconds(*arguments: str) -> float:
    """User and system seconds of one command; CalledProcessError where it fails."""
    command = [sys.executable, "-m", "hydra_cli", *arguments]
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            output.seek(0)
            raise subprocess.CalledProcessError(process.returncode, command, output.read())
    return used.ru_utime + used.ru_stime


def one_round(number: int) -> dict[str, float]:
    """Every command once; a question that nobody asked before makes ``ask`` cold."""
    question = f"word{number} word7 of the day"
    return {
        "users": processor_seconds("users"),
        "ask, provider on this machine": processor_seconds(*ASK, question),
        "ask, from the answer cache": processor_seconds(*ASK, question),
        "fit --user, base there": processor_seconds("fit", "--user", "u0"),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--encoder", default=Settings(store=Path()).encoder)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, FaultServer() as server:
        os.environ |= {
            "HYDRA_PERS_HOME": folder,
            "HYDRA_PERS_ENCODER": options.encoder,
            "OPENAI_API_BASE": server.url,
            "OPENAI_API_KEY": "none",
        }
        encoder = open_encoder(Settings(store=Path(folder), encoder=options.encoder))
        store = LanceStore.open(Path(folder), create=True)
        for user in range(11):
            fill(store, encoder, f"u{user}", 30 if user else 1000)
        processor_seconds("fit")
        rounds = [one_round(number) for number in range(options.rounds + 1)][1:]
    print(
        f"| command, {options.rounds} rounds | processor seconds | beside `users` |\n|---|---|---|"
    )
    for name in rounds[0]:
        seconds = statistics.median(one[name] for one in rounds)
        ratio = statistics.median(one[name] / one["users"] for one in rounds)
        print(f"| {name} | {seconds:.2f} | {ratio:.1f}x |")


if __name__ == "__main__":
    main()
