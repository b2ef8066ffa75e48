"""How near the LLM edge comes to the ideal: ``python -m tests.benchmarks.bench_llm_edge``.

500 label calls against a server of one second's latency that answers 20 at a
time take 25 s at best. The server runs in a process of its own, so that only
the client is measured.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path

CALLS = 500
AT_ONCE = 20
LATENCY = 1.0
IDEAL = CALLS / AT_ONCE * LATENCY


def serve(pipe: Connection) -> None:
    """Answer until the other end says stop; then tell (calls, refused, most at once)."""
    import threading

    from tests.llm.fault_server import Call, FaultServer, Reply, answers, error

    places = threading.Semaphore(AT_ONCE)
    refused = []

    def limited(call: Call) -> Reply:
        if not places.acquire(blocking=False):
            refused.append(call.number)
            return error(429, "too many at once")
        try:
            time.sleep(LATENCY)
        finally:
            places.release()
        return answers(call)

    with FaultServer(limited) as server:
        pipe.send(server.url)
        pipe.recv()
        pipe.send((len(server.calls), len(refused), server.most_at_once))


def measure(store: Path, *, concurrency: int = AT_ONCE) -> dict[str, float]:
    """Seconds from the first request to the last answer, and what the server saw."""
    from hydra_cli.config import Settings
    from hydra_cli.core.protocols import ChatRequest, Sampling
    from hydra_cli.wiring import open_chat

    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    server = context.Process(target=serve, args=(there,), daemon=True)
    server.start()
    os.environ["OPENAI_API_BASE"] = here.recv()
    settings = Settings(store=store, concurrency=concurrency)
    began = time.perf_counter()
    chat = open_chat(settings, model="openai/x")
    opened = time.perf_counter() - began
    text = "a headline about the harbour and its birds " * 40
    requests = [
        ChatRequest(({"role": "user", "content": f"{text}{i}"},), Sampling(1, 0.0, max_tokens=32))
        for i in range(CALLS)
    ]
    chat.complete(ChatRequest(({"role": "user", "content": "warm up"},), Sampling()))
    began, cpu = time.perf_counter(), time.process_time()
    done = sum(1 for _ in chat.complete_many(requests))
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    began = time.perf_counter()
    again = sum(1 for _ in open_chat(settings, model="openai/x").complete_many(requests))
    rerun = time.perf_counter() - began
    here.send("stop")
    calls, refused, most = here.recv()
    server.join(10)
    assert done == again == CALLS
    return {
        "seconds": seconds,
        "ratio": seconds / IDEAL,
        "cpu_seconds": cpu,
        "open_seconds": opened,
        "rerun_seconds": rerun,
        "calls": calls,
        "refused": refused,
        "most_at_once": most,
    }


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        concurrency = int(sys.argv[1]) if len(sys.argv) > 1 else AT_ONCE
        for name, value in measure(Path(folder), concurrency=concurrency).items():
            print(f"{name:>15} {value:10.2f}")


if __name__ == "__main__":
    main()
