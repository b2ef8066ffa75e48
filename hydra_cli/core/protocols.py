"""What the domain needs from the edge.

Rooms at the edge implement these; workflows receive them. Tests pass fakes
through the same door: a hash encoder, a scripted LLM, a store in memory.
"""

from __future__ import annotations

from collections.abc import (
    AsyncGenerator,
    Callable,
    Hashable,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypedDict, runtime_checkable

from hydra_cli.core.encoders import EncoderInfo
from hydra_cli.core.plan import FirstStage
from hydra_cli.core.records import (
    Candidate,
    History,
    QueryContext,
    Record,
    Scored,
    TrainingExample,
    Usage,
)
from hydra_cli.core.sentences import whole_sentences
from hydra_cli.core.tasks import TaskSpec

if TYPE_CHECKING:
    from torch import Tensor

    from hydra_cli.core.feedback import Heard
    from hydra_cli.core.records import Vectors
    from hydra_cli.core.weights import Weights


Supervision = Literal["relevance", "hydra_relevance", "quality"]
"""Labels a TrainingExample can carry."""


class _Said(TypedDict):
    role: Literal["system", "user", "assistant"]
    content: str


class Message(_Said, total=False):
    """``name`` tells speakers of one role apart, where a client says who spoke."""

    name: str


@dataclass(frozen=True, slots=True)
class Sampling:
    """How answers are drawn. ``temperature`` 0 is greedy."""

    n: int = 1
    temperature: float = 0.0
    top_p: float = 1.0
    max_tokens: int = 64
    stop: tuple[str, ...] = ()
    seed: int | None = None


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """A prompt and how to answer it.

    ``user`` is whose data the messages hold, so that a cached answer can be
    forgotten with them. ``extra`` goes to the provider as it is, by the names of
    OpenAI's chat completions.
    """

    messages: tuple[Message, ...]
    sampling: Sampling
    user: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True)
class Completion:
    """Exactly ``sampling.n`` answers, cleaned, with what they used.

    ``logprobs`` is parallel to ``texts``: the mean log-probability of each
    answer's tokens, or None. So is ``finishes``, the provider's word for why an
    answer ended ("stop", "length" ...); empty where nobody kept it. As candidates,
    those that the limit of tokens ended are their whole sentences.
    """

    texts: tuple[str, ...]
    logprobs: tuple[float | None, ...]
    usage: Usage
    finishes: tuple[str | None, ...] = ()

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        known = self.finishes or (None,) * len(self.texts)
        found = zip(self.texts, self.logprobs, known, strict=True)
        return tuple(
            Candidate(whole_sentences(text), i, logprob, cut=True)
            if finish == "length"
            else Candidate(text, i, logprob)
            for i, (text, logprob, finish) in enumerate(found)
        )


class ChatModel(Protocol):
    """A black-box LLM. Errors are ProviderError or BudgetExceeded."""

    @property
    def name(self) -> str: ...

    def complete(self, request: ChatRequest) -> Completion: ...

    def complete_many(self, requests: Sequence[ChatRequest]) -> Iterator[tuple[int, Completion]]:
        """Each request's index and completion, in the order in which they finish."""
        ...


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of an answer as it comes, raw. The last one has the whole in ``completion``."""

    text: str
    completion: Completion | None = None


class AsyncChatModel(Protocol):
    """An LLM for an event loop: a task that is cancelled hangs up.

    ``forward`` takes any body of OpenAI's chat completions, tools and images
    included, and gives the answer as it came.
    """

    @property
    def name(self) -> str: ...

    async def complete(self, request: ChatRequest) -> Completion: ...

    def stream(self, request: ChatRequest) -> AsyncGenerator[Piece, None]:
        """One answer, piece by piece."""
        ...

    async def forward(self, body: Mapping[str, Any]) -> dict[str, Any]: ...

    def forward_stream(self, body: Mapping[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
        """The answer's chunks, as they came."""
        ...


class TextEncoder(Protocol):
    """Texts to vectors, on frozen weights."""

    @property
    def name(self) -> str: ...

    @property
    def dimension(self) -> int: ...

    @property
    def fingerprint(self) -> str:
        """A hash of the weights and of how they are read. Vectors of two never mix."""
        ...

    def encode(
        self, texts: Sequence[str], *, progress: Callable[[int], None] | None = None
    ) -> Vectors:
        """Unit vectors (n, d); ``progress`` is told how many texts each batch finished."""
        ...

    def encode_pairs(self, pairs: Sequence[tuple[str, str]]) -> Tensor:
        """First-token states (n, d) of joined pairs, as a cross-encoder reads them."""
        ...


@dataclass(frozen=True, slots=True)
class AddResult:
    """What became of a batch. ``conflicting``: the key exists with other content."""

    added: int
    present: int
    conflicting: tuple[Record, ...] = ()
    forgotten: tuple[Record, ...] = ()
    """Records refused because they were forgotten before."""
    replaced: int = 0


@dataclass(frozen=True, slots=True)
class UserSummary:
    user: str
    records: int
    tasks: tuple[str, ...]
    first: datetime | None
    last: datetime | None


class WorkNote(Protocol):
    """The note of long work that is going on."""

    def reached(self, records: int) -> None:
        """So many records are done and will stay, whatever happens next."""
        ...


class HistoryStore(Protocol):
    """Users' records and their vectors."""

    @property
    def encoder(self) -> EncoderInfo | None:
        """The encoder whose vectors the store holds, or None before the first vector."""
        ...

    def noted(
        self, operation: str, *, counted: bool = False, **details: str
    ) -> AbstractContextManager[WorkNote]:
        """Note the work while the block runs, for ``doctor`` and the next command if it is cut off.

        ``details`` tell it from other work of its kind; ``what`` is shown. ``counted``:
        the block tells the note how many records are done.
        """
        ...

    def add(
        self,
        records: Sequence[Record],
        *,
        restore: bool = False,
        update: Literal["id", "content"] | None = None,
    ) -> AddResult:
        """Add one batch, all of it or nothing. Same key and content: present.

        ``restore`` accepts records that were forgotten before. ``update`` lets a
        record of other content replace the one of its id or, where ids were made
        from the content, the one of the same user, task, input and time.
        """
        ...

    def users(self) -> list[UserSummary]: ...

    def tasks_of(self, user: str) -> list[tuple[str, int]]:
        """The user's tasks with their number of records, most first; empty for an unknown user."""
        ...

    def users_of(self, task: str) -> list[tuple[str, int]]:
        """The users with records of a task, with their number, sorted by user."""
        ...

    def records(
        self, user: str, *, task: str | None = None, limit: int | None = None
    ) -> list[Record]:
        """The newest ``limit`` records (default: all), oldest first."""
        ...

    def vectors(
        self, user: str, task: str, ids: Sequence[str]
    ) -> dict[str, tuple[Vectors, Vectors | None]]:
        """Stored (input, output) vectors by record id; records never encoded are absent."""
        ...

    def put_vectors(
        self,
        user: str,
        task: str,
        fingerprint: str,
        vectors: Iterable[tuple[str, Vectors, Vectors | None]],
        *,
        of: Sequence[Record] | None = None,
    ) -> None:
        """Keep vectors of one encoder. StoreError where the store holds another encoder's.

        Those of records that are gone are dropped, and those of records that read otherwise
        than in ``of``, the records that were encoded (None: as they are).
        """
        ...

    def kept_history(self, key: Hashable, make: Callable[[], History]) -> History:
        """What ``make`` reads from the store, or read for the same key of the same store.

        Any change of records or vectors, by whatever process, ends what was kept.
        """
        ...

    def search_text(self, user: str, task: str, text: str, k: int) -> list[Scored[Record]]:
        """The k best records of one user by full-text search, best first."""
        ...

    def search_vector(self, user: str, task: str, vector: Vectors, k: int) -> list[Scored[Record]]:
        """The k nearest records of one user by cosine of the inputs, best first."""
        ...


class Scorer(Protocol):
    """Base and head of one user, bound together: what orders records and answers."""

    def rerank(
        self, context: QueryContext, shortlist: Sequence[Scored[Record]]
    ) -> list[Scored[Record]]:
        """The shortlist, best evidence first."""
        ...

    def adapt(
        self,
        context: QueryContext,
        evidence: Sequence[Scored[Record]],
        candidates: Sequence[Candidate],
    ) -> list[Scored[Candidate]]:
        """The candidates, best first. For a closed set, every label may be among them."""
        ...


@runtime_checkable
class LearningScorer(Scorer, Protocol):
    """A scorer whose candidates carry the features that feedback on them teaches it by."""

    @property
    def feature_set(self) -> str:
        """Names what the features mean: those of two sets never mix."""
        ...

    def after(self, heard: Heard) -> LearningScorer:
        """The scorer once it has heard its user: itself where there is nothing to learn."""
        ...


class Recipe(Protocol):
    """One way to factorize scoring: how base and heads are trained and used.

    ``needs`` says which labels the supervision must supply.
    """

    @property
    def name(self) -> str: ...

    @property
    def needs(self) -> frozenset[Supervision]: ...

    @property
    def labels_alone(self) -> bool:
        """Whether its adapter scores every label of a closed task, with or without answers."""
        ...

    @property
    def first_stage(self) -> FirstStage:
        """The settings of ``AnswerPlan`` that its base is trained on; empty: the user's."""
        ...

    def train_base(
        self,
        task: TaskSpec,
        examples: Sequence[TrainingExample],
        histories: Sequence[History],
        encoder: TextEncoder,
        *,
        seed: int,
        progress: Progress,
    ) -> Weights:
        """The shared base, from the training users' examples and whole histories."""
        ...

    def fit_heads(
        self,
        base: Weights,
        task: TaskSpec,
        examples: Mapping[str, Sequence[TrainingExample]],
        encoder: TextEncoder,
        *,
        seed: int,
        progress: Progress,
    ) -> dict[str, Weights]:
        """Every given user's head on the frozen base, all in one batched computation."""
        ...

    def scorer(
        self, base: Weights, head: Weights | None, task: TaskSpec, encoder: TextEncoder
    ) -> Scorer:
        """ModelError where the head was made for another base. No head: the population's."""
        ...


class Progress(Protocol):
    """Long work tells how far it is. ``total`` may be unknown."""

    def start(self, label: str, total: int | None) -> None: ...

    def advance(self, steps: int = 1) -> None: ...

    def note(self, text: str) -> None:
        """One line for the user, such as a stage that was switched off."""
        ...


__all__ = [
    "AddResult",
    "AsyncChatModel",
    "ChatModel",
    "ChatRequest",
    "Completion",
    "HistoryStore",
    "LearningScorer",
    "Message",
    "Piece",
    "Progress",
    "Recipe",
    "Sampling",
    "Scorer",
    "Supervision",
    "TextEncoder",
    "TrainingExample",
    "UserSummary",
]
