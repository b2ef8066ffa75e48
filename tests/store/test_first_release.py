"""A whole store that release 0.1 made: its records, vectors, heads and settings."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from hydra_cli import Hydra
from hydra_cli.llm.scripted import ScriptedChat
from hydra_cli.models.hash_encoder import HashEncoder
from hydra_cli.workflows.doctor import examine

MADE = Path(__file__).parents[1] / "data" / "first_release" / "store.zip"


@pytest.fixture
def hydra(home: Path) -> Iterator[Hydra]:
    with zipfile.ZipFile(MADE) as archive:
        archive.extractall(home)
    chat = ScriptedChat(lambda request, sample: f"answer {sample}")
    with Hydra.open(home, create=False, encoder=HashEncoder(16), chat=chat) as opened:
        yield opened


def test_it_is_whole(hydra: Hydra) -> None:
    assert [(user.user, user.records) for user in hydra.users()] == [("mia", 8), ("tom", 8)]
    assert hydra.history("mia")[1].output == "mia says the lamp is."
    assert hydra.settings.k == 3
    assert not hydra.settings.spec("replies").multiline
    wrong = {f.check for f in examine(hydra.settings.store).findings if f.level == "problem"}
    assert wrong <= {"permissions"}, "a zip keeps no modes; all else is as it was"


def test_its_heads_answer_and_can_be_made_anew(hydra: Hydra) -> None:
    answer = hydra.ask("Is the rug safe?", user="mia")
    assert answer.standing.source == "head"
    assert not answer.standing.gate.rerank, "what 0.1 had switched off stays off"
    assert answer.standing.gate.adapt
    assert len(answer.evidence) == 3
    (report,) = hydra.fit(["mia"])
    assert [fit.user for fit in report.fitted] == ["mia"]
    assert hydra.ask("Is the rug safe?", user="mia").standing.source == "head"
    assert hydra.ask("Is the rug safe?", user="tom").standing.source == "head"


def test_it_takes_new_records_and_forgets_old_ones(hydra: Hydra) -> None:
    report = hydra.ingest(
        {"user": "mia", "input": "Is the rug safe?", "output": "Yes."}, task="replies"
    )
    assert report.added == 1
    hydra.forget("tom")
    assert [user.user for user in hydra.users()] == ["mia"]
