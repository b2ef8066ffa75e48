"""The embedded LLM in float32, bfloat16 and dynamic int8: seconds of one answer and of eight.

``python -m tests.benchmarks.compare_precisions [MODEL]``; the figures of docs/models.md.
"""

from __future__ import annotations

import resource
import sys
import time
import warnings

import torch

from hydra_cli.core.protocols import Message, Sampling
from hydra_cli.llm.local_chat import LocalChat
from hydra_cli.models.fetching import open_model
from hydra_cli.models.hf_loading import load_llm

TEXT = (
    "The city council voted on Tuesday to close the public swimming pool on Elm Street after "
    "engineers found cracks in the foundation that would cost two million dollars to repair. "
)
MESSAGES: tuple[Message, ...] = (
    {"role": "system", "content": "Write the headline of the news article, and nothing else."},
    {"role": "user", "content": TEXT * 3},
)


def opened(name: str, precision: str) -> LocalChat:
    folder = open_model(name, "llm")
    dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
    model, tokenizer = load_llm(folder, "cpu", dtype)
    if precision == "int8":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = torch.ao.quantization.quantize_dynamic(
                model, {torch.nn.Linear}, dtype=torch.qint8
            )
    return LocalChat(folder, model, tokenizer)


def main() -> None:
    name = sys.argv[1] if len(sys.argv) > 1 else "qwen2.5-0.5b-instruct"
    print("precision   load s   1 answer s   8 answers s   MB at most   greedy answer")
    for precision in ("float32", "int8", "bfloat16"):
        start = time.perf_counter()
        chat = opened(name, precision)
        seconds = [time.perf_counter() - start]
        for n, temperature in ((1, 0.0), (8, 0.5)):
            sampling = Sampling(n, temperature, 0.95, 32, ("\n",), 0)
            start = time.perf_counter()
            (made,) = chat.generate_batch([(MESSAGES, sampling)])
            seconds.append(time.perf_counter() - start)
            if n == 1:
                text = made.answers[0].text
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        load, one, eight = seconds
        print(f"{precision:9} {load:8.1f} {one:12.1f} {eight:13.1f} {most:12,}   {text}")


if __name__ == "__main__":
    main()
