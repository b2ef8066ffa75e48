"""How answers fared, and who speaks against their own history."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from hydra_cli import Hydra, NotFound
from hydra_cli.core.feedback import Feedback
from hydra_cli.core.sortable_ids import new_id
from hydra_cli.llm.scripted import ScriptedChat
from hydra_cli.models.hash_encoder import HashEncoder
from hydra_cli.store.doctor_feedback import FEWEST, contrary
from hydra_cli.workflows.doctor import examine
from tests.workflows.test_feedback import ask, filled, script

MONDAY = datetime(2026, 11, 23, 12, tzinfo=UTC)


def test_acceptance_and_changed_words_by_user_and_week(home: Path) -> None:
    with Hydra.open(home, encoder=HashEncoder(), chat=ScriptedChat(script)) as hydra:
        filled(hydra)
        assert hydra.stats() == []
        assert hydra.stats("mia") == []
        with pytest.raises(NotFound, match="no records of user 'nobody'"):
            hydra.stats("nobody")
        answers = [ask(hydra, thing) for thing in ("shelf", "chair", "lamp", "tray", "mug")]
        ask(hydra, user="tom")
        hydra.feedback(answers[0].id, accept=True)
        hydra.feedback(answers[1].id, edit=answers[1].text)
        hydra.feedback(answers[2].id, edit=answers[2].text + " Really.")
        hydra.feedback(answers[3].id, reject=True)
        mia, tom = hydra.stats()
        assert (mia.name, mia.answers, mia.accepted, mia.edited, mia.rejected, mia.heard) == (
            "mia", 5, 2, 1, 1, 4,
        )  # fmt: skip
        words = sum(len(answer.text.split()) for answer in answers[:3])
        assert (mia.acceptance, mia.change) == (0.5, pytest.approx(1 / words))
        assert (tom.answers, tom.heard, tom.acceptance, tom.change) == (1, 0, None, None)
        (week,) = hydra.stats("mia")
        monday = answers[0].time.date().fromisoformat(week.name)
        assert monday.weekday() == 0
        assert 0 <= (answers[0].time.date() - monday).days < 7
        assert week.as_mapping() == {**mia.as_mapping(), "name": week.name}
        found = [entry for entry in examine(home).findings if entry.check == "feedback"]
        assert [(entry.level, entry.text) for entry in found] == [("ok", "feedback on 4 answers")]
    (home / "feedback.sqlite").write_bytes(b"no database" * 1000)
    found = [entry for entry in examine(home).findings if entry.check == "feedback"]
    assert [entry.level for entry in found] == ["problem"]


def chosen(user: str, place: int) -> Feedback:
    return Feedback(
        new_id("fb"), new_id("ans"), user, "t", "choose", MONDAY, MONDAY, "q", "s",
        choice=place, features=((0.0,),) * 8,
    )  # fmt: skip


def test_who_keeps_what_their_history_speaks_against_is_named() -> None:
    against = [chosen("eve", 7 + i % 2) for i in range(FEWEST)]
    by_dice = [chosen("dee", 1 + 3 * i % 8) for i in range(40)]
    along = [chosen("ann", 1 + i % 3) for i in range(40)]
    few = [chosen("flo", 8) for _ in range(FEWEST - 1)]
    assert contrary([*against, *by_dice, *along, *few]) == {"eve": (7.5, 4.5, FEWEST)}
