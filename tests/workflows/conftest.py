"""A small crowd with visible habits, in a store without a disk."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from hydra_cli.core.records import Record
from hydra_cli.core.tasks import TaskSpec
from hydra_cli.models.hash_encoder import HashEncoder
from hydra_cli.store.folder import StoreFolder
from hydra_cli.store.memory import MemoryHistoryStore
from hydra_cli.store.weight_files import WeightFiles

START = datetime(2024, 1, 1, tzinfo=UTC)
TOPICS = ("pool", "tram", "bakery", "school", "river", "library", "market", "museum")
MOODS = ("calm", "loud", "sad", "bright")

HEADLINES = TaskSpec("headlines", "generation", "Write the headline.")
MOOD = TaskSpec("mood", "classification", "Name the mood.", labels=MOODS)


def weights_in(folder: Path) -> WeightFiles:
    """Bases and heads on a disk, to look at their bytes."""
    return WeightFiles(StoreFolder(folder))


@pytest.fixture
def crowd() -> MemoryHistoryStore:
    """Six users: their headlines differ in form, their moods in frequency."""
    store = MemoryHistoryStore()
    styles = (
        lambda topic, i: f"{topic} news {i}",
        lambda topic, i: f"WHY THE {topic.upper()} MATTERS!",
        lambda topic, i: f"Is the {topic} open again?",
    )
    for number in range(6):
        user = f"u{number}"
        for i in range(12):
            topic = TOPICS[(i + number) % len(TOPICS)]
            day = START + timedelta(days=i)
            text = f"the {topic} on day {i} was seen by person {number}"
            headline = styles[number % 3](topic, i)
            mood = MOODS[number % 4] if i % 4 else MOODS[(number + 1) % 4]
            store.add(
                [
                    Record(user, f"h{i}", "headlines", text, headline, day),
                    Record(user, f"m{i}", "mood", text, mood, day),
                ]
            )
    return store


@pytest.fixture
def encoder() -> HashEncoder:
    return HashEncoder()
