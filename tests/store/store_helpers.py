"""Records and looks at bytes for the tests of the store."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from hydra_cli.core.feedback import KeptAnswer, KeptCandidate
from hydra_cli.core.records import Record
from hydra_cli.core.sortable_ids import new_id
from hydra_cli.store.lance_store import LanceStore

START = datetime(2024, 1, 1, tzinfo=UTC)
DIMENSION = 8
ENCODER = "fingerprint-of-the-tests"


def record(user: str, i: int, *, task: str = "t", text: str = "") -> Record:
    """Record i of a user; every third one has no time, every second one metadata."""
    return Record(
        user=user,
        id=f"{user}-{i}",
        task=task,
        input=text or f"question {i} of {user} about trees",
        output=f"answer {i} of {user}",
        time=None if i % 3 == 0 else START + timedelta(days=i % 9999),
        metadata={"lang": "en"} if i % 2 else {},
    )


def opened(path: Path) -> LanceStore:
    return LanceStore.open(path, create=True)


def put_vectors(store: LanceStore, user: str, *, task: str = "t") -> None:
    """Unit vectors for every record of a user, output vectors for even ones."""
    own = store.records(user, task=task)
    vectors = []
    for i, item in enumerate(own):
        unit = np.zeros(DIMENSION, dtype=np.float32)
        unit[i % DIMENSION] = 1
        vectors.append((item.id, unit, unit if i % 2 == 0 else None))
    store.put_vectors(user, task, ENCODER, vectors)


def files_with(folder: Path, *needles: bytes) -> list[str]:
    """Files whose bytes or names hold a needle."""
    found = []
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder)).encode()
        data = path.read_bytes() if path.is_file() else b""
        if any(needle in data or needle in name for needle in needles):
            found.append(str(path.relative_to(folder)))
    return found


def folder_bytes(folder: Path) -> dict[str, bytes]:
    """Every file of a folder with its content."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def kept(user: str, text: str = "an answer", *, task: str = "t", days_ago: float = 0.0,
         evidence: tuple[str, ...] = ()) -> KeptAnswer:  # fmt: skip
    return KeptAnswer(
        id=new_id("ans"),
        user=user,
        task=task,
        recipe="facets",
        query="what?",
        text=text,
        time=datetime.now(UTC) - timedelta(days=days_ago),
        candidates=(KeptCandidate(text, 0.5, 0, (1.0, -0.25)), KeptCandidate("other", 0.1)),
        evidence=evidence,
        labels=("a", "b"),
        model="some/llm",
        n=2,
        stages={"source": "head", "adapt": True},
        known={"rag": "other"},
        feature_set="abc",
    )
