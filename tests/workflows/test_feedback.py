"""Feedback: what is said is learned from, and what is taken back never was."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hydra_cli import Hydra, NotFound, UsageError
from hydra_cli.core.feedback import Feedback, Heard
from hydra_cli.core.protocols import ChatRequest
from hydra_cli.core.sortable_ids import new_id
from hydra_cli.llm.scripted import ScriptedChat
from hydra_cli.modeling.factorized.answer_features import NAMES, PRIOR
from hydra_cli.modeling.factorized.feedback import moved_by
from hydra_cli.models.hash_encoder import HashEncoder

TEXTS = (
    "Yes, the {0} is safe, and it is cheap!",
    "The {0} is safe.",
    "No idea about any {0}, ask somebody else please",
    "It keeps its colour. Mia",
)
THINGS = ("mug", "lamp", "tray", "bowl", "vase", "clock", "plate", "chair")


def script(request: ChatRequest, sample: int) -> str:
    thing = request.messages[-1]["content"].rstrip("?").split()[-2]
    return TEXTS[sample % len(TEXTS)].format(thing)


def rows(user: str) -> list[dict[str, str]]:
    return [
        {
            "user": user,
            "input": f"Is the {thing} safe?",
            "output": f"{user} says the {thing} is.",
            "time": f"2026-01-{day:02}",
        }
        for day, thing in enumerate(THINGS, 1)
    ]


def filled(hydra: Hydra) -> Hydra:
    hydra.ingest(*rows("mia"), *rows("tom"), task="replies")
    return hydra


@pytest.fixture(params=["disk", "memory"])
def hydra(request: pytest.FixtureRequest, home: Path) -> Iterator[Hydra]:
    chat = ScriptedChat(script)
    made = (
        Hydra.in_memory(encoder=HashEncoder(), chat=chat)
        if request.param == "memory"
        else Hydra.open(home, encoder=HashEncoder(), chat=chat)
    )
    with made:
        yield filled(made)


@pytest.fixture
def memory() -> Iterator[Hydra]:
    with Hydra.in_memory(encoder=HashEncoder(), chat=ScriptedChat(script)) as made:
        yield filled(made)


def ask(hydra: Hydra, thing: str = "shelf", user: str = "mia", **options: Any) -> Any:
    return hydra.ask(f"Is the {thing} safe?", user=user, n=4, **options)


def scores(hydra: Hydra, user: str = "mia") -> dict[str, float]:
    """Every candidate's score, for a query whose records no feedback adds to."""
    return {s.item.text: s.score for s in ask(hydra, user=user, answers_days=0).candidates}


# -- what each word does


def test_a_choice_lifts_what_is_like_the_chosen_one_at_once(hydra: Hydra) -> None:
    before, others = scores(hydra), scores(hydra, "tom")
    worst = len(TEXTS)
    for thing in THINGS[:4]:
        given = hydra.feedback(ask(hydra, thing).id, choose=worst)
        assert given.learned
    after = scores(hydra)
    chosen = given.feedback.text or ""
    lifted = {text.replace(THINGS[3], "shelf"): s for text, s in after.items()}
    name = chosen.replace(THINGS[3], "shelf")
    assert lifted[name] - max(lifted.values()) > before[name] - max(before.values())
    assert scores(hydra, "tom") == others, "nobody else's answers move"
    assert len(hydra.history("mia")) == len(THINGS), "a choice is no record"
    assert ask(hydra).details["heard"] == 4


def test_an_edit_becomes_a_record_and_grades_the_candidates(hydra: Hydra) -> None:
    answer = ask(hydra)
    given = hydra.feedback(answer.id, edit="  It keeps its colour. Mia!\n")
    said = given.feedback
    assert (said.kind, said.text, given.replaced) == (
        "edit", "It keeps its colour. Mia!", None,
    )  # fmt: skip
    texts = [s.item.text for s in answer.candidates]
    assert max(said.grades) == said.grades[texts.index(TEXTS[3])] == 0.8
    record = hydra.history("mia")[-1]
    assert record.id == said.record == f"feedback_{answer.id[4:]}"
    assert (record.input, record.output) == ("Is the shelf safe?", "It keeps its colour. Mia!")
    assert dict(record.metadata) == {"feedback": "edit", "answer": answer.id}
    assert record.time == answer.time, "it was asked then, whenever it is corrected"
    shown = hydra.ask("Is the shelf safe now?", user="mia", n=1, k=20).evidence
    assert said.record in {scored.item.id for scored in shown}


def test_the_very_same_question_is_shown_its_edit_and_may_get_it_back() -> None:
    edit, past = "It keeps its colour, I promise.", NAMES.index("past text again")

    def repeating(request: ChatRequest, sample: int) -> str:
        return script(request, sample) if sample else edit

    with Hydra.in_memory(encoder=HashEncoder(), chat=ScriptedChat(repeating)) as hydra:
        said = hydra.feedback(ask(filled(hydra)).id, edit=edit).feedback
        for thing, penalty in (("shelf", 0.0), ("stool", -1.0)):
            answer = ask(hydra, thing)
            [back] = [c.item for c in answer.candidates if c.item.text == edit]
            assert np.sign(back.features[past]) == penalty, "a past text of another question"
            if not penalty:
                assert said.record in [scored.item.id for scored in answer.evidence]


def test_a_rejected_answer_is_no_record_and_falls(hydra: Hydra) -> None:
    before = ask(hydra)
    for thing in THINGS:
        given = hydra.feedback(ask(hydra, thing).id, reject=True)
        assert (given.feedback.text, given.feedback.record, given.learned) == (None, None, True)
    after = scores(hydra)
    gap = {text: after[text] - s for text, s in scores_of(before).items()}
    assert gap[before.text] < min(v for text, v in gap.items() if text != before.text)
    assert len(hydra.history("mia")) == len(THINGS)


def scores_of(answer: Any) -> dict[str, float]:
    return {s.item.text: s.score for s in answer.candidates}


def test_an_accepted_answer_is_a_record_where_the_settings_say_so(memory: Hydra) -> None:
    answer = ask(memory)
    assert memory.feedback(answer.id, accept=True).feedback.record is None
    assert len(memory.history("mia")) == len(THINGS)
    memory.settings = memory.settings.override(accepted_records=True)
    given = memory.feedback(answer.id, accept=True)
    assert given.replaced is not None
    assert memory.history("mia")[-1].output == answer.text
    memory.undo_feedback(answer.id)
    assert len(memory.history("mia")) == len(THINGS)


def test_a_lone_answer_teaches_no_order_but_an_edit_is_a_record(memory: Hydra) -> None:
    answer = memory.ask("Is the shelf safe?", user="mia", n=1)
    before = scores(memory)
    assert not memory.feedback(answer.id, accept=True).learned
    assert not memory.feedback(answer.id, reject=True).learned
    assert scores(memory) == before
    given = memory.feedback(answer.id, edit="Surely.")
    assert (given.learned, memory.history("mia")[-1].output) == (False, "Surely.")


# -- replacing and taking back


def test_a_second_word_takes_the_place_of_the_first_and_gives_it_back(hydra: Hydra) -> None:
    answer = ask(hydra)
    start = scores(hydra)
    first = hydra.feedback(answer.id, edit="one")
    with_one = scores(hydra)
    second = hydra.feedback(answer.id, edit="two words")
    assert second.replaced == first.feedback
    assert hydra.history("mia")[-1].output == "two words"
    hydra.feedback(answer.id, reject=True)
    assert hydra.feedbacks("mia")[0].kind == "reject"
    assert len(hydra.history("mia")) == len(THINGS)
    assert hydra.undo_feedback(answer.id).replaced == second.feedback
    assert hydra.history("mia")[-1].output == "two words"
    assert hydra.undo_feedback("last", user="mia").replaced == first.feedback
    assert (hydra.history("mia")[-1].output, scores(hydra)) == ("one", with_one)
    assert hydra.history("mia")[-1].time == answer.time
    assert hydra.undo_feedback(answer.id).replaced is None
    assert (len(hydra.history("mia")), hydra.feedbacks("mia")) == (len(THINGS), [])
    assert scores(hydra) == start, "to the last bit"
    with pytest.raises(NotFound, match="no feedback on answer"):
        hydra.undo_feedback(answer.id)


@pytest.mark.parametrize("seed", range(4))
def test_only_what_is_in_effect_counts_in_whatever_order_it_came(memory: Hydra, seed: int) -> None:
    """Random words and second thoughts end where the last words alone would have."""
    chooser = random.Random(seed)
    answers = [ask(memory, thing) for thing in THINGS[:5]]
    start, history = scores(memory), memory.history("mia")
    words: list[dict[str, Any]] = [
        {"accept": True}, {"reject": True}, {"choose": 2}, {"choose": 4},
        {"edit": "The lamp keeps its colour"}, {"edit": "Ask somebody else"},
    ]  # fmt: skip
    said: dict[str, list[dict[str, Any]]] = {answer.id: [] for answer in answers}
    for _ in range(25):
        id_ = chooser.choice(answers).id
        if said[id_] and chooser.random() < 0.4:
            memory.undo_feedback(id_)
            said[id_].pop()
        else:
            said[id_].append(chooser.choice(words))
            memory.feedback(id_, **said[id_][-1])
    reached = scores(memory)
    records = {(r.input, r.output) for r in memory.history("mia")}
    last = {id_: stack[-1] for id_, stack in said.items() if stack}
    for id_, stack in said.items():
        for _ in stack:
            memory.undo_feedback(id_)
    assert (scores(memory), memory.history("mia")) == (start, history)
    for id_ in chooser.sample(sorted(last), len(last)):
        memory.feedback(id_, **last[id_])
    assert scores(memory) == reached
    assert {(r.input, r.output) for r in memory.history("mia")} == records


# -- who may say what


def test_words_that_cannot_be_said(memory: Hydra) -> None:
    answer = ask(memory)
    for wrong, what in (
        ({}, "nothing was said"),
        ({"accept": True, "reject": True}, "say one thing"),
        ({"choose": 5}, "no candidate 5"),
        ({"choose": 0}, "no candidate 0"),
        ({"choose": -1}, "no candidate -1"),
        ({"edit": " \n\0"}, "the edit is empty"),
        ({"edit": "a" * 100_001}, "100,001 characters"),
    ):
        with pytest.raises(UsageError, match=what):
            memory.feedback(answer.id, **wrong)
    assert memory.feedbacks() == []
    memory.feedback(answer.id, edit="half of a pair \ud83d \udcff and a nul \0")
    assert memory.history("mia")[-1].output == "half of a pair ? ? and a nul"


def test_nobody_elses_answer_can_be_named(memory: Hydra) -> None:
    answer = ask(memory)
    for name in ("tom", "nobody"):
        with pytest.raises(NotFound, match="no answer"):
            memory.feedback(answer.id, reject=True, user=name)
        with pytest.raises(NotFound, match="no answer"):
            memory.feedback("last", reject=True, user=name)
    memory.feedback(answer.id, reject=True, user="mia")
    with pytest.raises(NotFound, match="no feedback"):
        memory.undo_feedback(answer.id, user="tom")
    for id_ in ("", "' OR 1=1 --", "ans_", new_id("ans"), "\udcff", "fb_" + "0" * 26):
        with pytest.raises(NotFound):
            memory.feedback(id_, accept=True)
        with pytest.raises(NotFound):
            memory.undo_feedback(id_)
    assert memory.feedbacks("tom") == []
    assert len(memory.feedbacks("mia")) == 1


def test_feedback_on_labels_moves_labels(memory: Hydra) -> None:
    moods = [("It works", "calm"), ("Broken!", "loud")] * 6
    memory.ingest(
        *({"user": "ann", "input": f"{text} {i}", "output": mood}
          for i, (text, mood) in enumerate(moods)),
        task="moods",
    )  # fmt: skip
    assert memory.settings.spec("moods").labels == ("calm", "loud")

    def told() -> dict[str, float]:
        found = memory.ask("It works 3?", user="ann", task="moods", n=0, answers_days=0)
        return {s.item.text: s.score for s in found.candidates}

    before = told()
    for i in range(6):
        answer = memory.ask(f"It works {i + 20}", user="ann", task="moods", n=0)
        with pytest.raises(UsageError, match="no label of moods"):
            memory.feedback(answer.id, edit="furious")
        given = memory.feedback(answer.id, edit="LOUD")
        assert (given.feedback.text, given.learned) == ("loud", True)
    assert told()["loud"] > before["loud"]
    for answer in memory.answers("ann"):
        memory.undo_feedback(answer.id)
    assert told() == before


# -- forgetting and travelling


def test_feedback_is_forgotten_and_travels(hydra: Hydra, tmp_path: Path) -> None:
    first, second = ask(hydra), ask(hydra, user="tom")
    hydra.feedback(first.id, edit="one")
    hydra.feedback(first.id, edit="two")
    hydra.feedback(second.id, choose=2)
    hydra.export(tmp_path / "all.zip")
    reached = scores(hydra)
    assert hydra.would_forget("mia").feedback == 1
    hydra.forget("mia")
    assert [said.user for said in hydra.feedbacks()] == ["tom"]
    hydra.import_archive(tmp_path / "all.zip")
    assert [said.user for said in hydra.feedbacks()] == ["tom"], "what is forgotten stays so"
    with Hydra.in_memory(encoder=HashEncoder(), chat=ScriptedChat(script)) as other:
        other.import_archive(tmp_path / "all.zip")
        assert scores(other) == reached
        other.undo_feedback(first.id)
        assert other.history("mia")[-1].output == "one", "the words before came along"
        other.import_archive(tmp_path / "all.zip")
        assert other.feedbacks("mia")[0].text == "one", "nothing is said twice"


def test_forgetting_its_record_forgets_the_feedback(hydra: Hydra) -> None:
    start = scores(hydra)
    answer = ask(hydra)
    record = hydra.feedback(answer.id, edit="one").feedback.record
    hydra.forget("mia", record=record)
    assert hydra.feedbacks() == []
    assert scores(hydra) == start
    with pytest.raises(NotFound):
        hydra.answer(answer.id)


# -- bounds


def said(features: np.ndarray, place: int, **other: Any) -> Feedback:
    rows = tuple(map(tuple, features.tolist()))
    now = datetime.now(UTC)
    return Feedback(
        new_id("fb"), new_id("ans"), "mia", "replies", "choose", now, now, "q", "s",
        choice=place + 1, features=rows, feature_set="set", **other,
    )  # fmt: skip


def test_hostile_feedback_moves_within_bounds_and_random_feedback_hardly() -> None:
    dice = np.random.default_rng(3)
    lists = [dice.normal(size=(8, len(PRIOR))) for _ in range(100)]
    weights = np.array(PRIOR)
    length = float(np.linalg.norm(weights))

    def moved(places: list[int]) -> np.ndarray:
        heard = Heard(tuple(said(x, p) for x, p in zip(lists, places, strict=True)))
        found = moved_by(heard, "set", PRIOR)
        assert found is not None
        return np.array(found) - weights

    hostile = moved([int((x @ weights).argmin()) for x in lists])
    assert float(np.linalg.norm(hostile)) <= length * (1 + 1e-9)
    by_dice = moved([int(dice.integers(8)) for _ in lists])
    hidden = np.zeros(len(PRIOR))
    hidden[7] = 0.8
    honest = moved([int((x @ (weights + hidden)).argmax()) for x in lists])
    assert honest[7] > 0.1
    assert float(np.linalg.norm(by_dice + weights)) < length, "noise makes no preference stronger"
    assert moved_by(Heard(), "set", PRIOR) is None
    assert moved_by(Heard((said(lists[0], 1),)), "other", PRIOR) is None
