"""Backends that live in memory: for tests, and for evaluating files without a store."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Literal

import numpy as np

from hydra_cli.core.protocols import AddResult, ChatRequest, Completion, UserSummary, WorkNote
from hydra_cli.core.records import History, Query, QueryContext, Record, Scored, Usage
from hydra_cli.core.retrieval import best, bm25_scores, dense_scores, tokens

if TYPE_CHECKING:
    from torch import Tensor

    from hydra_cli.core.records import Vectors
    from hydra_cli.core.weights import Weights
    from hydra_cli.store.contract import WeightStore

_EPOCH = datetime.min.replace(tzinfo=timezone.utc)


class MemoryWeights:
    """A WeightStore without a disk."""

    def __init__(self) -> None:
        self._bases: dict[tuple[str, str], Weights] = {}
        self._heads: dict[tuple[str, str, str], Weights] = {}

    def base(self, task: str, recipe: str) -> Weights | None:
        return self._bases.get((task, recipe))

    def head(self, user: str, task: str, recipe: str) -> Weights | None:
        return self._heads.get((user, task, recipe))

    def any_base(self) -> bool:
        return bool(self._bases)

    def write(
        self,
        task: str,
        recipe: str,
        *,
        base: Weights | None,
        heads: Mapping[str, Weights],
        new_base: bool,
    ) -> None:
        if new_base:
            for key in [key for key in self._heads if key[1:] == (task, recipe)]:
                del self._heads[key]
        if base is not None:
            self._bases[task, recipe] = base
        self._heads |= {(user, task, recipe): head for user, head in heads.items()}


class _NoNote:
    """Work on a store without a disk leaves nothing unfinished."""

    def reached(self, records: int) -> None:
        pass


class MemoryHistoryStore:
    """A Store without a disk."""

    def __init__(self) -> None:
        self._records: dict[tuple[str, str, str], Record] = {}
        self._vectors: dict[tuple[str, str, str], tuple[Vectors, Vectors | None]] = {}
        self.weights: WeightStore = MemoryWeights()

    def noted(
        self, operation: str, *, counted: bool = False, **details: str
    ) -> AbstractContextManager[WorkNote]:
        return nullcontext(_NoNote())

    def add(
        self,
        records: Sequence[Record],
        *,
        restore: bool = False,
        update: Literal["id", "content"] | None = None,
    ) -> AddResult:
        added = present = replaced = 0
        conflicting: list[Record] = []
        for record in records:
            key = (record.user, record.task, record.id)
            known = self._records.setdefault(key, record)
            if known is record:
                added += 1
            elif (known.input, known.output) == (record.input, record.output):
                present += 1
            elif update is not None:
                # By its id alone: nothing that this store serves reads sources without ids.
                self._records[key] = record
                self._vectors.pop(key, None)
                replaced += 1
            else:
                conflicting.append(record)
        return AddResult(added, present, tuple(conflicting), replaced=replaced)

    def users(self) -> list[UserSummary]:
        found = []
        for user in sorted({key[0] for key in self._records}):
            own = self.records(user)
            times = [record.time for record in own if record.time]
            tasks = tuple(sorted({record.task for record in own}))
            first, last = (min(times), max(times)) if times else (None, None)
            found.append(UserSummary(user, len(own), tasks, first, last))
        return found

    def tasks_of(self, user: str) -> list[tuple[str, int]]:
        return self._counts(1, lambda key: key[0] == user)

    def users_of(self, task: str) -> list[tuple[str, int]]:
        return sorted(self._counts(0, lambda key: key[1] == task))

    def _counts(
        self, part: int, where: Callable[[tuple[str, str, str]], bool]
    ) -> list[tuple[str, int]]:
        counts: dict[str, int] = {}
        for key in self._records:
            if where(key):
                counts[key[part]] = counts.get(key[part], 0) + 1
        return sorted(counts.items(), key=lambda item: (-item[1], item[0]))

    def records(
        self, user: str, *, task: str | None = None, limit: int | None = None
    ) -> list[Record]:
        own = [
            record
            for record in self._records.values()
            if record.user == user and task in (None, record.task)
        ]
        own.sort(key=lambda record: record.time or _EPOCH)
        return own if limit is None else own[max(0, len(own) - limit) :]

    def vectors(
        self, user: str, task: str, ids: Sequence[str]
    ) -> dict[str, tuple[Vectors, Vectors | None]]:
        return {i: self._vectors[user, task, i] for i in ids if (user, task, i) in self._vectors}

    def put_vectors(
        self,
        user: str,
        task: str,
        fingerprint: str,
        vectors: Iterable[tuple[str, Vectors, Vectors | None]],
    ) -> None:
        for record_id, inputs, outputs in vectors:
            self._vectors[user, task, record_id] = (inputs, outputs)

    def save_fit(
        self,
        task: str,
        recipe: str,
        *,
        base: Weights | None,
        heads: Mapping[str, Weights],
        new_base: bool,
    ) -> None:
        left = dict(self.users_of(task))
        kept = {user: head for user, head in heads.items() if left.get(user)}
        self.weights.write(task, recipe, base=base, heads=kept, new_base=new_base)

    def search_text(self, user: str, task: str, text: str, k: int) -> list[Scored[Record]]:
        records = tuple(self.records(user, task=task))
        history = History(user, records, np.zeros((len(records), 1), np.float32))
        context = QueryContext(Query(user, "", task, text), np.zeros(1, np.float32), history)
        return best(history, bm25_scores(context), k) if records else []

    def search_vector(self, user: str, task: str, vector: Vectors, k: int) -> list[Scored[Record]]:
        records = [r for r in self.records(user, task=task) if (user, task, r.id) in self._vectors]
        if not records:
            return []
        inputs = np.stack([self._vectors[user, task, r.id][0] for r in records])
        history = History(user, tuple(records), inputs)
        context = QueryContext(Query(user, "", task, ""), vector, history)
        return best(history, dense_scores(context), k)


class HashEncoder:
    """A TextEncoder without weights: words hashed into a few dimensions."""

    name = "hash"

    def __init__(self, dimension: int = 64) -> None:
        self.dimension = dimension
        self.fingerprint = f"hash-{dimension}"

    def encode(
        self, texts: Sequence[str], *, progress: Callable[[int], None] | None = None
    ) -> Vectors:
        vectors = np.zeros((len(texts), self.dimension), np.float32)
        for row, text in enumerate(texts):
            for word in tokens(text):
                digest = hashlib.blake2b(word.encode(), digest_size=8).digest()
                sign = 1.0 if digest[0] % 2 else -1.0
                vectors[row, int.from_bytes(digest[1:], "big") % self.dimension] += sign
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        if progress is not None:
            progress(len(texts))
        vectors /= np.maximum(norms, 1e-9)
        return vectors

    def encode_pairs(self, pairs: Sequence[tuple[str, str]]) -> Tensor:
        import torch

        return torch.from_numpy(self.encode([f"{a} {b}" for a, b in pairs]))


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
