"""An LLM that answers by a function, for tests and for trying things out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from hydra_cli.core.protocols import ChatRequest, Completion
from hydra_cli.core.records import Usage
from hydra_cli.core.tokens import tokens


class ScriptedChat:
    """A ChatModel that answers by a function of the request; counts its calls."""

    def __init__(
        self, answer: Callable[[ChatRequest, int], str], *, name: str = "scripted"
    ) -> None:
        self.name = name
        self.requests: list[ChatRequest] = []
        self._answer = answer

    def complete(self, request: ChatRequest) -> Completion:
        self.requests.append(request)
        texts = tuple(self._answer(request, i) for i in range(request.sampling.n))
        prompt = sum(len(tokens(message["content"])) for message in request.messages)
        usage = Usage(1, 0, prompt, sum(len(tokens(text)) for text in texts), 0.0, 0.0)
        return Completion(texts, (None,) * len(texts), usage)

    def complete_many(self, requests: Sequence[ChatRequest]) -> Iterator[tuple[int, Completion]]:
        for index, request in enumerate(requests):
            yield index, self.complete(request)
