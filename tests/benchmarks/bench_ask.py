"""``ask`` apart from the LLM: 1,000 records, 20 reranked, 8 candidates; first stages by length.

And the adapter alone on 8 letters of 200 words, beside 1,000 letters of the user.

    python -m tests.benchmarks.bench_ask [--encoder NAME] [--rounds N] [--held]

``--held`` measures one thing alone: a second ``Hydra.ask`` and the following ones in a
process that stays, beside the LLM, by processor time and by the clock.

Warm: the process, the store and the records' vectors are there; the query and
the answers are new each time. Prints Markdown.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from hydra_cli.api import Hydra
from hydra_cli.core.plan import AnswerPlan
from hydra_cli.core.protocols import TextEncoder
from hydra_cli.core.records import Candidate, History, Query, QueryContext, Record
from hydra_cli.core.retrieval import retrieve
from hydra_cli.core.tasks import TaskSpec
from hydra_cli.llm.scripted import ScriptedChat
from hydra_cli.modeling.recipes import recipe_named
from hydra_cli.models.hf_encoder import HFEncoder
from hydra_cli.pipeline.contexts import load_context
from hydra_cli.pipeline.personalization import personalization
from hydra_cli.store.lance_store import LanceStore
from hydra_cli.wiring import open_encoder
from hydra_cli.workflows.ask import ask

TASK = TaskSpec("headlines", "generation", "Write the headline.")
WORDS = [f"word{i}" for i in range(3000)]
ENGLISH = [
    "the",
    "a",
    "of",
    "to",
    "in",
    "and",
    "user",
    "writes",
    "story",
    "market",
    "team",
    "report",
    "minister",
    "film",
    "review",
    "city",
    "budget",
    "health",
    "school",
    "river",
    "engine",
    "price",
    "answer",
    "music",
    "winter",
    "court",
    "science",
    "travel",
    "paper",
    "garden",
]
START = datetime(2020, 1, 1, tzinfo=UTC)


def texts(count: int, length: int, seed: int) -> list[str]:
    """Texts of words that are as unevenly frequent as in a language."""
    rng = np.random.default_rng(seed)
    ranks = np.minimum(rng.zipf(1.3, size=(count, length)), len(WORDS)) - 1
    return [" ".join(WORDS[i] for i in row) for row in ranks]


def fill(store: LanceStore, encoder: TextEncoder, user: str, count: int) -> None:
    """Records with random vectors: how long a search takes doesn't depend on what they mean."""
    inputs, outputs = texts(count, 40, 1), texts(count, 10, 2)
    records = [
        Record(user, str(i), TASK.name, inputs[i], outputs[i], START + timedelta(hours=i))
        for i in range(count)
    ]
    for first in range(0, count, 20_000):
        store.add(records[first : first + 20_000])
    vectors = np.random.default_rng(3).normal(size=(2, count, encoder.dimension))
    vectors /= np.linalg.norm(vectors, axis=-1, keepdims=True)
    made = vectors.astype(np.float32)
    rows = ((str(i), made[0, i], made[1, i]) for i in range(count))
    store.put_vectors(user, TASK.name, encoder.fingerprint, rows)


LETTERS = replace(TASK, name="letters", multiline=True)
_LINE = 12


def letters(count: int, length: int, seed: int) -> list[str]:
    """English-sized words in lines of twelve, each letter another one."""
    rng = np.random.default_rng(seed)
    known = sorted({word for name in dir(Path) + dir(np) for word in name.lower().split("_")})
    known = [word for word in known if word.isalpha() and 2 < len(word) < 9]
    found = []
    for row in np.minimum(rng.zipf(1.3, size=(count, length)), len(known)) - 1:
        chosen = [known[i] for i in row]
        lines = [chosen[at : at + _LINE] for at in range(0, len(chosen), _LINE)]
        found.append("\n".join(" ".join(line) for line in lines))
    return found


def score_letters(encoder: HFEncoder, store: LanceStore, rounds: int) -> tuple[float, float]:
    """Milliseconds of scoring 8 candidates of 200 words, and of encoding as many alone."""
    own, drawn = letters(1000, 200, 6), letters(16 * (rounds + 1), 200, 7)
    rows = np.random.default_rng(8).normal(size=(1000, encoder.dimension)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    records = tuple(Record("w", str(i), LETTERS.name, text, text) for i, text in enumerate(own))
    query = Query("w", "q", LETTERS.name, own[0])
    context = QueryContext(query, rows[0], History("w", records, rows, rows))
    recipe = recipe_named("hydra-pers")
    scorer = personalization(store.weights, "w", LETTERS, recipe, encoder).scorer

    def score(i: int) -> object:
        eight = drawn[16 * i : 16 * i + 8]
        return scorer.adapt(context, (), [Candidate(text) for text in eight])

    def encode(i: int) -> object:
        return encoder.encode(drawn[16 * i + 8 : 16 * i + 16])

    return median_ms(score, rounds), median_ms(encode, rounds)


def median_ms(call: Callable[[int], object], rounds: int) -> float:
    call(0)
    taken = []
    for i in range(1, rounds + 1):
        start = time.perf_counter()
        call(i)
        taken.append(1000 * (time.perf_counter() - start))
    return statistics.median(taken)


def held(encoder_name: str, rounds: int) -> None:
    """A user of 1,000 records with a base and a head; each query and its answers are new.

    Queries are 40 English words, because an encoder reads an invented one in four pieces.
    """
    rng = np.random.default_rng(4)
    asked = [" ".join(rng.choice(ENGLISH, 40)) for _ in range(rounds + 2)]
    answers = texts(8 * (rounds + 2), 10, 5)
    drawn = iter(answers)
    chat = ScriptedChat(lambda request, i: next(drawn))
    with tempfile.TemporaryDirectory() as folder:
        with Hydra.open(folder, encoder=encoder_name, chat=chat) as hydra:
            store = LanceStore.open(Path(folder), create=False)
            encoder = open_encoder(hydra.settings)
            for user in ("u0", "u1", "u2"):
                fill(store, encoder, user, 1_000)
            hydra.fit(task=TASK.name)
        with Hydra.open(folder, encoder=encoder_name, chat=chat) as hydra:
            taken: list[tuple[float, float]] = []
            stages: list[dict[str, float]] = []
            for text in asked:
                cpu, clock = time.process_time(), time.perf_counter()
                answer = hydra.ask(text, user="u1", task=TASK.name)
                taken.append((time.process_time() - cpu, time.perf_counter() - clock))
                stages.append(dict(answer.seconds))
    print("| a second `ask` in a held process, ms | p50 | p95 |\n|---|---|---|")
    for place, what in enumerate(("processor", "clock")):
        print(f"| all but the LLM, {what} | {_p50_p95([both[place] for both in taken[1:]])} |")
    for stage in ("retrieve", "rerank", "adapt"):
        print(f"| {stage}, clock | {_p50_p95([each.get(stage, 0.0) for each in stages[1:]])} |")
    print(f"| the first `ask`, processor | {1000 * taken[0][0]:.0f} | |")


def _p50_p95(seconds: Sequence[float]) -> str:
    p50, p95 = np.percentile(1000 * np.array(seconds), [50, 95])
    return f"{p50:.0f} | {p95:.0f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--encoder", default="all-minilm-l6-v2")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--held", action="store_true")
    options = parser.parse_args()
    if options.held:
        held(options.encoder, options.rounds)
        return
    encoder = HFEncoder.open(options.encoder)
    asked = texts(200, 40, 4)
    answers = texts(2000, 10, 5)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "store")
        store = LanceStore.open(path, create=True)
        sizes = (1_000, 10_000, 100_000)
        for size in sizes:
            fill(store, encoder, f"u{size}", size)
        personal = personalization(
            store.weights, "u1000", TASK, recipe_named("hydra-pers"), encoder
        )
        drawn = iter(answers)
        chat = ScriptedChat(lambda request, i: next(drawn))
        plan = AnswerPlan()
        stages: list[dict[str, float]] = []

        def once(i: int) -> None:
            query = Query("u1000", "q", TASK.name, asked[i])
            answer = ask(
                query, TASK, store=store, encoder=encoder, chat=chat, personal=personal, plan=plan
            )
            stages.append(dict(answer.seconds))

        total = median_ms(once, options.rounds)
        print("| part of `ask`, 1,000 records, warm | median ms |\n|---|---|")
        for stage in ("retrieve", "rerank", "adapt"):
            value = 1000 * statistics.median(s[stage] for s in stages[1:])
            print(f"| {stage} | {value:.0f} |")
        print(f"| all but the LLM | {total:.0f} |\n")
        scored, encoded = score_letters(encoder, store, options.rounds)
        print("| 8 candidates of 200 words, 1,000 letters of the user | median ms |\n|---|---|")
        print(f"| scoring | {scored:.0f} |\n| their vectors alone | {encoded:.0f} |\n")
        print("| records of the user | first stage alone, ms | history read and first stage, ms |")
        print("|---|---|---|")
        for size in sizes:

            def whole(i: int, user: str = f"u{size}") -> object:
                query = Query(user, "q", TASK.name, asked[i + 50])
                return retrieve(load_context(store, encoder, TASK, query), how="fused", k=20)

            query = Query(f"u{size}", "q", TASK.name, asked[20])
            context = load_context(store, encoder, TASK, query)

            def alone(i: int, context: QueryContext = context) -> object:
                return retrieve(context, how="fused", k=20)

            print(
                f"| {size:,} | {median_ms(alone, options.rounds):.1f} "
                f"| {median_ms(whole, options.rounds):.0f} |"
            )


if __name__ == "__main__":
    main()
