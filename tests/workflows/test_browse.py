"""Users and histories as asked for."""

from __future__ import annotations

import pytest

from hydra_cli.core.errors import NotFound, UsageError
from hydra_cli.core.records import Record
from hydra_cli.store.memory import MemoryHistoryStore
from hydra_cli.workflows.browse import user_history


@pytest.fixture
def store(records: list[Record]) -> MemoryHistoryStore:
    found = MemoryHistoryStore()
    found.add(records)
    return found


def test_users_and_histories(store: MemoryHistoryStore) -> None:
    assert [(s.user, s.records) for s in store.users()] == [("ann", 6), ("bob", 6)]
    assert [r.id for r in user_history(store, "ann", limit=2)] == ["a4", "a5"]


def test_unknown_users_meet_the_nearest_names(store: MemoryHistoryStore) -> None:
    with pytest.raises(NotFound, match="no records of user 'anna'") as error:
        user_history(store, "anna")
    assert error.value.hint == "did you mean 'ann'?"
    with pytest.raises(NotFound) as error:
        user_history(store, "../../x" * 200)
    assert len(error.value.message) < 150
    assert error.value.hint == "`hydra-pers users` lists them"


def test_an_empty_store_says_how_to_fill_it() -> None:
    with pytest.raises(NotFound) as error:
        user_history(MemoryHistoryStore(), "u")
    assert "hydra-pers ingest" in str(error.value.hint)


def test_unknown_task_and_limit(store: MemoryHistoryStore) -> None:
    with pytest.raises(NotFound, match="no records of task 'x'") as error:
        user_history(store, "ann", task="x")
    assert error.value.hint == "their tasks: LaMP_4"
    with pytest.raises(UsageError, match="at least 1"):
        user_history(store, "ann", limit=0)
