from __future__ import annotations

import math
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hydra_cli.core.errors import ModelError, PromptTooLong, ProviderError
from hydra_cli.core.protocols import Message, Sampling
from hydra_cli.llm import local_decoding
from hydra_cli.llm.local_batching import BatchingChat
from hydra_cli.llm.local_chat import LocalChat
from hydra_cli.llm.local_decoding import Cancelled, Prompt, _Row, _uniforms, draw_tokens
from hydra_cli.models.hf_encoder import HFEncoder
from tests.llm.tiny_llm import save_tiny_llm

HOT = Sampling(n=6, temperature=1.0, max_tokens=10, seed=5)


def user(text: str) -> list[Message]:
    return [{"role": "user", "content": text}]


MESSAGES = [
    user("say a colour"),
    user("one two three four five"),
    user("red"),
    user("say a colour"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_llm(tmp_path_factory.mktemp("llm"))


@pytest.fixture(scope="module")
def chat(folder: Path) -> LocalChat:
    return LocalChat.open(str(folder), device="cpu")


def texts(chat: LocalChat, messages: list[Message], sampling: Sampling) -> list[str]:
    return [answer.text for answer in chat.generate_batch([(messages, sampling)])[0].answers]


@pytest.mark.parametrize("architecture", ["llama", "qwen2"])
def test_greedy_is_what_transformers_generates(
    chat: LocalChat, architecture: str, tmp_path: Path
) -> None:
    if architecture == "qwen2":
        chat = LocalChat.open(str(save_tiny_llm(tmp_path, qwen=True)), device="cpu")
    for messages in MESSAGES:
        prompt = chat.prompt(messages, Sampling(max_tokens=12))
        ids = torch.tensor([prompt.ids])
        expected = chat.model.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=12, do_sample=False
        )[0, len(prompt.ids) :].tolist()
        (made,) = chat.answer([prompt])
        answer = made.answers[0]
        assert list(answer.ids) == [token for token in expected if token != 2]
        assert answer.finish == ("stop" if 2 in expected else "length")
        assert made.prompt_tokens == len(prompt.ids)


def test_logprobs_against_one_pass_over_the_whole(chat: LocalChat) -> None:
    prompt = chat.prompt(MESSAGES[1], HOT)
    (made,) = chat.answer([prompt])
    for answer in made.answers:
        ids = torch.tensor([[*prompt.ids, *answer.ids]])
        with torch.inference_mode():
            logprobs = chat.model(ids).logits[0].log_softmax(-1)
        start = len(prompt.ids) - 1
        expected = [float(logprobs[start + i, token]) for i, token in enumerate(answer.ids)]
        assert answer.logprobs == pytest.approx(expected, abs=1e-4)
        if expected:
            mean = sum(expected) / len(expected)
            assert answer.mean_logprob == pytest.approx(mean, abs=1e-4)
        else:
            assert answer.mean_logprob is None


def test_what_a_request_gets_does_not_depend_on_its_neighbours(chat: LocalChat) -> None:
    requests = [(messages, HOT) for messages in MESSAGES] + [
        (MESSAGES[0], Sampling(max_tokens=7)),
        (MESSAGES[2], Sampling(n=2, temperature=0.5, top_p=0.6, max_tokens=3, seed=9)),
    ]
    together = [[a.text for a in made.answers] for made in chat.generate_batch(requests)]
    assert together == [texts(chat, *request) for request in requests]


def test_seeds(chat: LocalChat) -> None:
    first = texts(chat, MESSAGES[1], HOT)
    assert len(set(first)) > 1
    assert texts(chat, MESSAGES[1], HOT) == first
    fewer = Sampling(n=3, temperature=1.0, max_tokens=10, seed=5)
    assert texts(chat, MESSAGES[1], fewer) == first[:3]
    other = Sampling(n=6, temperature=1.0, max_tokens=10, seed=6)
    assert texts(chat, MESSAGES[1], other) != first
    free = Sampling(n=6, temperature=1.0, max_tokens=10)
    assert texts(chat, MESSAGES[1], free) != texts(chat, MESSAGES[1], free)


def test_different_prompts_draw_independently(chat: LocalChat) -> None:
    sampling = Sampling(n=2, max_tokens=6, temperature=1.0, seed=5)
    prompts = [Prompt((3,), sampling), Prompt((4,), sampling), Prompt((3,), sampling)]
    first, second, again = _uniforms(
        prompts, [_Row(i, sampling) for i in (0, 0, 1, 1, 2, 2)]
    ).split(2)
    assert torch.equal(first, again)
    assert not torch.isclose(first, second).any()
    assert len({tuple(draws.tolist()) for draws in first}) == 2


def test_a_prompt_is_read_once_for_all_its_answers(
    chat: LocalChat, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[tuple[int, ...]] = []
    forward = chat.model.forward

    def counted(*rest: object, **options: Any) -> object:
        read.append(tuple(options["input_ids"].shape))
        return forward(*rest, **options)

    monkeypatch.setattr(chat.model, "forward", counted)
    prompt = chat.prompt(MESSAGES[0], HOT)
    chat.answer([prompt, prompt])
    assert read[0] == (1, len(prompt.ids))
    assert all(width == 1 and rows <= 2 * HOT.n for rows, width in read[1:])
    assert read[1][0] > 1


def test_each_request_ends_by_its_own_stop_and_limit(chat: LocalChat) -> None:
    free = texts(chat, MESSAGES[1], HOT)
    long = max(free, key=len)
    stop = long[len(long) // 2 :][:2]
    stopped = Sampling(n=6, temperature=1.0, max_tokens=10, seed=5, stop=(stop,))
    short = Sampling(n=6, temperature=1.0, max_tokens=2, seed=5)
    whole, cut, brief = chat.generate_batch([(MESSAGES[1], s) for s in (HOT, stopped, short)])
    assert [a.text for a in whole.answers] == free
    assert [a.text for a in cut.answers] == [text.split(stop)[0] for text in free]
    assert max(len(a.ids) for a in brief.answers) == 2
    assert {a.finish for a in brief.answers if len(a.ids) == 2} == {"length"}


def test_greedy_answers_are_copies(chat: LocalChat) -> None:
    answers = texts(chat, MESSAGES[0], Sampling(n=4, max_tokens=5))
    assert len(answers) == 4
    assert len(set(answers)) == 1


def test_stop_ends_the_answer_before_it(chat: LocalChat) -> None:
    whole = chat.generate_batch([(MESSAGES[1], HOT)])[0].answers
    long = max(whole, key=lambda answer: len(answer.ids))
    stop = long.text[len(long.text) // 2 :][:2]
    sampling = Sampling(n=6, temperature=1.0, max_tokens=10, seed=5, stop=("never", stop))
    for before, after in zip(
        whole, chat.generate_batch([(MESSAGES[1], sampling)])[0].answers, strict=True
    ):
        assert after.text == before.text.split(stop)[0]
        assert after.finish == ("stop" if stop in before.text else before.finish)
        assert len(after.ids) <= len(before.ids)


def test_cancelled(chat: LocalChat) -> None:
    with pytest.raises(Cancelled):
        chat.generate_batch([(MESSAGES[0], HOT)], cancelled=lambda: True)


def test_prompt_that_does_not_fit(chat: LocalChat) -> None:
    with pytest.raises(PromptTooLong, match="holds 96 together") as caught:
        chat.generate_batch([(user("red " * 90), HOT)])
    assert caught.value.of_prompt, "a file of queries goes on with the next one"


def test_messages_that_the_template_refuses(tmp_path: Path) -> None:
    template = "{{ raise_exception('no such role') }}"
    chat = LocalChat.open(str(save_tiny_llm(tmp_path, template=template)), device="cpu")
    with pytest.raises(ProviderError, match="no such role"):
        chat.generate_batch([(MESSAGES[0], HOT)])


def test_model_without_a_template(tmp_path: Path, tiny_encoder_path: Path) -> None:
    save_tiny_llm(tmp_path, template=None)
    with pytest.raises(ModelError, match="no chat template"):
        LocalChat.open(str(tmp_path))


def test_an_llm_folder_with_broken_weights(tmp_path: Path) -> None:
    folder = save_tiny_llm(tmp_path)
    (folder / "model.safetensors").write_bytes(b"\xff" * 100)
    with pytest.raises(ModelError, match="damaged"):
        LocalChat.open(str(folder))
    with pytest.raises(ModelError, match="damaged"):
        HFEncoder.open(str(folder))


@given(
    st.lists(st.floats(-8, 8), min_size=2, max_size=12),
    st.floats(0.05, 1.0),
    st.floats(0, 0.999),
)
def test_draws_come_from_the_nucleus(values: list[float], top_p: float, point: float) -> None:
    logits = torch.tensor([values])
    drawn = int(draw_tokens(logits, torch.tensor([[top_p]]), torch.tensor([[point]]))[0])
    probabilities = logits.double().softmax(-1)[0]
    likelier = float(probabilities[probabilities > probabilities[drawn] + 1e-6].sum())
    assert likelier < top_p + 1e-5


@pytest.mark.parametrize("scale", [0.1, 3.0], ids=["flat", "peaked"])
def test_looking_at_the_likeliest_tokens_alone_changes_no_draw(
    scale: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = torch.Generator().manual_seed(0)
    logits = scale * torch.randn(8, 5000, generator=source)
    points = torch.rand(8, 1, generator=source)
    top_p = torch.full((8, 1), 0.9)
    drawn = draw_tokens(logits, top_p, points)
    monkeypatch.setattr(local_decoding, "_NUCLEUS", 5000)
    torch.testing.assert_close(draw_tokens(logits, top_p, points), drawn)


def test_draws_have_the_softmax_frequencies() -> None:
    logits = torch.tensor([[0.0, 1.0, -1.0, 2.0]])
    points = torch.rand(20_000, 1, generator=torch.Generator().manual_seed(0))
    rows = logits.expand(len(points), -1)
    drawn = draw_tokens(rows, torch.ones(len(points), 1), points)
    seen = torch.bincount(drawn, minlength=4) / len(points)
    torch.testing.assert_close(seen, logits.softmax(-1)[0], atol=0.01, rtol=0)


def test_many_threads_get_what_each_would_get_alone(chat: LocalChat) -> None:
    batching = BatchingChat(chat)
    sizes: list[int] = []
    answer = chat.answer

    def counted(prompts: list[object], **options: object) -> object:
        sizes.append(len(prompts))
        return answer(prompts, **options)  # type: ignore[arg-type]

    batching.chat = LocalChat.__new__(LocalChat)
    batching.chat.__dict__.update(chat.__dict__, answer=counted)
    requests = [
        (MESSAGES[i % 4], Sampling(n=2, temperature=0.7, max_tokens=8, seed=i)) for i in range(24)
    ]
    try:
        with ThreadPoolExecutor(24) as pool:
            made = list(pool.map(lambda request: batching.ask(*request), requests))
    finally:
        batching.close()
    assert [[a.text for a in m.answers] for m in made] == [texts(chat, *r) for r in requests]
    assert sum(sizes) == 24
    assert max(sizes) > 1


def test_a_closed_model_answers_nobody(chat: LocalChat) -> None:
    before = set(threading.enumerate())  # other models of this process may have a thread
    batching = BatchingChat(chat)
    batching.close()
    batching.close()
    with pytest.raises(ProviderError, match="closed"):
        batching.ask(MESSAGES[0], HOT)
    assert "local-llm" not in {thread.name for thread in set(threading.enumerate()) - before}


def test_out_of_memory_halves_the_batch(chat: LocalChat) -> None:
    batching = BatchingChat(chat)
    answer = chat.answer

    def small(prompts: list[object], **options: object) -> object:
        if len(prompts) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return answer(prompts, **options)  # type: ignore[arg-type]

    batching.chat = LocalChat.__new__(LocalChat)
    batching.chat.__dict__.update(chat.__dict__, answer=small)
    try:
        with ThreadPoolExecutor(4) as pool:
            made = list(pool.map(lambda m: batching.ask(m, HOT), MESSAGES))
    finally:
        batching.close()
    assert [[a.text for a in m.answers] for m in made] == [texts(chat, m, HOT) for m in MESSAGES]


class TestThroughLitellm:
    @pytest.fixture
    def model(self, folder: Path) -> str:
        from hydra_cli.llm import local_provider

        local_provider.register()
        local_provider.register()
        return f"local/{folder}"

    def test_answers_logprobs_and_usage(self, model: str, chat: LocalChat) -> None:
        import litellm

        assert sum(item["provider"] == "local" for item in litellm.custom_provider_map) == 1
        response = litellm.completion(
            model=model, messages=MESSAGES[1], n=6, temperature=1.0, max_tokens=10, seed=5,
            logprobs=True,
        )  # fmt: skip
        (direct,) = chat.generate_batch([(MESSAGES[1], HOT)])
        assert [c.message.content for c in response.choices] == [a.text for a in direct.answers]
        for choice, answer in zip(response.choices, direct.answers, strict=True):
            assert [t.logprob for t in choice.logprobs.content] == list(answer.logprobs)
            assert choice.finish_reason == answer.finish
        assert response.usage.prompt_tokens == direct.prompt_tokens
        assert response.usage.completion_tokens == sum(len(a.ids) for a in direct.answers)

    @pytest.mark.parametrize(
        "bad", [{"n": -1}, {"temperature": -1}, {"temperature": math.inf}, {"top_p": 0}, {"n": "x"}]
    )
    def test_parameters_that_make_no_sense(self, model: str, bad: dict[str, object]) -> None:
        import litellm

        with pytest.raises(litellm.exceptions.BadRequestError, match=r"must be|wrong type"):
            litellm.completion(model=model, messages=MESSAGES[0], **bad)

    def test_unknown_model_is_our_own_error_underneath(self, model: str) -> None:
        import litellm

        with pytest.raises(litellm.exceptions.APIConnectionError, match="no model named"):
            litellm.completion(model="local/nothing", messages=MESSAGES[0])

    def test_async(self, model: str) -> None:
        import asyncio

        import litellm

        made = asyncio.run(
            litellm.acompletion(model=model, messages=MESSAGES[0], temperature=0, max_tokens=4)
        )
        again = litellm.completion(model=model, messages=MESSAGES[0], temperature=0, max_tokens=4)
        assert made.choices[0].message.content == again.choices[0].message.content


def test_seconds_are_shares_of_the_batch(chat: LocalChat) -> None:
    began = time.monotonic()
    long, short = chat.generate_batch(
        [(user("one two three four five " * 8), HOT), (user("red"), Sampling(max_tokens=1))]
    )
    took = time.monotonic() - began
    assert 0 < short.seconds < long.seconds
    assert long.seconds + short.seconds <= took


IN_A_NEW_PROCESS = """
import sys
from pathlib import Path
from hydra_cli.config import Settings
from hydra_cli.core.protocols import ChatRequest, Sampling
from hydra_cli.wiring import open_chat

settings = Settings(store=Path(sys.argv[2]), model=f"local/{sys.argv[1]}", concurrency=8)
requests = [
    ChatRequest(({"role": "user", "content": word},), Sampling(n=2, temperature=1.0, seed=0))
    for word in ("red", "green", "blue", "one", "two")
]
first = dict(open_chat(settings).complete_many(requests))
again = dict(open_chat(settings).complete_many(requests))
assert {i: c.texts for i, c in first.items()} == {i: c.texts for i, c in again.items()}
for index, completion in again.items():
    assert completion.usage.cached_calls == 1 and completion.usage.seconds == 0
    assert 0 < completion.usage.saved_seconds == first[index].usage.seconds
"""


def test_the_first_requests_of_a_process_come_all_at_once(folder: Path, tmp_path: Path) -> None:
    # Their threads would import transformers at the same time, which it doesn't bear.
    command = [sys.executable, "-c", IN_A_NEW_PROCESS, str(folder), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
