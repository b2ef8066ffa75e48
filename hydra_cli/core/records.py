"""The nouns of the field: records, histories, queries, candidates, answers.

Scores are always "higher is better". Vectors are float32 and of unit length,
so that a dot product is the cosine.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from hydra_cli.core.sortable_ids import ANSWER_ID, new_id

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from hydra_cli.core.verdicts import Standing

    Vectors = NDArray[np.float32]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Record:
    """One past input of a user and what the user made of it.

    ``(user, task, id)`` is the key. ``time`` is timezone-aware, or None where
    the source had none; records without a time come first, in file order.
    """

    user: str
    id: str
    task: str
    input: str
    output: str
    time: datetime | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    former: tuple[str, ...] = field(default=(), compare=False, repr=False)
    """Other ids that a store may know it by: those that earlier releases made from its content."""


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class History:
    """One user's records of one task, oldest first, with their vectors.

    Row i of ``inputs`` (n, d) and of ``outputs`` (n, d) belongs to
    ``records[i]``. ``outputs`` is None for closed tasks, whose outputs are
    labels and need no vector.
    """

    user: str
    records: tuple[Record, ...]
    inputs: Vectors
    outputs: Vectors | None = None

    def __len__(self) -> int:
        return len(self.records)

    def take(self, rows: Iterable[int]) -> History:
        """The given rows alone, in the given order."""
        chosen = list(rows)
        return replace(
            self,
            records=tuple(self.records[i] for i in chosen),
            inputs=self.inputs[chosen],
            outputs=None if self.outputs is None else self.outputs[chosen],
        )

    def without(self, record: Record) -> History:
        """The history as if ``record`` had never been written.

        Records with the same input go too: a repost would tell the answer.
        """
        text = _folded(record.input)
        return self.take(
            i
            for i, other in enumerate(self.records)
            if other.id != record.id and _folded(other.input) != text
        )

    def before(self, record: Record) -> History:
        """The part of the history that was written before ``record``."""
        position = next(i for i, other in enumerate(self.records) if other.id == record.id)
        return self.take(range(position)).without(record)


def _folded(text: str) -> str:
    return " ".join(text.lower().split())


@dataclass(frozen=True, slots=True)
class Query:
    """A new request. It carries no reference answer, so none can leak from it.

    ``text`` is the content alone, ``instruction`` what to do with it.
    ``labels`` is the closed set for classification and rating, else empty.
    """

    user: str
    id: str
    task: str
    text: str
    instruction: str = ""
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class QueryContext:
    """A query as its user would meet it: its vector (d,) and the user's history.

    The query's own record is never part of ``history``.
    """

    query: Query
    vector: Vectors
    history: History


@dataclass(frozen=True, slots=True)
class Candidate:
    """One answer that could be returned.

    ``sample`` is its place among the LLM's answers, or None for a label of a
    closed set that no answer named. ``logprob`` is the mean log-probability
    of its tokens where the provider gives one. ``cut`` says that the limit of
    tokens ended it, not the LLM. ``features`` (f,) are those that a scorer saw,
    where it learns from feedback.
    """

    text: str
    sample: int | None = None
    logprob: float | None = None
    cut: bool = False
    features: tuple[float, ...] = field(default=(), compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Scored(Generic[T]):
    """An item with its score; higher is better."""

    item: T
    score: float


@dataclass(frozen=True, slots=True)
class Usage:
    """What LLM calls used. ``cost`` is in US dollars; None means unknown, never 0.

    ``seconds`` is what the calls took, one after another; ``saved_seconds`` what
    the cached ones took when they were made.
    """

    calls: int = 0
    cached_calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float | None = 0.0
    seconds: float = 0.0
    saved_seconds: float = 0.0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            calls=self.calls + other.calls,
            cached_calls=self.cached_calls + other.cached_calls,
            prompt_tokens=self.prompt_tokens + other.prompt_tokens,
            completion_tokens=self.completion_tokens + other.completion_tokens,
            cost=None if self.cost is None or other.cost is None else self.cost + other.cost,
            seconds=self.seconds + other.seconds,
            saved_seconds=self.saved_seconds + other.saved_seconds,
        )


@dataclass(frozen=True, slots=True, eq=False)
class TrainingExample:
    """A record (or a training query) taken as a pseudo-query, with its supervision.

    ``context.history`` leaves the pseudo-query's own record out, so nothing of
    ``reference`` can reach evidence or features.

    ``relevance[i]`` grades ``shortlist[i]`` in [0, 1], ``quality[j]`` grades
    ``candidates[j]`` (answers of the LLM) in [0, 1]; each is None where that
    stage has no supervision. ``hydra_relevance`` holds the 0/1 labels of
    arXiv 2406.02888 where they were asked for.
    """

    context: QueryContext
    reference: str
    shortlist: tuple[Scored[Record], ...] = ()
    relevance: tuple[float, ...] | None = None
    hydra_relevance: tuple[float, ...] | None = None
    evidence: tuple[Scored[Record], ...] = ()
    candidates: tuple[Candidate, ...] = ()
    quality: tuple[float, ...] | None = None
    greedy: str | None = None
    """The LLM's temperature-0 answer with ``evidence``, where it was asked for."""
    plain: str | None = None
    """The LLM's temperature-0 answer without evidence, where it was asked for."""

    @property
    def user(self) -> str:
        return self.context.query.user


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """The answer to a query, and everything that led to it."""

    text: str
    query: Query
    candidates: tuple[Scored[Candidate], ...]
    evidence: tuple[Scored[Record], ...]
    standing: Standing
    """Whose weights answered, and what the gate says about each stage."""
    usage: Usage
    seconds: Mapping[str, float]
    details: Mapping[str, Any] = field(default_factory=dict)
    id: str = field(default_factory=lambda: new_id(ANSWER_ID))
    """Names it for feedback."""
    time: datetime = field(default_factory=lambda: datetime.now(UTC))
    """When the query was begun."""

    @property
    def cut(self) -> bool:
        """True where the limit of tokens ended the answer, not the LLM."""
        return bool(self.candidates) and self.candidates[0].item.cut
