"""The simulation: what an edit teaches in each arm, and that nothing knows what comes later."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest

from hydra_cli.core.errors import DataError, ProviderError, UsageError
from hydra_cli.core.plan import AnswerPlan
from hydra_cli.core.progress import Silent
from hydra_cli.core.protocols import ChatModel, ChatRequest, Completion
from hydra_cli.core.records import Record
from hydra_cli.core.similarity import word_edits
from hydra_cli.core.tasks import PRESETS
from hydra_cli.evaluation.questions import from_store
from hydra_cli.evaluation.simulation import (
    BOTH,
    FROZEN,
    HEAD,
    RAG,
    RECORDS,
    Course,
    Simulated,
    SimulationPlan,
    courses,
    planned,
    simulate,
)
from hydra_cli.evaluation.simulation_results import (
    SimulationResult,
    simulation_mapping,
    summarize,
    verdict,
)
from hydra_cli.llm.scripted import ScriptedChat
from hydra_cli.modeling.recipes import recipe_named
from hydra_cli.models.hash_encoder import HashEncoder
from hydra_cli.store.memory import MemoryHistoryStore
from hydra_cli.workflows.evaluate import Material
from tests.evaluation.helpers import SMALL, echo_chat, material

PLAN = SimulationPlan(
    rounds=6, start=4, answering=AnswerPlan(n=4), training=replace(SMALL, llm=False)
)


def played(
    plan: SimulationPlan = PLAN, *, chat: ChatModel | None = None, data: Material | None = None
) -> Simulated:
    data = data or material("LaMP_4")
    return simulate(
        data.questions,
        data.train,
        plan,
        encoder=HashEncoder(),
        chat=chat or echo_chat(),
        recipe=recipe_named("hydra-pers"),
        progress=Silent(),
    )


def result(found: Simulated, plan: SimulationPlan = PLAN) -> SimulationResult:
    questions = material("LaMP_4").questions
    return summarize(found, questions, plan, model="scripted", draws=200, settings={})


def of(found: Simulated, arm: str) -> list[str]:
    return [one.shown for one in found.rounds if one.arm == arm]


def test_the_newest_records_are_the_rounds_and_queries_come_last() -> None:
    questions = material("LaMP_4").questions
    found, notes = courses(questions, PLAN)
    assert [len(one.rounds) for one in found] == [6] * len(found)
    assert [len(one.start) for one in found] == [4] * len(found)
    first = found[0]
    asked = [item.query for item in questions.items if item.query.user == first.user]
    assert [r.input for r in first.rounds[-2:]] == [query.text for query in asked]
    assert first.rounds[-1].output == questions.references[first.user, asked[-1].id]
    assert "were left out" in notes[0]
    everything, _ = courses(questions, replace(PLAN, start=None))
    assert everything[0].start[-4:] == first.start
    assert len(everything[0].start) > 4


def test_edits_are_those_from_what_was_shown_to_what_was_written() -> None:
    found = played()
    written = {(c.user, i): r.output for c in found.courses for i, r in enumerate(c.rounds)}
    assert len(found.rounds) == 5 * 6 * len(found.courses)
    for one in found.rounds:
        assert one.edits == word_edits(one.shown, written[one.user, one.place])
        assert one.least <= one.edits
    assert any(one.least < one.edits for one in found.rounds if one.arm == FROZEN.name)
    assert all(one.least == one.edits for one in found.rounds if one.arm == RAG.name)
    figures = result(found)
    for arm in figures.arms.values():
        assert arm.cumulative[-1] * figures.users == pytest.approx(arm.total)
        assert arm.total == sum(one.edits for one in found.rounds if one.arm == arm.arm.name)
    rag, both = figures.arms[RAG.name], figures.arms[BOTH.name]
    assert both.over_rag is not None
    assert both.over_rag.value == pytest.approx(1 - both.total / rag.total)
    assert both.over_rag.low <= both.over_rag.value <= both.over_rag.high
    assert simulation_mapping(figures)["arms"]["both"]["edits"] == both.total
    assert verdict(figures).startswith("Learning from edits takes")


def test_only_arms_with_records_show_earlier_rounds() -> None:
    chat = echo_chat()
    found = played(chat=chat)
    assert of(found, FROZEN.name) != of(found, RECORDS.name)
    for course in found.courses:
        written = {record.output for record in course.rounds}
        known = {record.output for record in course.start}
        for arm in (RAG, FROZEN, HEAD):
            shown = {r.shown for r in found.rounds if (r.arm, r.user) == (arm.name, course.user)}
            assert not shown & (written - known)
    # The echo answers with a record that it was shown.
    learned = {r.output for c in found.courses for r in c.rounds}
    assert set(of(found, RECORDS.name)) & learned


def test_no_prompt_depends_on_an_answer_or_on_what_comes_later() -> None:
    data = material("LaMP_4")
    one, other = echo_chat(), ScriptedChat(lambda request, sample: f"answer {sample}")
    played(chat=one)
    played(chat=other)
    assert one.requests == other.requests
    questions = data.questions
    last = {item.query.user: item.key for item in questions.items}
    references = {
        key: "something else" if key in last.values() else text
        for key, text in questions.references.items()
    }
    changed = echo_chat()
    found = played(
        chat=changed, data=replace(data, questions=replace(questions, references=references))
    )
    assert changed.requests == one.requests
    assert {r.shown for r in found.rounds} == {r.shown for r in played().rounds}


def test_a_plan_is_what_is_asked() -> None:
    chat, data, plan = echo_chat(), material("LaMP_4"), replace(PLAN, hostile=0.4)
    played(plan, chat=chat)
    asked = planned(
        data.questions, data.train, plan, encoder=HashEncoder(),
        recipe=recipe_named("hydra-pers"), progress=Silent(),
    )  # fmt: skip
    assert {str(request) for request in asked} == {str(request) for request in chat.requests}


def test_the_head_learns_what_saves_its_user_words() -> None:
    """Three long drafts agree with each other, and not a word of any draft is right."""
    long, short = " ".join(f"w{i}" for i in range(24)), "zig zag zog"
    found = played(chat=ScriptedChat(lambda _, sample: short if sample == 3 else long))
    assert set(of(found, FROZEN.name)) == {long}
    for course in found.courses:
        own = [one for one in found.rounds if (one.arm, one.user) == (HEAD.name, course.user)]
        assert own[0].shown == long, "nothing was heard yet"
        assert {one.shown for one in own[1:]} == {short}
    saved = result(found).arms[HEAD.name].over_frozen
    assert saved is not None
    assert saved.low > 0.2


def test_hostile_rounds_leave_no_record() -> None:
    plan = replace(PLAN, hostile=0.5)
    found = played(plan)
    hostile = [one for one in found.rounds if one.arm == "both, hostile"]
    assert {one.hostile for one in hostile} == {True, False}
    assert not any(one.hostile for one in found.rounds if one.arm == "both")
    figures = result(found, plan)
    assert figures.arms["both"].hostility is None
    cost = figures.arms["both, hostile"].hostility
    assert cost is not None
    assert math.isfinite(cost.value)
    everything = played(replace(PLAN, hostile=1.0))
    assert of(everything, "both, hostile") != of(everything, "both")
    frozen = [r for r in everything.rounds if r.arm == "frozen" and r.place == 0]
    assert [r.shown for r in everything.rounds if r.arm == "both, hostile" and r.place == 0] == [
        r.shown for r in frozen
    ]


def test_silent_rounds_leave_neither_a_record_nor_a_word() -> None:
    """Three short drafts agree; the long one is the worst, so a hostile user asks for it."""
    long, short = " ".join(f"w{i}" for i in range(24)), "zig zag zog"
    plan = replace(PLAN, hostile=1.0)
    found = played(plan, chat=ScriptedChat(lambda _, sample: long if sample == 3 else short))
    assert set(of(found, FROZEN.name)) == {short}
    assert long in of(found, "both, hostile"), "a wrong choice moves the weights"
    assert of(found, "both, silent") == of(found, FROZEN.name), "nothing was ever said"
    assert result(found, plan).arms["both, silent"].hostility is not None
    mute = played(plan)
    assert of(mute, "both, silent") == of(mute, FROZEN.name), "nothing became a record"
    assert of(mute, "both") != of(mute, FROZEN.name), "what is said shows"


def test_the_same_rounds_are_hostile_in_every_run() -> None:
    course = Course("mia", (), ())
    plan = replace(PLAN, hostile=0.2)
    found = [course.is_hostile(place, plan) for place in range(400)]
    assert found == [course.is_hostile(place, plan) for place in range(400)]
    assert 50 < sum(found) < 110


class Refusing:
    """An LLM that never answers one of the prompts."""

    name = "refusing"

    def __init__(self) -> None:
        self._inner = echo_chat()
        self._refused: object = None

    def complete(self, request: ChatRequest) -> Completion:
        return next(c for _, c in self.complete_many([request]))

    def complete_many(self, requests: Sequence[ChatRequest]) -> Iterator[tuple[int, Completion]]:
        self._refused = self._refused or requests[-1].messages
        for index, request in enumerate(requests):
            if request.messages == self._refused:
                raise ProviderError("refused")
            yield index, self._inner.complete(request)


def test_a_round_without_an_answer_counts_in_no_arm() -> None:
    found = played(chat=Refusing())
    assert found.missing == 1
    assert len(found.rounds) == 5 * (6 * len(found.courses) - 1)
    figures = result(found)
    assert not figures.complete
    assert figures.error is not None
    assert f"over {len(found.rounds) // 5} answered rounds of 6 rounds of" in verdict(figures)


def test_labels_and_short_histories_are_refused() -> None:
    with pytest.raises(UsageError, match="no words to edit"):
        played(data=material("LaMP_3"))
    with pytest.raises(DataError, match="no user of LaMP_4 has 54 records"):
        played(replace(PLAN, rounds=50))


def test_on_a_store_the_base_knows_what_users_know_at_the_start() -> None:
    task = PRESETS["LaMP_4"]
    store = MemoryHistoryStore()
    store.add(
        Record(user, str(i), task.name, f"article {user} {i}", f"headline {user} {i}")
        for user in ("mia", "tom")
        for i in range(14)
    )
    questions = from_store(store, task, hold_out=2)
    seen: list[str] = []
    recipe = recipe_named("hydra-pers")

    class Watched(type(recipe)):  # type: ignore[misc]
        def train_base(self, task, examples, histories, encoder, **options):  # type: ignore[no-untyped-def]
            seen.extend(r.output for history in histories for r in history.records)
            return super().train_base(task, examples, histories, encoder, **options)

    found = simulate(
        questions, None, PLAN, encoder=HashEncoder(), chat=echo_chat(), recipe=Watched(),
        progress=Silent(),
    )  # fmt: skip
    assert len(found.rounds) == 5 * 6 * 2
    assert any("no training users" in note for note in found.notes)
    later = {record.output for course in found.courses for record in course.rounds}
    assert not later & set(seen)
