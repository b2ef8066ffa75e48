"""A process that works on a store until it is killed. Run by the kill tests.

``worker.py STORE MODE FIRST LOG``: every line of LOG names work that had
returned before it was written, so it must survive any kill.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from hydra_cli.store import forgetting as store_forget
from hydra_cli.store.exporting import export_store
from hydra_cli.store.forgetting import Scope
from hydra_cli.store.importing import import_archive
from hydra_cli.store.lancedb_store import LanceHistoryStore
from tests.store.store_helpers import put_vectors, record

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
    import numpy as np

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


MODES = {"imports": imports, "ingest": ingest, "forget": forget, "heads": heads}


def main() -> None:
    path, mode, first, log_path = sys.argv[1:]
    store = LanceHistoryStore.open(Path(path), create=True)
    log = os.open(log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(log, b"ready\n")
    MODES[mode](store, int(first), log)


if __name__ == "__main__":
    main()
