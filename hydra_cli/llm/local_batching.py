"""Concurrent requests to the embedded LLM, answered in batches by one thread.

Callers wait for their own answer; whoever asks while a batch runs is in the
next one. A batch starts when requests stop coming in: those whose callers have
just got an answer and send their next would otherwise end up in a second one.
"""

from __future__ import annotations

import atexit
import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import replace
from typing import Any

import torch

from hydra_cli.core.errors import ProviderError
from hydra_cli.core.protocols import Sampling
from hydra_cli.llm.local_chat import LocalAnswers, LocalChat
from hydra_cli.llm.local_decoding import Cancelled, Part, Prompt

_PAUSE_SECONDS = 0.03
_GATHER_SECONDS = 0.5
_CPU_TOKENS = 12_288
_GPU_TOKENS = 262_144
_CPU_ANSWERS = 32
_GPU_ANSWERS = 512
_EXIT_SECONDS = 10.0

_Job = tuple[Prompt, "Future[LocalAnswers]"]


class BatchingChat:
    """A LocalChat that many threads may ask at the same time."""

    def __init__(self, chat: LocalChat) -> None:
        self.chat = chat
        on_gpu = chat.device.type == "cuda"
        self._tokens = _GPU_TOKENS if on_gpu else _CPU_TOKENS
        self._answers = _GPU_ANSWERS if on_gpu else _CPU_ANSWERS
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._work, name="local-llm", daemon=True)
        self._thread.start()
        # A daemon thread inside torch while the interpreter goes away would crash it.
        atexit.register(self.close)

    def ask(self, messages: Sequence[Mapping[str, Any]], sampling: Sampling) -> LocalAnswers:
        """The answers to one request. ProviderError where it can't be answered."""
        return self.submit(self.chat.prompt(messages, sampling)).result()

    def submit(
        self, prompt: Prompt, said: Callable[[Part], None] | None = None
    ) -> Future[LocalAnswers]:
        """The answers to a prompt of the model's, once they are there.

        ``said`` hears their parts as they come. To cancel the future ends the work at the
        next token. ProviderError, here or from the future, where it can't be answered.
        """
        if self._closed.is_set():
            raise ProviderError(f"{self.chat.name} has been closed")
        answer: Future[LocalAnswers] = Future()
        self._jobs.put((replace(prompt, said=said, gone=answer.cancelled), answer))
        return answer

    def close(self) -> None:
        """Stop at the next token; requests under way fail."""
        self._closed.set()
        self._jobs.put(None)
        if self._thread is not threading.current_thread():
            self._thread.join(_EXIT_SECONDS)
        atexit.unregister(self.close)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            for batch in self._packed(self._gather(job)):
                self._run([job for job in batch if not job[1].cancelled()])
        while not self._jobs.empty():
            if (job := self._jobs.get()) is not None:
                self._fail([job], self._ended())

    def _gather(self, first: _Job) -> list[_Job]:
        """The first request and all that follow it without a pause."""
        jobs = [first]
        until = time.monotonic() + _GATHER_SECONDS
        while (left := until - time.monotonic()) > 0:
            try:
                job = self._jobs.get(timeout=min(left, _PAUSE_SECONDS))
            except queue.Empty:
                break
            if job is None:
                self._jobs.put(None)  # for _work, which ends on it
                break
            jobs.append(job)
        return jobs

    def _packed(self, jobs: list[_Job]) -> Iterator[list[_Job]]:
        """Batches of prompts of similar length within the budget of tokens and of answers."""
        batch: list[_Job] = []
        answers = longest = 0
        for job in sorted(jobs, key=lambda job: len(job[0].ids)):
            sampling = job[0].sampling
            length = max(longest, len(job[0].ids) + sampling.max_tokens)
            count = answers + sampling.n
            if batch and (count > self._answers or count * length > self._tokens):
                yield batch
                batch, count = [], sampling.n
                length = len(job[0].ids) + sampling.max_tokens
            batch.append(job)
            answers, longest = count, length
        yield batch

    def _run(self, batch: list[_Job]) -> None:
        """Answer a batch; halves of it where it doesn't fit into the GPU's memory."""
        if not batch:
            return
        try:
            made = self.chat.answer([prompt for prompt, _ in batch], cancelled=self._closed.is_set)
        except torch.OutOfMemoryError as error:
            if len(batch) > 1:
                half = len(batch) // 2
                self._run(batch[:half])
                self._run(batch[half:])
            else:
                self._fail(batch, ProviderError(f"{self.chat.name}: out of memory: {error}"))
        except Cancelled:
            self._fail(batch, self._ended())
        except Exception as error:  # whatever it is, the callers wait for it
            self._fail(batch, error)
        else:
            for (_, answer), answers in zip(batch, made, strict=True):
                with suppress(InvalidStateError):  # it was given up in this moment
                    answer.set_result(answers)

    def _ended(self) -> ProviderError:
        return ProviderError(f"{self.chat.name} was closed before it had answered")

    @staticmethod
    def _fail(batch: list[_Job], error: Exception) -> None:
        for _, answer in batch:
            with suppress(InvalidStateError):
                answer.set_exception(error)
