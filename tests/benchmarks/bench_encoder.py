"""Pairs a second: HFEncoder.encode_pairs against sentence-transformers' CrossEncoder.predict.

Both run the same encoder on the same pairs in one process, in turns, so that
whatever else the machine does hits both alike; the best round counts::

    python tests/benchmarks/bench_encoder.py --encoder all-minilm-l6-v2 --pairs 128

The pairs are made up, with a fixed seed: half of them long (cut to the limit),
half of them of mixed length, as queries with records and with short answers are.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import time
from collections.abc import Callable

import torch
from torch.nn.functional import normalize

from hydra_cli.models.hf_encoder import HFEncoder
from hydra_cli.models.hf_precision import VARIABLE

_TEXT = (
    "the a of to in and user writes story market team report minister film review city budget "
    "health school river engine price answer music winter court science travel paper garden"
)
_WORDS = _TEXT.split()


def make_pairs(count: int, seed: int = 7) -> list[tuple[str, str]]:
    """Pairs of 20 to about 200 tokens."""
    draw = random.Random(seed)

    def text(words: int) -> str:
        return " ".join(draw.choices(_WORDS, k=words))

    return [
        (text(90), text(90)) if i % 2 else (text(draw.randint(10, 60)), text(draw.randint(5, 60)))
        for i in range(count)
    ]


def best_rates(
    contenders: dict[str, Callable[[], object]], count: int, rounds: int
) -> dict[str, float]:
    """Pairs a second of each contender's best round; they take turns."""
    best = dict.fromkeys(contenders, float("inf"))
    for function in contenders.values():
        function()  # warm-up
    for _ in range(rounds):
        for name, function in contenders.items():
            began = time.perf_counter()
            function()
            best[name] = min(best[name], time.perf_counter() - began)
    return {name: count / seconds for name, seconds in best.items()}


def encoder_in(precision: str, name: str, device: str) -> HFEncoder:
    """The encoder in a given precision, or in the one it picks itself."""
    before = os.environ.pop(VARIABLE, None)
    if precision != "auto":
        os.environ[VARIABLE] = precision
    try:
        return HFEncoder.open(name, device=device)
    finally:
        os.environ.pop(VARIABLE, None)
        if before is not None:
            os.environ[VARIABLE] = before


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--encoder", default="all-minilm-l6-v2")
    parser.add_argument("--pairs", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precisions", default="float32,auto")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    pairs = make_pairs(options.pairs)
    encoders = {
        precision: encoder_in(precision, options.encoder, options.device)
        for precision in options.precisions.split(",")
    }
    contenders: dict[str, Callable[[], object]] = {
        f"encode_pairs, {precision}": lambda encoder=encoder: encoder.encode_pairs(pairs)
        for precision, encoder in encoders.items()
    }
    first = next(iter(encoders.values()))
    try:
        from sentence_transformers import CrossEncoder
    except ImportError:
        print("sentence-transformers isn't installed: nothing to compare with")
    else:
        cross = CrossEncoder(
            str(first.folder.path),
            num_labels=1,
            device=options.device,
            max_length=first.pair_tokens,
            model_kwargs={"dtype": torch.float32},
        )
        contenders["CrossEncoder.predict"] = lambda: cross.predict(pairs, show_progress_bar=False)
    rates = best_rates(contenders, len(pairs), options.rounds)
    reference = torch.nn.functional.normalize(first.encode_pairs(pairs), dim=1)
    print(
        json.dumps(
            {
                "machine": {
                    "processor": platform.processor() or platform.machine(),
                    "torch": torch.__version__,
                    "capability": torch.backends.cpu.get_cpu_capability(),
                    "threads": options.threads,
                    "device": options.device,
                },
                "pairs": options.pairs,
                "pairs_per_second": {name: round(rate, 1) for name, rate in rates.items()},
                "picked": {p: str(encoder.precision) for p, encoder in encoders.items()},
                "largest_distance_to_first": {
                    precision: float(
                        (normalize(encoder.encode_pairs(pairs), dim=1) - reference)
                        .norm(dim=1)
                        .max()
                    )
                    for precision, encoder in encoders.items()
                },
            },
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
