"""Processor time of a personal request by stage, each done alone in this process, one at a time.

``bench_serve`` sets it beside what the whole server takes: what is left over is HTTP, the
event loop, threads and metrics. Time of processors, so other work beside it hardly shows.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from hydra_cli import Hydra
from hydra_cli.workflows.ask import Answering, Stopwatch
from tests.benchmarks.serve_processes import Running, home_of

WARMING = 10


def by_stage(
    folder: Path, encoder: str, llm: Running, asked: Iterator[Mapping[str, Any]], count: int
) -> dict[str, float]:
    """The median processor milliseconds of each stage over so many new queries."""
    os.environ.update(home_of(folder, llm.port))
    took: dict[str, list[float]] = {}

    @contextmanager
    def stage(name: str, clock: Callable[[], float] = time.thread_time) -> Iterator[None]:
        start = clock()
        yield
        took.setdefault(name, []).append(1000 * (clock() - start))

    async def ask(hydra: Hydra) -> None:
        body = next(asked)
        text, user = body["messages"][-1]["content"], body["user"]
        chat = hydra.async_chat()
        with stage("the query's vector"):
            hydra.encoder.encode([text])
        with stage("records found and reranked, prompt"):
            draft = hydra.draft(text, user=user)
            steps = Answering(draft, chat.name, Stopwatch())
        while (request := steps.request) is not None:
            # Of the whole process: answers are looked up and kept in threads.
            with stage("the call to the LLM, answers cached", time.process_time):
                completion = await chat.complete(request)
            with stage("answers scored"):
                steps.take(completion)
        with stage("the answer kept for feedback"):
            hydra.keep(steps.answer)

    async def ask_all(hydra: Hydra) -> None:
        for _ in range(WARMING):
            await ask(hydra)
        took.clear()
        for _ in range(count):
            await ask(hydra)

    with Hydra.open(folder, encoder=encoder, model="openai/stub") as hydra:
        asyncio.run(ask_all(hydra))
    return {name: median(values) for name, values in took.items()}
