"""What is sent to the LLM, and how it is cut."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hydra_cli.core.conversation import Conversation
from hydra_cli.core.prompts import (
    build_messages,
    conversation_messages,
    cut_words,
    estimate_tokens,
    random_evidence,
)
from hydra_cli.core.records import Query, Record, Scored
from hydra_cli.core.tasks import PRESETS, TaskSpec

TASK = PRESETS["LaMP_4"]


def evidence(n: int, words: int = 5) -> list[Scored[Record]]:
    return [
        Scored(Record("u", str(i), "LaMP_4", f"in{i} " * words, f"out{i}"), -float(i))
        for i in range(n)
    ]


def test_best_record_stands_next_to_the_query() -> None:
    messages = build_messages(Query("u", "q", "LaMP_4", "the query"), evidence(3), TASK)
    assert [m["role"] for m in messages] == ["system", *["user", "assistant"] * 3, "user"]
    assert [m["content"] for m in messages if m["role"] == "assistant"] == ["out2", "out1", "out0"]
    assert messages[-1]["content"] == "the query"


def test_labels_are_named_for_classification_alone() -> None:
    query = Query("u", "q", "t", "x", labels=("a", "b"))
    news = TaskSpec("t", "classification", "Name it.")
    assert build_messages(query, (), news)[0]["content"] == "Name it. Choose from: a, b."
    stars = PRESETS["LaMP_3"]
    assert "Choose" not in build_messages(Query("u", "q", "t", "x"), (), stars)[0]["content"]


def test_summary_of_the_user_goes_into_the_system_message() -> None:
    messages = build_messages(Query("u", "q", "t", "x"), (), TASK, profile="likes puns")
    assert messages[0]["content"].endswith("About the user: likes puns")


@given(budget=st.integers(60, 3000), words=st.integers(1, 400), shown=st.integers(0, 12))
def test_prompt_keeps_its_budget_and_its_best_records(budget: int, words: int, shown: int) -> None:
    query = Query("u", "q", "LaMP_4", "word " * words)
    messages = build_messages(query, evidence(shown, 30), TASK, budget=budget)
    outputs = [m["content"] for m in messages if m["role"] == "assistant"]
    assert outputs == [f"out{i}" for i in reversed(range(len(outputs)))]
    if outputs:
        used = sum(estimate_tokens(m["content"]) for m in messages)
        assert used + TASK.answer_tokens <= budget


@given(st.text(max_size=200), st.integers(1, 20))
def test_cutting_keeps_the_first_words(text: str, words: int) -> None:
    cut = cut_words(text, words)
    assert cut.removesuffix(" …").split() == text.split()[:words] or text.split()[-1:] == ["…"]


def test_random_evidence_is_the_same_for_the_same_seed_only() -> None:
    history = [scored.item for scored in evidence(40)]
    query = Query("u", "q", "LaMP_4", "x")
    first = random_evidence(history, query, 4, seed=1)
    assert first == random_evidence(history, query, 4, seed=1)
    assert first != random_evidence(history, query, 4, seed=2)
    assert len(random_evidence(history[:2], query, 4, seed=1)) == 2


CHAT = Conversation(
    "And  the lamp?\nTell me.",
    "Be brief.",
    ({"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Good day"}),
)


def test_a_conversation_keeps_every_word_and_evidence_goes_before_it() -> None:
    query = Query("u", "q", "t", "And the lamp?")
    messages = conversation_messages(query, evidence(2, 1), TASK, CHAT)
    assert [message["content"] for message in messages] == [
        *("Be brief.", "in1", "out1", "in0", "out0"),
        *("Hello", "Good day", "And  the lamp?\nTell me."),
    ]


def test_evidence_gives_way_to_a_long_conversation() -> None:
    long = Conversation("And?", None, ({"role": "user", "content": "word " * 4_000},))
    messages = conversation_messages(Query("u", "q", "t", "And?"), evidence(1), TASK, long)
    assert [message["content"] for message in messages[1:]] == ["word " * 4_000, "And?"]
    assert messages[0]["content"] == TASK.instruction


def test_a_query_alone_is_asks_prompt() -> None:
    query = Query("u", "q", "t", "And the lamp?")
    alone = conversation_messages(query, evidence(1), TASK, Conversation("And the lamp?"))
    assert alone == build_messages(query, evidence(1), TASK)
