"""The server beside the LLM: latency, requests a second, processor time, memory.

    python -m tests.benchmarks.bench_serve [--rounds N] [--many N] [--store FOLDER]

Three processes beside this one, which makes the load: a stub LLM that answers at once, a
bare pass-through in front of it (Starlette and httpx, 40 lines), and the server over a
store of three users with 1,000 records each, a base and heads fitted. Pass-through, personal
and bare requests take turns, after a round that isn't counted; ratios are of one round.
Each query is new, in a second run on a kept store too. Times hold the stub's own, which is
below a millisecond. Prints Markdown.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import os
import secrets
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np

from hydra_cli import Hydra
from hydra_cli.config import Settings
from hydra_cli.store.lance_store import LanceStore
from hydra_cli.wiring import open_encoder
from tests.benchmarks.bench_ask import ENGLISH, TASK, fill
from tests.benchmarks.serve_processes import Running, running, served
from tests.benchmarks.serve_stages import by_stage

USERS = 3
NUMBERS = itertools.count()
SALT = secrets.token_hex(4)
"""Of this run: queries with it were never asked before."""
RECORDS = 1_000
KINDS = ("bare", "plain", "personal")
TOLD = {"bare": "bare proxy", "plain": "passed through", "personal": "personal"}


@dataclass(slots=True)
class Load:
    """What a number of requests took."""

    seconds: list[float] = field(default_factory=list)
    first: list[float] = field(default_factory=list)
    wall: float = 0.0
    processor: float = 0.0

    @property
    def rate(self) -> float:
        return len(self.seconds) / self.wall

    @property
    def processor_ms(self) -> float:
        return 1000 * self.processor / len(self.seconds)


def bodies(kind: str, *, stream: bool = False) -> Iterator[dict[str, Any]]:
    """Requests without end: 40 English words, users by turns."""
    rng = np.random.default_rng(11)
    for number in NUMBERS:
        query = " ".join(rng.choice(ENGLISH, 40)) + f" {SALT} {number}"
        model = "hydra/openai/stub" if kind == "personal" else "openai/stub"
        body = {"model": model, "messages": [{"role": "user", "content": query}]}
        if kind == "personal":
            body["user"] = f"u{number % USERS}"
        yield {**body, "stream": True} if stream else body


async def drive(server: Running, asked: Iterator[dict[str, Any]], count: int, clients: int) -> Load:
    """``count`` requests, ``clients`` at a time; RuntimeError where one isn't answered."""
    load = Load()
    todo = iter(range(count))

    async def client(session: aiohttp.ClientSession) -> None:
        for _ in todo:
            body = next(asked)
            start = time.perf_counter()
            async with session.post(server.url, json=body) as answer:
                await answer.content.readany()
                load.first.append(time.perf_counter() - start)
                rest = await answer.read()
                load.seconds.append(time.perf_counter() - start)
                if answer.status != 200:
                    raise RuntimeError(f"{answer.status}: {rest[:500]!r}")
                del rest

    before, start = server.processor(), time.perf_counter()
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, trust_env=False) as session:
        await asyncio.gather(*(client(session) for _ in range(clients)))
    load.wall = time.perf_counter() - start
    load.processor = server.processor() - before
    return load


def percentiles(seconds: Sequence[float]) -> str:
    p50, p95 = np.percentile(1000 * np.array(seconds), [50, 95])
    return f"{p50:.0f} | {p95:.0f}"


def prepare(folder: Path, encoder_name: str) -> None:
    """Users of 1,000 records, their vectors stored, a base and heads fitted."""
    store = LanceStore.open(folder, create=True)
    encoder = open_encoder(Settings(store=folder, encoder=encoder_name))
    for user in range(USERS):
        fill(store, encoder, f"u{user}", RECORDS)
    with Hydra.open(folder, encoder=encoder_name) as hydra:
        hydra.fit(task=TASK.name)


def load_of(requests: Iterator[dict[str, Any]], server: Running, count: int, clients: int) -> Load:
    return asyncio.run(drive(server, requests, count, clients))


def by_turns(servers: dict[str, Running], rounds: int, count: int) -> dict[str, list[Load]]:
    """Fifty clients on each, in rounds of so many requests; personal ones take longer."""
    asked = {kind: bodies(kind) for kind in KINDS}
    counts = {"bare": count, "plain": count, "personal": max(50, count // 3)}
    found: dict[str, list[Load]] = {kind: [] for kind in KINDS}
    for number in range(rounds + 1):
        for kind in KINDS:
            load = load_of(asked[kind], servers[kind], counts[kind], 50)
            if number:
                found[kind].append(load)
    return found


def ones(servers: dict[str, Running], count: int) -> None:
    """A single client: whole answers, the first byte of streams, stages."""
    print("| 1 client, ms | p50 | p95 |\n|---|---|---|")
    for kind in KINDS:
        load_of(bodies(kind), servers[kind], 12, 1)
        load = load_of(bodies(kind), servers[kind], count, 1)
        print(f"| {TOLD[kind]}, whole answer | {percentiles(load.seconds)} |")
    for kind in KINDS:
        load_of(bodies(kind, stream=True), servers[kind], 3, 1)
        load = load_of(bodies(kind, stream=True), servers[kind], count // 2, 1)
        print(f"| {TOLD[kind]}, a stream's first byte | {percentiles(load.first)} |")


def stages(server: Running, known: Mapping[str, float], count: int) -> None:
    """Processor time of one client's requests, as ``by_stage`` found it and what is left of it."""
    whole = load_of(bodies("personal"), server, count, 1).processor_ms
    print("\n| 1 client, a personal request | processor ms |\n|---|---|")
    for name, took in known.items():
        print(f"| {name} | {took:.1f} |")
    print(f"| HTTP, threads and the rest | {whole - sum(known.values()):.1f} |")
    print(f"| all of it, in the server | {whole:.1f} |")


def fifty(found: dict[str, list[Load]]) -> None:
    """The table of the rounds, ratios beside the bare proxy of the same round."""
    print(
        "\n| 50 clients | requests a second | p50 ms | p95 ms | processor ms a request "
        "| processor beside bare |\n|---|---|---|---|---|---|"
    )
    for kind in KINDS:
        loads = found[kind]
        rate = statistics.median(load.rate for load in loads)
        used = statistics.median(load.processor_ms for load in loads)
        ratio = statistics.median(
            load.processor_ms / other.processor_ms
            for load, other in zip(loads, found["bare"], strict=True)
        )
        waited = percentiles([second for load in loads for second in load.seconds])
        print(f"| {TOLD[kind]} | {rate:.0f} | {waited} | {used:.1f} | {ratio:.1f}x |")


def memory(server: Running, many: int) -> None:
    """What the server holds while personal and passed-through requests take turns."""
    personal, plain = bodies("personal"), bodies("plain")
    print("\n| requests so far | MiB |\n|---|---|")
    print(f"| 0 (after all of the above) | {server.memory():.0f} |")
    steps = 5
    for step in range(1, steps + 1):
        load_of(personal, server, many // steps // 2, 50)
        load_of(plain, server, many // steps // 2, 50)
        print(f"| {step * many // steps:,} | {server.memory():.0f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--ones", type=int, default=100, help="requests of the single client")
    parser.add_argument("--fifty", type=int, default=400, help="requests a round of 50 clients")
    parser.add_argument("--many", type=int, default=1_000, help="requests of the memory's table")
    parser.add_argument("--encoder", default=Settings(store=Path()).encoder)
    parser.add_argument("--store", help="made there, or found there ready (default: thrown away)")
    options = parser.parse_args()
    with ExitStack() as stack:
        folder = options.store or stack.enter_context(tempfile.TemporaryDirectory())
        if not Path(folder, "heads").is_dir():
            prepare(Path(folder), options.encoder)
        llm = stack.enter_context(running("stub"))
        ours = stack.enter_context(served(Path(folder), options.encoder, llm))
        theirs = stack.enter_context(running("bare", llm.url))
        print(f"load {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores\n")
        servers = {"bare": theirs, "plain": ours, "personal": ours}
        ones(servers, options.ones)
        asked = bodies("personal")
        known = by_stage(Path(folder), options.encoder, llm, asked, options.ones)
        stages(ours, known, options.ones)
        fifty(by_turns(servers, options.rounds, options.fifty))
        memory(ours, options.many)


if __name__ == "__main__":
    main()
