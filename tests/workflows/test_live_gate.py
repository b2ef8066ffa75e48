"""The gate counts what people said of answers whose other outcome is known."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from hydra_cli import Hydra
from hydra_cli.core.feedback import Feedback
from hydra_cli.core.protocols import ChatRequest
from hydra_cli.core.sortable_ids import new_id
from hydra_cli.core.tasks import TaskSpec
from hydra_cli.llm.scripted import ScriptedChat
from hydra_cli.models.hash_encoder import HashEncoder
from hydra_cli.pipeline.live_outcomes import live_outcomes

MOODS = TaskSpec("moods", "classification", "Name the mood.", labels=("calm", "loud"))
NOW = datetime(2026, 11, 26, tzinfo=UTC)


def said(text: str | None, shown: str, alone: str, **other: Any) -> Feedback:
    made = Feedback(
        new_id("fb"), new_id("ans"), "ann", "moods", "edit", NOW, NOW, "q", shown, text=text,
        model="llm", stages={"adapt": True}, known={"rag": alone},
    )  # fmt: skip
    return replace(made, **other)


def test_what_is_known_of_two_pipelines_is_an_outcome() -> None:
    words = [
        said("calm", "calm", "I would say loud."),
        said("loud", "calm", "loud", known={"rerank": "loud"}),
        said(None, "calm", "calm", kind="reject"),
        said("calm", "calm", "calm", stages={"adapt": False}),
        said("calm", "calm", "calm", model="another"),
        said("calm", "calm", "calm", known={}),
        said("calm", "calm", "calm", known={"plain": "calm"}),
    ]
    found = live_outcomes(words, MOODS, model="llm", name="n")
    assert [(o.user, dict(o.quality)) for o in found] == [
        ("n", {"rag": 0.0, "adapt1": 1.0}),
        ("n", {"rerank": 1.0, "rerank+adapt1": 0.0}),
    ]
    text = TaskSpec("replies", "generation", "Answer.")
    assert live_outcomes(words, text, model="llm", name="n") == []


def test_the_next_fit_counts_them_each_time_once() -> None:
    def script(request: ChatRequest, sample: int) -> str:
        return "loud"

    rows = [
        {"user": user, "input": f"{word} {i}", "output": mood, "time": f"2026-01-{i + 1:02}"}
        for user in ("ann", "bob")
        for i, (word, mood) in enumerate([("It works", "calm"), ("Broken", "loud")] * 8)
    ]
    chat = ScriptedChat(script)
    with Hydra.in_memory(encoder=HashEncoder(), chat=chat) as hydra:
        hydra.ingest(*rows, task="moods")

        def gates() -> dict[str, int]:
            (report,) = hydra.fit(supervision="llm")
            return {fit.user: fit.gate.own for fit in report.fitted}

        before = gates()
        for i in range(5):
            answer = hydra.ask(f"It works {i + 40}", user="ann", task="moods", n=1)
            assert set(hydra.answer(answer.id).known) & {"rag", "rerank"}
            hydra.feedback(answer.id, edit="calm")
        live = live_outcomes(
            hydra.feedbacks("ann"), hydra.settings.spec("moods"), model=chat.name, name="n"
        )
        assert len(live) == 5
        after = gates()
        assert after["bob"] == before["bob"]
        # The newest edits are the records that are held out now: they judge as such alone.
        assert before["ann"] < after["ann"] < before["ann"] + len(live)
        assert gates() == after, "a second fit counts nothing twice"
