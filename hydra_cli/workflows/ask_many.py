"""Many queries, each answered as ``ask`` answers it, with their LLM calls side by side."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from time import perf_counter
from typing import Any

from hydra_cli.core.errors import DataError, HydraError, NotFound, ProviderError, UsageError
from hydra_cli.core.protocols import ChatModel, Completion
from hydra_cli.core.record_building import Rejected, checked_id
from hydra_cli.core.records import Answer
from hydra_cli.pipeline.answering import Draft
from hydra_cli.workflows.ask import Stopwatch, answer_draft, first_request

AHEAD = 32
"""Queries that are drafted and sent together: enough to keep every connection busy."""

OF_THE_QUERY = (UsageError, DataError, NotFound)
"""What one query's own words can cause; anything else would meet the next one, too."""

FIELDS = ("query", "user", "task", "id", "time")
"""What a query may hold; ``text`` is another name for ``query``."""


@dataclass(slots=True, eq=False)
class Drafted:
    """A draft and the time its stages took."""

    draft: Draft
    watch: Stopwatch


@dataclass(frozen=True, slots=True)
class Asked:
    """A query as people write it: user and task may be left to the defaults."""

    text: str
    user: str | None = None
    task: str | None = None


def asked_of(query: str | Mapping[str, Any]) -> Asked:
    """The text, or the mapping's fields; DataError says what is wrong with it."""
    if isinstance(query, str):
        return Asked(query)
    unknown = [name for name in query if name not in (*FIELDS, "text")]
    if unknown:
        raise DataError(f"unknown field {unknown[0]!r}", hint=f"known: {', '.join(FIELDS)}")
    if "query" in query and "text" in query:
        raise DataError("both query and text", hint="text is another name for query")
    text = query.get("query", query.get("text"))
    if not isinstance(text, str):
        raise DataError("no query" if text is None else f"query can't be {text!r}")
    text = text.replace("\0", " ").strip()
    if not text:
        raise DataError("the query is empty")
    try:
        user, task = (checked_id(query.get(name), name) for name in ("user", "task"))
    except Rejected as refusal:
        raise DataError(str(refusal)) from refusal
    return Asked(text, user or None, task or None)


def ask_many(
    drafts: Iterable[Drafted | HydraError], chat: ChatModel, *, ahead: int = AHEAD
) -> Iterator[Answer | HydraError]:
    """What became of each draft, in order: its answer, or the error that is its own.

    ``ahead`` drafts are taken at a time, so memory holds that many histories.
    A prompt that the provider refuses ends in its own ProviderError; a provider
    that is gone and a limit that is reached are raised, after all answers that
    came before them in order.
    """
    waiting = iter(drafts)
    while chunk := list(islice(waiting, ahead)):
        yield from _in_order(chunk, chat)


def _in_order(
    chunk: Sequence[Drafted | HydraError], chat: ChatModel
) -> Iterator[Answer | HydraError]:
    outcomes: dict[int, Answer | HydraError] = {
        place: item for place, item in enumerate(chunk) if isinstance(item, HydraError)
    }
    came = _as_they_come(chunk, chat)
    for front in range(len(chunk)):
        while front not in outcomes:
            place, outcome = next(came)
            outcomes[place] = outcome
        yield outcomes.pop(front)


def _as_they_come(
    chunk: Sequence[Drafted | HydraError], chat: ChatModel
) -> Iterator[tuple[int, Answer | HydraError]]:
    """Every draft's place and outcome, in the order in which they finish."""
    drafts = {place: item for place, item in enumerate(chunk) if isinstance(item, Drafted)}
    asked = {place: first_request(item.draft) for place, item in drafts.items()}
    for place in [place for place, request in asked.items() if request is None]:
        yield place, _outcome(drafts.pop(place), chat, None)  # answered without the LLM
    if not drafts:
        return
    places = list(drafts)
    requests = [request for request in asked.values() if request is not None]
    start = perf_counter()
    try:
        for index, completion in chat.complete_many(requests):
            item = drafts.pop(places[index])
            item.watch.seconds["generate"] = perf_counter() - start
            yield places[index], _outcome(item, chat, completion)
    except ProviderError as error:
        if not error.of_prompt:
            raise
    # Which prompt was refused isn't known: what is left is asked one by one.
    for place, item in drafts.items():
        yield place, _outcome(item, chat, None)


def _outcome(item: Drafted, chat: ChatModel, first: Completion | None) -> Answer | HydraError:
    """The draft's answer, or the error that is its own."""
    if first is not None and not any(first.texts):
        # So many requests at once tell of a refusal; a single one says why.
        first = None
    try:
        return answer_draft(item.draft, chat, item.watch, first)
    except ProviderError as error:
        if not error.of_prompt:
            raise
        return error
    except OF_THE_QUERY as error:
        return error
