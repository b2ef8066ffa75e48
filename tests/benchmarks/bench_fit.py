"""Fitting one new user, heads alone for many, and what a head weighs: ours against the paper's.

    python tests/benchmarks/bench_fit.py --encoder all-minilm-l6-v2

All contenders stand on the same encoder in one process and take turns, so that
whatever else the machine does hits them alike; medians of the rounds count.
Processor seconds stand beside the clock's: they say what the work costs where
the machine is busy.

1. One new user, features and all. A history of 9 records: 8 of them are
   pseudo-queries, each with the other 8 records and 7 answers of an LLM (the
   user's own output is the eighth), which makes 64 pairs of 128 tokens a
   stage. ``hydra-paper`` trains its dense heads by the paper's procedure: 2
   epochs, the frozen encoder run in each. ``hydra-paper, cached`` reads each
   pair once. ``hydra-pers`` encodes the user's records and answers, which
   nothing has encoded before, and fits both stages; ``hydra-pers, records
   known`` finds the records' vectors in the store, as after any ``ask``;
   ``hydra-pers, shared weights`` encodes the records of a user whose base has
   found that users' own weights don't pay, in neither stage.
2. Heads alone, features cached, for ``--users`` users of 64 items a stage.
3. Bytes of a saved head, both stages and card.
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hydra_cli.core.progress import Silent
from hydra_cli.core.protocols import TextEncoder
from hydra_cli.core.records import (
    Candidate,
    History,
    Query,
    QueryContext,
    Record,
    Scored,
    TrainingExample,
)
from hydra_cli.core.similarity import grade
from hydra_cli.core.tasks import PRESETS
from hydra_cli.core.weights import Weights
from hydra_cli.modeling.factorized.listwise import ItemList, fit, pack
from hydra_cli.modeling.factorized.recipe import FactorizedRecipe
from hydra_cli.modeling.hydra.heads import random_heads
from hydra_cli.modeling.hydra.pair_encoder import PairEncoder
from hydra_cli.modeling.hydra.pairs import LabelledPair
from hydra_cli.modeling.hydra.recipe import HydraRecipe
from hydra_cli.modeling.hydra.training import PAPER, DenseSettings, fit_heads
from hydra_cli.models.hf_encoder import HFEncoder
from hydra_cli.pipeline.contexts import encode_records

TASK = PRESETS["LaMP_4"]
QUERIES, ITEMS, RECORDS = 8, 8, 9
_TEXT = (
    "the a of to in and user writes story market team report minister film review city budget "
    "health school river engine price answer music winter court science travel paper garden"
)
_WORDS = _TEXT.split()


def new_user(encoder: TextEncoder, seed: int) -> list[TrainingExample]:
    """A user nobody has encoded: texts differ with the seed, so no cache helps."""
    draw = random.Random(seed)

    def text(words: int) -> str:
        unique = "".join(draw.choices("abcdefghijklmnopqrstuvwxyz", k=5))
        return " ".join([*draw.choices(_WORDS, k=words - 1), unique])

    user = f"user {seed}"
    records = [Record(user, str(i), TASK.name, text(110), text(10)) for i in range(RECORDS)]
    answers = [[text(10) for _ in range(ITEMS - 1)] for _ in range(QUERIES)]
    history = encode_records(encoder, TASK, user, records)
    return [labelled(history, i, answers[i]) for i in range(QUERIES)]


def labelled(history: History, row: int, answers: Sequence[str]) -> TrainingExample:
    """A record as a pseudo-query, with labels for both recipes."""
    record, rest = history.records[row], history.without(history.records[row])
    shortlist = tuple(Scored(other, 0.0) for other in rest.records[:ITEMS])
    return TrainingExample(
        context=QueryContext(
            Query(history.user, record.id, TASK.name, record.input), history.inputs[row], rest
        ),
        reference=record.output,
        shortlist=shortlist,
        relevance=tuple(i / ITEMS for i in range(ITEMS)),
        hydra_relevance=tuple(float(i % 2) for i in range(ITEMS)),
        evidence=shortlist[:4],
        candidates=tuple(Candidate(answer, i) for i, answer in enumerate(answers)),
        quality=tuple(
            grade(prediction=answer, reference=record.output, task=TASK) for answer in answers
        ),
    )


def bench_one_user(encoder: HFEncoder, rounds: int) -> dict[str, Any]:
    """Seconds from unread records to both stages' heads; the head's bytes."""
    untrained = replace(PAPER, epochs=0)
    recipes = {
        "hydra-paper": HydraRecipe(PAPER, name="hydra-paper"),
        "hydra-paper, cached": HydraRecipe(replace(PAPER, recompute=False), name="hydra-paper"),
        "hydra-pers": FactorizedRecipe(),
        "hydra-pers, records known": FactorizedRecipe(),
        "hydra-pers, shared weights": FactorizedRecipe(),
    }
    start = new_user(encoder, seed=-1)
    base = HydraRecipe(untrained, name="hydra-paper").train_base(
        TASK, start, [], encoder, seed=0, progress=Silent()
    )
    shared = recipes["hydra-pers"].train_base(TASK, [], [], encoder, seed=0, progress=Silent())
    free = {"rerank_head_precision": 100.0, "adapt_head_precision": 100.0}
    own = Weights(replace(shared.card, settings={**shared.card.settings, **free}), shared.tensors)
    bases = {name: own if name.startswith("hydra-pers") else base for name in recipes}
    bases["hydra-pers, shared weights"] = shared
    heads: dict[str, Any] = {}

    def run(name: str, seed: int) -> None:
        # The paper's procedure needs no vectors: making them is not on its clock.
        examples = prepared.pop(seed, None) or new_user(encoder, seed)
        heads[name] = recipes[name].fit_heads(
            bases[name], TASK, {f"user {seed}": examples}, encoder, seed=0, progress=Silent()
        )[f"user {seed}"]

    prepared: dict[int, list[TrainingExample]] = {}
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in recipes}
    for turn in range(rounds + 1):  # the first turn warms up
        for place, name in enumerate(recipes):
            seed = turn * len(recipes) + place
            if name not in ("hydra-pers", "hydra-pers, shared weights"):
                prepared[seed] = new_user(encoder, seed)
            seconds = timed(lambda name=name, seed=seed: run(name, seed))
            if turn:
                taken[name].append(seconds)
    report: dict[str, Any] = {"pairs_a_stage": QUERIES * ITEMS}
    for column, clock in enumerate(("seconds", "processor_seconds")):
        medians = {n: statistics.median(v[column] for v in taken[n]) for n in recipes}
        report[clock] = {name: round(value, 4) for name, value in medians.items()}
        report[f"{clock}, paper over each"] = {
            name: round(medians["hydra-paper"] / value, 1) for name, value in medians.items()
        }
    report["rounds"] = {n: [[round(s, 3) for s in pair] for pair in taken[n]] for n in recipes}
    report["bytes"] = {name: weigh(head) for name, head in heads.items()}
    return report


def weigh(head: Any) -> dict[str, int]:
    """The saved file's bytes, and those of each stage's tensors."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "head.safetensors"
        head.save(path)
        stages: dict[str, int] = {"file": path.stat().st_size}
    for name, tensor in head.tensors.items():
        stage = name.split(".")[0]
        stages[stage] = stages.get(stage, 0) + tensor.nbytes
    return stages


class CachedStates(PairEncoder):
    """First-token states by number: what is left of a fit once the encoder has run."""

    def __init__(self, states: torch.Tensor) -> None:
        self.cached = states
        self.dimension = states.shape[1]
        self.device = torch.device("cpu")

    def tokenize(self, pairs: Sequence[tuple[str, str]]) -> list[dict[str, list[int]]]:
        return [{"input_ids": [int(left)]} for left, _ in pairs]

    def states(self, tokens: Sequence[dict[str, list[int]]], *, progress: Any = None) -> Any:
        return self.cached[[item["input_ids"][0] for item in tokens]]


def bench_heads(users: int, rounds: int) -> dict[str, Any]:
    """Seconds to fit one stage's heads of many users from cached features."""
    chance = np.random.default_rng(0)
    lists = [
        [
            ItemList(chance.normal(size=(ITEMS, 16)), chance.dirichlet(np.ones(ITEMS)))
            for _ in range(QUERIES)
        ]
        for _ in range(users)
    ]
    precision = torch.full((16,), 100.0, dtype=torch.float64)

    def ours() -> None:
        fit(pack(lists), torch.zeros(users, 16, dtype=torch.float64), precision)

    dense: dict[str, Callable[[], object]] = {"hydra-pers, 16 numbers": ours}
    dimension, items = 384, QUERIES * ITEMS
    cached = CachedStates(torch.randn(users * items, dimension))
    pairs = [
        LabelledPair(str(row // items), 0, str(row), "", row % 2) for row in range(users * items)
    ]
    start = random_heads(["start"], dimension).one(0)

    def dense_heads(settings: DenseSettings) -> Callable[[], object]:
        return lambda: fit_heads(cached, pairs, start, settings, seed="0", progress=Silent())

    dense["hydra, dense"] = dense_heads(DenseSettings())
    dense["hydra-paper, cached, dense"] = dense_heads(replace(PAPER, recompute=False))
    taken = {name: [timed(work) for _ in range(rounds)] for name, work in dense.items()}
    return {
        "users": users,
        "items_a_user": items,
        "seconds": {n: round(statistics.median(s for s, _ in v), 3) for n, v in taken.items()},
        "processor_seconds": {
            n: round(statistics.median(busy for _, busy in v), 3) for n, v in taken.items()
        },
    }


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds by the clock, and seconds of processor time over all threads."""
    began, busy = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - began, time.process_time() - busy


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--encoder", default="all-minilm-l6-v2")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--users", type=int, default=1000)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    encoder = HFEncoder.open(options.encoder, device=options.device)
    report = {
        "machine": {
            "processor": platform.processor() or platform.machine(),
            "torch": str(torch.__version__),
            "capability": torch.backends.cpu.get_cpu_capability(),
            "threads": options.threads,
            "device": options.device,
        },
        "one_new_user": bench_one_user(encoder, options.rounds),
        "heads_alone": bench_heads(options.users, max(1, options.rounds // 2)),
    }
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
