"""What stands in for each user's history: their own, another user's, none, or its newest records.

The same method on two of them, all else equal, tells what the history is worth.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from hydra_cli.core.protocols import TextEncoder
from hydra_cli.core.records import History, QueryContext, Record
from hydra_cli.evaluation.questions import EncodedTexts, Questions, build_contexts, folded

Source = Literal["own", "other", "none"]


@dataclass(frozen=True, slots=True)
class Variant:
    """``source`` of the history, cut to the ``newest`` records (None: all)."""

    source: Source = "own"
    newest: int | None = None

    def of(self, history: History) -> History:
        """A history as this variant has it, where the source is the user's own."""
        if self.source == "none":
            return history.take([])
        if self.newest is None:
            return history
        return history.take(range(max(0, len(history) - self.newest), len(history)))


OWN = Variant()


@dataclass(frozen=True, slots=True)
class Chunk:
    """A chunk's queries and users as one variant has them."""

    contexts: list[QueryContext]
    histories: dict[str, History]
    """For fitting: what is older than all of a user's queries."""


@dataclass(slots=True)
class Histories:
    """Builds every variant's contexts. ``donors`` says whose history each user gets for another's.

    The donor is the user whose history is nearest in length; among equally near ones
    the seed decides. A longer history is cut to its newest records, as many as the
    user's own; records that ask the query itself are left out, as from the user's own.
    """

    questions: Questions
    encoder: TextEncoder
    variants: frozenset[Variant]
    seed: int = 0
    donors: dict[str, str] = field(default_factory=dict)
    _records: Mapping[str, tuple[Record, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if any(variant.source == "other" for variant in self.variants):
            self._records = self.questions.own_records()
            lengths = {user: len(records) for user, records in self._records.items()}
            self.donors = donors(lengths, seed=self.seed)

    def chunk(self, questions: Questions) -> dict[Variant, Chunk]:
        """The chunk for every variant; encodes each text once."""
        contexts, histories = build_contexts(questions, self.encoder)
        found = {OWN: Chunk(contexts, histories)}
        exchanged = self._exchanged(questions, contexts, histories) if self.donors else found[OWN]
        for variant in self.variants:
            base = exchanged if variant.source == "other" else found[OWN]
            found[variant] = Chunk(
                [replace(c, history=variant.of(c.history)) for c in base.contexts],
                {user: variant.of(history) for user, history in base.histories.items()},
            )
        return found

    def _exchanged(
        self, questions: Questions, contexts: list[QueryContext], own: Mapping[str, History]
    ) -> Chunk:
        task = questions.task
        lent = {
            user: [
                replace(record, user=user, id=f"other\0{record.id}")
                for record in self._records[self.donors[user]]
            ]
            if user in self.donors
            else []
            for user in own
        }
        records = [record for found in lent.values() for record in found]
        texts = [record.input for record in records]
        if not task.closed:
            texts += [record.output for record in records]
        vectors = EncodedTexts(self.encoder, texts)
        asked: dict[str, set[str]] = {}
        for context in contexts:
            asked.setdefault(context.query.user, set()).add(folded(context.query.text))

        def of(user: str, length: int, without: Iterable[str]) -> History:
            gone = set(without)
            kept = [record for record in lent[user] if folded(record.input) not in gone]
            return vectors.history(user, kept[max(0, len(kept) - length) :], task)

        return Chunk(
            [
                replace(c, history=of(c.query.user, len(c.history), [folded(c.query.text)]))
                for c in contexts
            ],
            {user: of(user, len(history), asked[user]) for user, history in own.items()},
        )


def donors(lengths: Mapping[str, int], *, seed: int) -> dict[str, str]:
    """For each user the other one with records whose length is nearest; absent without any."""

    def lot(user: str, other: str) -> str:
        return hashlib.sha256(f"{seed}\0{user}\0{other}".encode("utf-8", "replace")).hexdigest()

    found = {}
    for user, length in lengths.items():
        others = [other for other in lengths if other != user and lengths[other]]
        if others:
            found[user] = min(others, key=lambda o: (abs(lengths[o] - length), lot(user, o)))
    return found
