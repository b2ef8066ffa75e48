"""A process that works on a store until it is killed. Run by the kill tests.

``worker.py STORE MODE FIRST LOG``: every line of LOG names work that had
returned before it was written, so it must survive any kill.
"""

from __future__ import annotations

import os
import sys
from hashlib import md5
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np

from hydra_cli.core.records import Record
from hydra_cli.core.tasks import TaskSpec
from hydra_cli.llm.answer_cache import AnswerCache, StoredCall
from hydra_cli.store import forgetting as store_forget
from hydra_cli.store.exporting import export_store
from hydra_cli.store.forgetting import Scope
from hydra_cli.store.importing import import_archive
from hydra_cli.store.lancedb_store import LanceHistoryStore
from tests.store.store_helpers import DIMENSION, ENCODER, kept, put_vectors, record

if TYPE_CHECKING:
    from hydra_cli.core.records import Vectors

BATCH = 40
USERS = 8


def batch_of(number: int) -> list[str]:
    """The record ids of a batch: its records are spread over all users."""
    return [f"b{number}-{i}" for i in range(BATCH)]


def ingest(store: LanceHistoryStore, first: int, log: int) -> None:
    for number in range(first, first + 1000):
        made = [record(f"u{i % USERS}", number * BATCH + i) for i in range(BATCH)]
        store.add(made)
        os.write(log, f"batch {number}\n".encode())
        if number % 3 == 0:
            put_vectors(store, f"u{number % USERS}")


def forget(store: LanceHistoryStore, first: int, log: int) -> None:
    for number in range(first, first + 1000):
        user = f"gone{number}"
        store.add([record(user, i) for i in range(5)])
        os.write(log, f"begin {user}\n".encode())
        store_forget.erase(store, Scope(user))
        os.write(log, f"forgot {user}\n".encode())


def heads(store: LanceHistoryStore, first: int, log: int) -> None:
    """Heads of 2 MB, written as fit writes them."""
    from hydra_cli.core.weights import Card, Weights

    for number in range(first, first + 1000):
        card = Card("head", "facets", "t", "encoder", seed=number, base="b", user="u1")
        weights = Weights(card, {"w": np.full((700, 700), float(number), np.float32)})
        weights.save(store.folder.head_file("u1", "t", "facets"))
        os.write(log, f"head {number}\n".encode())


def imports(store: LanceHistoryStore, first: int, log: int) -> None:
    """Archives of one user each, with vectors."""
    with TemporaryDirectory() as folder:
        for number in range(first, first + 1000):
            user = f"imported{number}"
            source = LanceHistoryStore.open(Path(folder) / user, create=True)
            source.add([record(user, i) for i in range(60)])
            put_vectors(source, user)
            archive = Path(folder) / f"{user}.tar"
            export_store(source, archive)
            os.write(log, f"begin {user}\n".encode())
            import_archive(archive, store.folder.root)
            os.write(log, f"imported {user}\n".encode())


CORRECTED = 30


def version_of(user: str, version: int) -> list[Record]:
    """A user's records as one version of a source has them, the version in every output.

    Those of ``mia`` have the ids that ``ingest`` makes for a source without any.
    """
    texts = [(f"question {i} of {user}", f"answer {version:07d} to {i}") for i in range(CORRECTED)]
    ids = [
        md5("\0".join(pair).encode(), usedforsecurity=False).hexdigest()
        if user == "mia"
        else str(i)
        for i, pair in enumerate(texts)
    ]
    pairs = zip(ids, texts, strict=True)
    return [Record(user, id_, "t", text, answer) for id_, (text, answer) in pairs]


def vector_of(record: Record) -> Vectors:
    """A unit vector that tells the version of the record's output."""
    angle = float(record.output.split(" ")[1])
    return np.array([np.cos(angle), np.sin(angle), *[0] * (DIMENSION - 2)], np.float32)


def updates(store: LanceHistoryStore, first: int, log: int, user: str = "kim") -> None:
    """Corrected records over stored ones, found by id; vectors and an answer made of each."""
    answers = AnswerCache(store.folder.answers)
    for version in range(first, first + 1000):
        made = version_of(user, version)
        os.write(log, f"begin {version}\n".encode())
        store.add(made, update="content" if user == "mia" else "id")
        os.write(log, f"updated {version}\n".encode())
        vectors = [(record.id, vector_of(record), vector_of(record)) for record in made]
        store.put_vectors(user, "t", ENCODER, vectors)
        call = StoredCall(0, ((made[0].output, None),), 1, 1)
        answers.put(f"{user} {version}", call, model="m", max_tokens=9, users=[user])


def contents(store: LanceHistoryStore, first: int, log: int) -> None:
    """The same, found by content."""
    updates(store, first, log, "mia")


def feedback(store: LanceHistoryStore, first: int, log: int) -> None:
    """Edits of answers, each a record; every third one is taken back.

    Everybody also has their say on one answer, the oldest one.
    """
    from hydra_cli.store.lance_store import LanceStore
    from hydra_cli.workflows.feedback import give, take_back

    opened = LanceStore(store.folder)
    task = TaskSpec("t", "generation", "Answer.")
    shared = opened.answer_log.newest()[-1]
    for number in range(first, first + 1000):
        answer = kept("kim", f"answer {number}")
        opened.answer_log.keep(answer, days=30)
        give(opened, answer, task, edit=f"edit {number}")
        os.write(log, f"said {answer.id}\n".encode())
        if number % 3 == 0:
            os.write(log, f"undoing {answer.id}\n".encode())
            take_back(opened, answer.id, None)
            os.write(log, f"undone {answer.id}\n".encode())
        give(opened, shared, task, **({"reject": True} if number % 2 else {"edit": f"{number}"}))
        os.write(log, b"shared\n")


MODES = {
    "contents": contents,
    "feedback": feedback,
    "forget": forget,
    "heads": heads,
    "imports": imports,
    "ingest": ingest,
    "updates": updates,
}


def main() -> None:
    path, mode, first, log_path = sys.argv[1:]
    store = LanceHistoryStore.open(Path(path), create=True)
    log = os.open(log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(log, b"ready\n")
    MODES[mode](store, int(first), log)


if __name__ == "__main__":
    main()
