"""Requests written down and answers read back: what is kept, of whom, and what is refused."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hydra_cli.config import Settings
from hydra_cli.core.errors import DataError, NotAnswered, UsageError
from hydra_cli.core.protocols import ChatRequest
from hydra_cli.llm.answer_cache import AnswerCache, cache_key
from hydra_cli.llm.batch_files import read_answers
from hydra_cli.llm.budget import Limits
from hydra_cli.llm.offline import Offline
from hydra_cli.store.folder import StoreFolder
from hydra_cli.wiring import open_chat, open_offline
from tests.llm.batch_tools import answer_batch, answered, lines_of
from tests.llm.chat_tools import ask
from tests.llm.fault_server import Call, FaultServer, Reply, completion, tokens

MODEL = "local/qwen2.5-0.5b-instruct"


def numbered(call: Call) -> Reply:
    texts: list[str | None] = [f"{call.prompt} {call.body.get('seed')} {i}" for i in range(call.n)]
    return completion(texts, usage=tokens(9, 2 * call.n), logprob=-1.0)


Open = Callable[..., Offline]


@pytest.fixture
def offline(tmp_path: Path) -> Open:
    def opened(*answers: Path, write: bool = True, **more: Any) -> Offline:
        settings = Settings(store=tmp_path / "store").override(model=MODEL, **more)
        return open_offline(
            settings,
            requests=tmp_path / "requests.jsonl" if write else None,
            answers=answers,
            limits=Limits(max_calls=0),
            on_note=notes.append,
        )

    notes: list[str] = []
    opened.notes = notes  # type: ignore[attr-defined]  # for the tests to read
    return opened


def record(run: Offline, *requests: ChatRequest) -> list[tuple[str, ...]]:
    found: list[tuple[str, ...]] = []
    with contextlib.suppress(NotAnswered):
        for _, answer in run.chat.complete_many(requests):
            found.append(answer.texts)
    return found


def test_a_line_says_all_that_decides_the_answers(offline: Open, tmp_path: Path) -> None:
    run = offline()
    drawn, greedy = ask(n=8, seed=3, stop=["\n"]), ask(n=2, temperature=0.0, seed=0)
    assert record(run, drawn, ask(n=2, seed=3, stop=["\n"]), greedy) == []
    written = run.finish()
    assert written is not None
    assert written.requests == 2
    first, second = lines_of(tmp_path / "requests.jsonl")
    assert first["custom_id"] == cache_key(MODEL, drawn)
    assert first["body"] == {
        "model": "qwen2.5-0.5b-instruct",
        "messages": [{"role": "user", "content": "hello"}],
        **{"n": 8, "temperature": 0.7, "top_p": 1.0, "max_tokens": 64},
        **{"stop": ["\n"], "seed": 3, "logprobs": True},
    }
    # A greedy answer is asked for once, however many are wanted.
    assert (second["body"]["n"], second["body"]["temperature"]) == (1, 0.0)


def test_answers_come_back_and_nothing_is_asked_twice(offline: Open, tmp_path: Path) -> None:
    requests, answers = tmp_path / "requests.jsonl", tmp_path / "answers.jsonl"
    run = offline()
    record(run, ask("one", n=2, seed=0), ask("two", n=1, seed=5))
    run.finish()
    answer_batch(requests, answers, numbered)
    for _ in range(2):  # reading a file again adds nothing
        run = offline(answers)
        found = record(run, ask("one", n=2, seed=0), ask("two", n=1, seed=5))
        assert found == [("one 0 0", "one 0 1"), ("two 5 0",)]
        assert run.finish() is None
    assert AnswerCache(StoreFolder(tmp_path / "store").answers).size() == 2
    # More answers than before: only the rest is written, under the next seed.
    run = offline()
    record(run, ask("one", n=5, seed=0))
    assert run.finish() is not None
    (line,) = lines_of(requests)
    assert line["custom_id"] == f"{cache_key(MODEL, ask('one', n=5, seed=0))}-2"
    assert (line["body"]["n"], line["body"]["seed"]) == (3, 2)
    answer_batch(requests, answers, numbered)
    texts = ("one 0 0", "one 0 1", "one 2 0", "one 2 1", "one 2 2")
    assert record(offline(answers), ask("one", n=5, seed=0)) == [texts]


def test_the_embedded_llm_is_not_loaded_where_all_is_answered(
    offline: Open, tmp_path: Path
) -> None:
    record(run := offline(), ask("one", seed=1))
    run.finish()
    answer_batch(tmp_path / "requests.jsonl", tmp_path / "a.jsonl", numbered)
    run = offline(tmp_path / "a.jsonl", write=False)  # no file of it is on this disk
    (done,) = [found for _, found in run.chat.complete_many([ask("one", seed=1)])]
    assert done.texts == ("one 1 0",)
    assert (done.usage.calls, done.usage.cached_calls) == (0, 1)
    assert (done.usage.prompt_tokens, done.usage.completion_tokens) == (9, 2)
    assert done.logprobs == (-0.5,)


def test_answers_are_cleaned_as_live_ones(
    offline: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = "<think>hm</think> yes\nand more<|im_end|>"

    def plan(call: Call) -> Reply:
        return completion([raw])

    request = ask("one", stop=["\n"])
    record(run := offline(), request)
    run.finish()
    answer_batch(tmp_path / "requests.jsonl", tmp_path / "a.jsonl", plan)
    assert record(offline(tmp_path / "a.jsonl"), request) == [("yes",)]
    with FaultServer(plan) as server:
        monkeypatch.setenv("OPENAI_API_BASE", server.url)
        monkeypatch.setenv("OPENAI_API_KEY", "sk")
        live = open_chat(Settings(store=tmp_path / "live"), model="openai/x")
        assert live.complete(request).texts == ("yes",)


def test_a_forgotten_user_takes_the_answers_along(offline: Open, tmp_path: Path) -> None:
    record(run := offline(), ask("one", user="ann"), ask("two", user="bob"))
    run.finish()
    answer_batch(tmp_path / "requests.jsonl", tmp_path / "a.jsonl", numbered)
    record(offline(tmp_path / "a.jsonl"), ask("one", user="ann"), ask("two", user="bob"))
    cache = AnswerCache(StoreFolder(tmp_path / "store").answers)
    assert cache.forget("ann") == 1
    assert cache.get(cache_key(MODEL, ask("one"))) == []
    assert cache.size() == 1


def test_what_no_request_asks_for_is_not_kept(offline: Open, tmp_path: Path) -> None:
    record(run := offline(), ask("one"), ask("two"))
    run.finish()
    answer_batch(tmp_path / "requests.jsonl", tmp_path / "a.jsonl", numbered)
    run = offline(tmp_path / "a.jsonl")
    record(run, ask("two"))
    run.finish()
    assert AnswerCache(StoreFolder(tmp_path / "store").answers).size() == 1
    assert offline.notes == [  # type: ignore[attr-defined]
        "1 of 2 answers are to requests that this run doesn't make"
    ]


KEY = "a" * 64
BODY = {"choices": [{"index": 0, "message": {"content": "x"}}]}
BAD = [
    ("{", "not valid JSON"),
    ("[1]", "no JSON object"),
    (json.dumps(answered("request-1", BODY)), "none that hydra-pers wrote"),
    (json.dumps({"custom_id": 7}), "custom_id 7"),
    (json.dumps({"custom_id": KEY}), "no response"),
    (json.dumps({"custom_id": KEY, "error": {"message": "too\nold"}}), "it failed: too"),
    (
        json.dumps(answered(KEY, {"error": {"message": "busy"}}, status=429)),
        "failed with status 429: busy",
    ),
    (json.dumps(answered(KEY, {})), "no choices"),
    (json.dumps(answered(KEY, {"choices": []})), "no choices"),
    (json.dumps(answered(KEY, {"choices": ["x"]})), "no message"),
    (json.dumps(answered(KEY, {"choices": [{"message": {"content": 3}}]})), "no text"),
    (json.dumps({**answered(KEY, BODY), "response": "late"}), "no response"),
]


@pytest.mark.parametrize(("line", "words"), BAD)
def test_a_bad_line_is_named_and_spoils_no_other(line: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(f"{line}\n", "utf-8")
    with pytest.raises(DataError, match="has no answer that can be used; line 1: ") as error:
        read_answers(path)
    assert words in error.value.message
    path.write_text(f"\n{json.dumps(answered('b' * 64, BODY))}\n{line}\n", "utf-8")
    read = read_answers(path)
    assert list(read.found) == ["b" * 64]
    (why,) = read.bad
    assert why.startswith("line 3: ")
    assert words in why


def test_a_second_answer_to_the_same_request_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    other = {"choices": [{"index": 0, "message": {"content": "y"}}]}
    path.write_text(
        "".join(json.dumps(answered(KEY, body)) + "\n" for body in (BODY, other)), "utf-8"
    )
    read = read_answers(path)
    assert [each.answers for each in read.found[KEY]] == [(("x", None),)]
    assert read.bad == ["line 2: its custom_id was answered before"]


def test_choices_stand_in_the_order_of_their_index(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    choices = [{"index": i, "message": {"content": str(i)}} for i in (2, 0, 1)]
    path.write_text(json.dumps(answered(KEY, {"choices": choices})), "utf-8")
    (found,) = read_answers(path).found[KEY]
    assert [text for text, _ in found.answers] == ["0", "1", "2"]


def test_files_that_are_not_there_and_a_cache_that_is_off(offline: Open, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="can't read"):
        offline(tmp_path / "nowhere.jsonl")
    (tmp_path / "empty.jsonl").touch()
    with pytest.raises(DataError, match="it is empty"):
        offline(tmp_path / "empty.jsonl")
    with pytest.raises(UsageError, match="answer cache"):
        offline(cache=False)
