"""One request for one user: from the draft to the answer, whole or as it comes."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import Any

from hydra_cli.core.protocols import AsyncChatModel, Completion
from hydra_cli.core.records import Answer
from hydra_cli.core.sortable_ids import ANSWER_ID, new_id
from hydra_cli.pipeline.answering import Draft
from hydra_cli.serving import replies
from hydra_cli.serving.bodies import ChatBody
from hydra_cli.serving.replies import Reply
from hydra_cli.serving.service import Service
from hydra_cli.serving.streams import pieces
from hydra_cli.serving.token_flow import TokenFlow
from hydra_cli.serving.whose import Whose
from hydra_cli.workflows.ask import Answering, Stopwatch


class PersonalAsk:
    """One request for one user, from the draft to the answer."""

    def __init__(
        self, service: Service, body: ChatBody, found: Whose, chat: AsyncChatModel
    ) -> None:
        self.answer_id = new_id(ANSWER_ID)
        self.reply = Reply(body.raw["model"])
        self._service = service
        self._body = body
        self._found = found
        self._chat = chat
        self._watch = Stopwatch()
        self._begun: _Begun | None = None

    async def answered(self) -> tuple[Draft, Answer]:
        """The draft and its answer."""
        begun = await self._ready()
        return begun.draft, await self._finished(begun)

    async def events(self, explain: bool) -> AsyncGenerator[Mapping[str, Any], None]:
        """The answer's chunks: the role at once, then texts, then why they ended."""
        wanted = self._body.wishes.n
        for index in range(wanted):
            yield self.reply.chunk(index, {"role": "assistant", "content": ""})
        begun = await self._ready()
        draft = begun.draft
        flow = _flow(draft, wanted)
        if flow is not None and begun.steps.request is not None:
            async with aclosing(self._chat.stream(begun.steps.request)) as coming:
                async for piece in coming:
                    if piece.completion is not None:
                        await self._service.in_thread(partial(begun.take, piece.completion))
                    elif shown := flow.feed(piece.text):
                        yield self.reply.chunk(0, {"content": shown})
        answer = await self._finished(begun)
        chosen = replies.choices_of(draft, answer, wanted)
        for index, (text, _) in enumerate(chosen):
            for part in pieces(text if flow is None else flow.rest(text)):
                yield self.reply.chunk(index, {"content": part})
        for index, (_, finish) in enumerate(chosen):
            last = self.reply.chunk(index, {}, finish)
            if index == len(chosen) - 1:
                last.update(self.told(draft, answer, explain))
            yield last
        if self._body.include_usage:
            yield self.reply.usage_chunk(answer.usage)

    def told(self, draft: Draft, answer: Answer, explain: bool) -> dict[str, Any]:
        """The field ``hydra``, with all that led to the answer where that is asked for."""
        told = replies.personal(draft, answer)
        if explain:
            told["explain"] = replies.explanation(draft, answer)
        return {"hydra": told}

    async def _ready(self) -> _Begun:
        """What was begun before, or is now."""
        if self._begun is not None:
            return self._begun
        return await self._service.in_thread(self.begin)

    def begin(self) -> _Begun:
        """The draft and who answers it. Computes and reads: not for the event loop."""
        conversation, hydra = self._body.conversation(), self._service.hydra
        draft = hydra.draft(
            conversation.query,
            user=self._found.user,
            task=self._found.task,
            conversation=conversation,
            watch=self._watch,
        ).wished(self._body.wishes)
        steps = Answering(draft, self._chat.name, self._watch, answer_id=self.answer_id)
        self._begun = _Begun(self._service, draft, steps)
        return self._begun

    async def _finished(self, begun: _Begun) -> Answer:
        while (request := begun.steps.request) is not None:
            with self._watch.stage("generate"):
                completion = await self._chat.complete(request)
            await self._service.in_thread(partial(begun.take, completion))
        if begun.answer is None:  # no LLM was needed
            await self._service.in_thread(begun.end)
        assert begun.answer is not None
        return begun.answer


@dataclass(slots=True)
class _Begun:
    """A draft on its way to its answer, which is kept as soon as it is there."""

    service: Service
    draft: Draft
    steps: Answering
    answer: Answer | None = None

    def take(self, completion: Completion) -> None:
        self.steps.take(completion)
        if self.steps.request is None:
            self.end()

    def end(self) -> Answer:
        self.answer = answer = self.steps.answer
        self.service.hydra.keep(answer)
        self.service.metrics.answered(personal=True, usage=answer.usage)
        return answer


def _flow(draft: Draft, wanted: int) -> TokenFlow | None:
    """Shows the answer as it comes, where there is one and nothing to choose from."""
    if draft.request is None or draft.answers != 1 or wanted != 1 or draft.task.closed:
        return None
    return TokenFlow(draft.task, draft.request.sampling.stop)
