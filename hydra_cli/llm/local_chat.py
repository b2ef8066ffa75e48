"""The embedded LLM: a small chat model that answers on this machine.

``local_provider.register`` makes it a litellm provider, so that
``local/qwen2.5-0.5b-instruct`` (or ``local/`` with a folder or hub id) is a model
name like any other. Many
requests at once go through ``LocalChat.generate_batch``.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from jinja2 import TemplateError

from hydra_cli.core.errors import ModelError, PromptTooLong, ProviderError
from hydra_cli.llm.answer_text import opened_thinking
from hydra_cli.llm.local_decoding import Decoder, Generated, Prompt
from hydra_cli.models.fetching import open_model
from hydra_cli.models.files import ModelFolder
from hydra_cli.models.hf_loading import best_device, load_llm

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from hydra_cli.core.protocols import Sampling


@dataclass(frozen=True, slots=True)
class LocalAnswers:
    """The answers to one request and the length of its prompt in tokens.

    ``seconds`` is the request's share of its batch's time, by tokens.
    """

    answers: tuple[Generated, ...]
    prompt_tokens: int
    seconds: float


class LocalChat:
    """A chat model in this process."""

    def __init__(
        self, folder: ModelFolder, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
    ) -> None:
        if not tokenizer.chat_template:
            raise ModelError(
                f"{folder.name} is no chat model: it has no chat template",
                hint="name an instruction-tuned model",
            )
        self.name = folder.name
        self.model = model
        self.tokenizer = tokenizer
        self._decoder = Decoder(model, tokenizer)
        self._longest = int(getattr(model.config, "max_position_embeddings", 2048))

    @classmethod
    def open(cls, name: str, *, device: str | None = None) -> LocalChat:
        """Load a model by name, fetching it first where it isn't on disk.

        float32 on every device: on a CPU without bfloat16 instructions halves
        are slower, and a GPU is fast enough to keep the same answers.
        """
        folder = open_model(name, "llm")
        model, tokenizer = load_llm(folder, device or best_device(), torch.float32)
        return cls(folder, model, tokenizer)

    @property
    def device(self) -> torch.device:
        device: torch.device = self.model.device
        return device

    def prompt(self, messages: Sequence[Mapping[str, Any]], sampling: Sampling) -> Prompt:
        """The request in tokens. ProviderError where it doesn't fit the model."""
        try:
            text = self.tokenizer.apply_chat_template(
                [dict(message) for message in messages], add_generation_prompt=True, tokenize=False
            )
        except (TemplateError, KeyError, TypeError, ValueError) as error:
            raise ProviderError(f"{self.name} can't read these messages: {error}") from error
        ids = self.tokenizer(str(text), add_special_tokens=False)["input_ids"]
        if len(ids) + sampling.max_tokens > self._longest:
            raise PromptTooLong(
                f"the prompt has {len(ids)} tokens and {sampling.max_tokens} are asked for: "
                f"{self.name} holds {self._longest} together",
                hint="use fewer or shorter records as evidence",
            )
        begun = opened_thinking(str(text))
        return Prompt(tuple(ids), sampling, begun)

    def generate_batch(
        self,
        requests: Sequence[tuple[Sequence[Mapping[str, Any]], Sampling]],
        *,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> list[LocalAnswers]:
        """Answer (messages, sampling) requests, all in one batch, in order."""
        return self.answer([self.prompt(*request) for request in requests], cancelled=cancelled)

    def answer(
        self, prompts: Sequence[Prompt], *, cancelled: Callable[[], bool] = lambda: False
    ) -> list[LocalAnswers]:
        """Answer prompts made by ``prompt``, all in one batch, in order."""
        began = time.monotonic()
        made = self._decoder.generate(prompts, cancelled=cancelled)
        took = time.monotonic() - began
        tokens = [
            len(prompt.ids) + sum(len(answer.ids) for answer in answers)
            for answers, prompt in zip(made, prompts, strict=True)
        ]
        return [
            LocalAnswers(tuple(answers), len(prompt.ids), took * count / sum(tokens))
            for answers, prompt, count in zip(made, prompts, tokens, strict=True)
        ]


_OPENED: dict[str, LocalChat] = {}
_LOCK = threading.Lock()


def open_local_chat(name: str) -> LocalChat:
    """The model of that name, loaded once in this process. ModelError, NotFound."""
    with _LOCK:
        if name not in _OPENED:
            _OPENED[name] = LocalChat.open(name)
        return _OPENED[name]
