"""Drafts of others in a user's order, and the records to show them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from hydra_cli import Hydra, NotFound, UsageError
from hydra_cli.llm.scripted import ScriptedChat
from hydra_cli.models.hash_encoder import HashEncoder
from tests.test_api import rows


def nobody(*_: object) -> str:
    raise AssertionError("an LLM was asked")


@pytest.fixture
def hydra() -> Iterator[Hydra]:
    with Hydra.in_memory(encoder=HashEncoder(), chat=ScriptedChat(nobody)) as opened:
        opened.ingest(*rows("mia"), *rows("tom"), task="replies")
        yield opened


DRAFTS = ["It is a matter of taste, I suppose.", "mia says the spoon is."]


def test_the_draft_in_the_users_words_wins_without_an_llm(hydra: Hydra) -> None:
    found = hydra.rank("Is the spoon safe?", DRAFTS, user="mia")
    assert found.on
    assert found.order == (1, 0)
    assert found.text == DRAFTS[1]
    assert found.scores[1] is not None
    assert found.scores[0] is not None
    assert found.scores[1] > found.scores[0]
    assert found.drafts == tuple(DRAFTS)


def test_what_was_chosen_is_an_answer_that_feedback_can_be_given_on(hydra: Hydra) -> None:
    found = hydra.rank("Is the spoon safe?", DRAFTS, user="mia")
    kept = hydra.answer(found.answer.id, user="mia")
    assert kept.text == DRAFTS[1]
    assert [candidate.text for candidate in kept.candidates] == DRAFTS[::-1]
    assert kept.model is None
    assert not kept.known
    assert hydra.feedback(kept.id, choose=2, user="mia").learned
    with pytest.raises(NotFound):
        hydra.feedback(kept.id, accept=True, user="tom")


def test_the_order_of_the_list_changes_no_winner(hydra: Hydra) -> None:
    turned = hydra.rank("Is the spoon safe?", DRAFTS[::-1], user="mia")
    assert turned.text == DRAFTS[1]
    assert turned.order == (0, 1)


def test_the_examples_are_those_that_ask_would_show(hydra: Hydra) -> None:
    drafted = hydra.draft("Is the lamp safe?", user="mia")
    found = hydra.examples("Is the lamp safe?", user="mia")
    assert [s.item.id for s in found.records] == [s.item.id for s in drafted.evidence]
    assert {s.item.user for s in found.records} == {"mia"}
    assert len(hydra.examples("Is the lamp safe?", user="mia", k=2).records) == 2


def test_an_adapter_that_is_off_keeps_the_given_order(
    hydra: Hydra, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataclasses import replace

    from hydra_cli.warm import Warm

    known = Warm._personal
    monkeypatch.setattr(Warm, "_personal", lambda self, *of: replace(known(self, *of), adapt=False))
    found = hydra.rank("Is the spoon safe?", DRAFTS, user="mia")
    assert not found.on
    assert found.order == (0, 1)
    assert found.scores[1] is not None
    assert found.scores[0] is not None
    assert found.scores[1] > found.scores[0], "the scores are told, they decide nothing"


LABELS = ("sports", "comedy", "travel")


def labelled(user: str, label: str) -> list[dict[str, str]]:
    return [
        {"user": user, "input": f"news about {i} and more", "output": label if i % 4 else "travel"}
        for i in range(1, 13)
    ]


def test_drafts_of_labels_share_their_labels_score_and_nonsense_comes_last(hydra: Hydra) -> None:
    hydra.ingest(*labelled("ann", "sports"), *labelled("bob", "comedy"), task="desk", user=None)
    drafts = ["none of them", "Travel", "I'd say: sports.", "sports"]
    found = hydra.rank("news about 3 and more", drafts, user="ann", task="desk")
    assert found.task.kind == "classification"
    assert found.scores[0] is None
    assert found.order[-1] == 0
    assert found.scores[2] == found.scores[3]
    assert found.text == "I'd say: sports."


@pytest.mark.parametrize(
    ("drafts", "said"),
    [([], "no drafts"), ("one text", "no drafts"), (["a", " \n"], "draft 2 is empty")],
)
def test_what_is_no_list_of_drafts_is_refused(hydra: Hydra, drafts: list[str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        hydra.rank("Is the spoon safe?", drafts, user="mia")


def test_an_unknown_user_is_refused(hydra: Hydra) -> None:
    with pytest.raises(NotFound):
        hydra.rank("Is the spoon safe?", DRAFTS, user="nobody")
    with pytest.raises(NotFound):
        hydra.examples("Is the spoon safe?", user="nobody")
