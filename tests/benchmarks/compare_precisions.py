"""The embedded LLM in several precisions: seconds of one answer and of eight.

``python -m tests.benchmarks.compare_precisions [MODEL] [PRECISION...]``; the figures of
docs/models.md. Contenders take turns; seconds are the clock's, then the processors', the least
of two rounds.
"""

from __future__ import annotations

import sys
import time
import warnings

import torch
from torch import nn

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


PRECISIONS = ("float32", "int8", "int8-weights", "bfloat16")
ROUNDS = 2
FEW_ROWS = 32


class WeightsInInt8(nn.Module):
    """A linear layer with int8 weights and 16-bit activations; prompts get float32 weights."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        weight = linear.weight.detach()  # (out, in)
        self.scale = (weight.abs().amax(1) / 127).clamp_min(1e-12)  # (out,)
        self.weight = (weight / self.scale[:, None]).round_().to(torch.int8)
        self.short_scale = self.scale.bfloat16()
        self.bias = linear.bias

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        rows = states.reshape(-1, states.shape[-1])
        if len(rows) <= FEW_ROWS:
            made = torch._weight_int8pack_mm(rows.bfloat16(), self.weight, self.short_scale).float()
        else:
            made = rows @ self.weight.float().T * self.scale
        made = made if self.bias is None else made + self.bias
        return made.reshape(*states.shape[:-1], -1)


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
    if precision == "int8-weights":
        for module in list(model.modules()):
            for place, child in list(module.named_children()):
                if isinstance(child, nn.Linear):
                    setattr(module, place, WeightsInInt8(child))
    return LocalChat(folder, model, tokenizer)


def timed(chat: LocalChat, n: int, temperature: float) -> tuple[float, float, str]:
    """Seconds of the clock and of the processors, and the first answer."""
    clock, processor = time.perf_counter(), time.process_time()
    sampling = Sampling(n, temperature, 0.95, 32, ("\n",), 0)
    (made,) = chat.generate_batch([(MESSAGES, sampling)])
    spent = time.perf_counter() - clock, time.process_time() - processor
    return *spent, made.answers[0].text


def main() -> None:
    name, *wanted = sys.argv[1:] or ["qwen2.5-0.5b-instruct"]
    chats, loads = {}, {}
    for precision in wanted or PRECISIONS:
        start = time.perf_counter()
        chats[precision] = opened(name, precision)
        loads[precision] = time.perf_counter() - start
    runs: dict[tuple[str, int], list[tuple[float, float, str]]] = {}
    for _ in range(ROUNDS):
        for precision, chat in chats.items():
            for n, temperature in ((1, 0.0), (8, 0.5)):
                runs.setdefault((precision, n), []).append(timed(chat, n, temperature))
    print("precision     load s   1 answer s   8 answers s   greedy answer")
    for precision in chats:
        shown = [
            "/".join(f"{min(run[i] for run in runs[precision, n]):.1f}" for i in (0, 1))
            for n in (1, 8)
        ]
        text = runs[precision, 1][0][2]
        print(f"{precision:12}{loads[precision]:8.1f}{shown[0]:>13}{shown[1]:>14}   {text}")


if __name__ == "__main__":
    main()
