"""The table's arithmetic, where every answer's grade is known."""

from __future__ import annotations

from pathlib import Path

import pytest

from hydra_cli.core.plan import AnswerPlan
from hydra_cli.core.protocols import ChatRequest
from hydra_cli.llm.scripted import ScriptedChat
from hydra_cli.models.hash_encoder import HashEncoder
from hydra_cli.pipeline.supervision import SupervisionPlan
from tests.benchmarks.compare_temperatures import compare, load

TINY = Path(__file__).parents[1] / "data" / "lamp_tiny"


def test_greedy_mean_best_and_chosen() -> None:
    encoder = HashEncoder(16)
    material, dev = load(TINY, "LaMP_4", encoder, train=4, queries=3)
    golds = {e.context.query.text: e.reference for e in (*material.examples, *dev)}
    assert len(golds) == len(material.examples) + len(dev) == 7

    def answer(request: ChatRequest, i: int) -> str:
        if request.sampling.temperature == 0:
            return "zzz"
        (gold,) = (g for q, g in golds.items() if q in request.messages[-1]["content"])
        return gold if i == 1 else "zzz"

    chat = ScriptedChat(answer)
    found = compare(
        material, dev, SupervisionPlan(answering=AnswerPlan(n=4, temperature=0.7)), chat, encoder
    )
    for figures in found:
        assert figures["greedy"] == 0
        assert figures["mean of n"] == pytest.approx(0.25)
        assert figures["best of n"] == 1
        assert 0 <= figures["adapter"] <= 1
    assert {r.sampling.temperature for r in chat.requests} == {0.0, 0.7}
