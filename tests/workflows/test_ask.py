"""One query through the whole flow, with the real default recipe."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from hydra_cli.core.errors import ModelError, NotFound, UsageError
from hydra_cli.core.plan import AnswerPlan
from hydra_cli.core.progress import Silent
from hydra_cli.core.records import Record
from hydra_cli.llm.scripted import ScriptedChat
from hydra_cli.modeling.recipes import recipe_named
from hydra_cli.models.hash_encoder import HashEncoder
from hydra_cli.pipeline.personalization import Personalization, personalization
from hydra_cli.pipeline.supervision import SupervisionPlan
from hydra_cli.store.folder import StoreFolder
from hydra_cli.store.memory import MemoryHistoryStore
from hydra_cli.workflows.ask import ask, draft_query, make_query
from hydra_cli.workflows.choosing import choose_task, choose_user
from hydra_cli.workflows.fit import FitPlan, fit
from tests.workflows.conftest import HEADLINES, MOOD, MOODS, weights_in

PLAN = AnswerPlan(k=3, n=5)


def personal(tmp_path: Path, encoder: HashEncoder, user: str = "u1") -> Personalization:
    return personalization(
        weights_in(tmp_path), user, HEADLINES, recipe_named("hydra-pers"), encoder
    )


def test_ask_returns_one_of_the_answers_with_all_that_led_to_it(
    tmp_path: Path, crowd: MemoryHistoryStore, encoder: HashEncoder
) -> None:
    chat = ScriptedChat(lambda request, i: ("tram news", "Is the tram late?", "x", "y", "z")[i])
    query = make_query("the tram on day 40", "u1", HEADLINES)
    answer = ask(
        query, HEADLINES, store=crowd, encoder=encoder, chat=chat,
        personal=personal(tmp_path, encoder), plan=PLAN,
    )  # fmt: skip
    assert answer.text in ("tram news", "Is the tram late?", "x", "y", "z")
    assert sorted(s.item.sample or 0 for s in answer.candidates) == [0, 1, 2, 3, 4]
    scores = [s.score for s in answer.candidates]
    assert scores == sorted(scores, reverse=True)
    assert len(answer.evidence) == 3
    assert {s.item.user for s in answer.evidence} == {"u1"}
    assert set(answer.seconds) == {"retrieve", "rerank", "generate", "adapt"}
    assert answer.standing.source == "built-in"
    assert chat.requests[0].sampling.n == 5


def test_a_closed_task_answers_with_a_label_even_where_the_llm_says_none(
    tmp_path: Path, crowd: MemoryHistoryStore, encoder: HashEncoder
) -> None:
    chat = ScriptedChat(lambda request, i: "I can't say")
    used = personalization(weights_in(tmp_path), "u2", MOOD, recipe_named("hydra-pers"), encoder)
    query = make_query("the river on day 3", "u2", MOOD)
    answer = ask(
        query, MOOD, store=crowd, encoder=encoder, chat=chat, personal=used, plan=PLAN
    )  # fmt: skip
    assert answer.text == "sad"  # u2's usual mood
    assert {s.item.text for s in answer.candidates} == set(MOODS)


def test_with_every_stage_off_one_greedy_rag_answer_comes_back(
    tmp_path: Path, crowd: MemoryHistoryStore, encoder: HashEncoder
) -> None:
    chat = ScriptedChat(lambda request, i: "the answer")
    off = replace(personal(tmp_path, encoder), rerank=False, adapt=False)
    query = make_query("the tram", "u1", HEADLINES)
    answer = ask(
        query, HEADLINES, store=crowd, encoder=encoder, chat=chat, personal=off, plan=PLAN
    )  # fmt: skip
    assert answer.text == "the answer"
    assert (chat.requests[0].sampling.n, chat.requests[0].sampling.temperature) == (1, 0.0)


def test_sequential_asks_for_fewer_answers_where_all_say_the_same(
    tmp_path: Path, crowd: MemoryHistoryStore, encoder: HashEncoder
) -> None:
    query = make_query("the tram", "u1", HEADLINES)
    plan = replace(PLAN, n=8, sequential=True)
    for text, most in ((lambda request, i: "the same", 2), (lambda request, i: f"tram {i}", 8)):
        chat = ScriptedChat(text)
        answer = ask(
            query, HEADLINES, store=crowd, encoder=encoder, chat=chat,
            personal=personal(tmp_path, encoder), plan=plan,
        )  # fmt: skip
        assert len(answer.details["answers"]) <= most
        assert answer.usage.calls == len(chat.requests)
    assert len(answer.details["answers"]) > 2


def test_prompt_can_be_seen_without_sending_it(
    tmp_path: Path, crowd: MemoryHistoryStore, encoder: HashEncoder
) -> None:
    query = make_query("the tram", "u1", HEADLINES)
    drafted = draft_query(
        query, HEADLINES, store=crowd, encoder=encoder,
        personal=personal(tmp_path, encoder), plan=PLAN,
    )  # fmt: skip
    messages = drafted.request.messages
    assert [m["role"] for m in messages] == ["system", *["user", "assistant"] * 3, "user"]


def test_k_beyond_the_history_shows_all_of_it(tmp_path: Path, encoder: HashEncoder) -> None:
    store = MemoryHistoryStore()
    store.add([Record("solo", "1", "headlines", "the tram", "tram!")])
    chat = ScriptedChat(lambda request, i: "text")
    query = make_query("the tram", "solo", HEADLINES)
    answer = ask(
        query, HEADLINES, store=store, encoder=encoder, chat=chat,
        personal=personal(tmp_path, encoder, "solo"), plan=replace(PLAN, k=50),
    )  # fmt: skip
    assert [s.item.id for s in answer.evidence] == ["1"]


def test_user_and_task_are_chosen_or_refused_clearly(crowd: MemoryHistoryStore) -> None:
    solo = MemoryHistoryStore()
    solo.add([Record("only", "1", "mood", "a", "calm")])
    assert choose_user(solo, None) == "only"
    assert choose_task(solo, "only", None) == "mood"
    with pytest.raises(UsageError, match="6 users"):
        choose_user(crowd, None)
    with pytest.raises(NotFound, match="no records of user") as caught:
        choose_user(crowd, "u11")
    assert "u1" in (caught.value.hint or "")
    with pytest.raises(NotFound, match="no records of user"):
        choose_user(crowd, "../../x")
    with pytest.raises(NotFound, match="no records of task"):
        choose_task(crowd, "u1", "LaMP_4")
    with pytest.raises(NotFound, match="no records"):
        choose_user(MemoryHistoryStore(), None)
    with pytest.raises(UsageError, match="empty"):
        make_query("   ", "u1", HEADLINES)


def test_a_head_for_another_base_and_a_damaged_file_are_refused(
    tmp_path: Path, crowd: MemoryHistoryStore, encoder: HashEncoder
) -> None:
    recipe = recipe_named("hydra-pers")
    for folder, without in ((tmp_path / "a", ()), (tmp_path / "b", ("u5",))):
        crowd.weights = weights_in(folder)
        fit(
            crowd, encoder, recipe, HEADLINES,
            plan=FitPlan(without=without),
            labels=SupervisionPlan(needs=recipe.needs), chat=None, progress=Silent(),
        )  # fmt: skip
    foreign = StoreFolder(tmp_path / "b").head_file("u1", "headlines", recipe.name)
    own = StoreFolder(tmp_path / "a").head_file("u1", "headlines", recipe.name)
    own.write_bytes(foreign.read_bytes())
    with pytest.raises(ModelError, match="another base"):
        personalization(weights_in(tmp_path / "a"), "u1", HEADLINES, recipe, encoder)
    base = StoreFolder(tmp_path / "a").base_file("headlines", recipe.name)
    base.write_bytes(base.read_bytes()[:-40])
    with pytest.raises(ModelError, match="damaged"):
        personalization(weights_in(tmp_path / "a"), "u1", HEADLINES, recipe, encoder)
    with pytest.raises(ModelError, match="another encoder"):
        personalization(weights_in(tmp_path / "b"), "u1", HEADLINES, recipe, HashEncoder(32))


def test_where_answers_win_nothing_no_llm_is_asked(
    tmp_path: Path, crowd: MemoryHistoryStore, encoder: HashEncoder
) -> None:
    """The gate's n holds where nobody says otherwise; the plan's comes first."""
    chat = ScriptedChat(lambda request, i: "loud")
    found = personalization(weights_in(tmp_path), "u2", MOOD, recipe_named("hydra-pers"), encoder)
    query = make_query("the river on day 3", "u2", MOOD)

    def texts(used: Personalization, plan: AnswerPlan) -> tuple[str, list[int]]:
        chat.requests.clear()
        answer = ask(query, MOOD, store=crowd, encoder=encoder, chat=chat, personal=used, plan=plan)
        assert answer.details["model"] == ("scripted" if chat.requests else None)
        return answer.text, [request.sampling.n for request in chat.requests]

    assert texts(replace(found, n=0), AnswerPlan()) == ("sad", [])
    assert texts(replace(found, n=0), AnswerPlan(n=3))[1] == [3]
    assert texts(replace(found, n=0, control="knn"), AnswerPlan())[1] == []
    assert texts(replace(found, n=8), AnswerPlan(n=0)) == ("sad", [])
    assert texts(found, AnswerPlan())[1] == [1], "one vote while nobody has judged more"
    assert texts(replace(found, n=8), AnswerPlan(sequential=True))[1] == [2]


def test_a_control_answers_where_the_gate_found_it_ahead(
    tmp_path: Path, crowd: MemoryHistoryStore, encoder: HashEncoder
) -> None:
    chat = ScriptedChat(lambda request, i: "loud")
    used = personalization(weights_in(tmp_path), "u2", MOOD, recipe_named("hydra-pers"), encoder)
    query = make_query("the river on day 3", "u2", MOOD)
    answer = ask(
        query, MOOD, store=crowd, encoder=encoder, chat=chat,
        personal=replace(used, n=0, control="majority"), plan=AnswerPlan(),
    )  # fmt: skip
    assert [scored.item.text for scored in answer.candidates] == ["sad"]


def test_free_text_needs_an_answer(
    tmp_path: Path, crowd: MemoryHistoryStore, encoder: HashEncoder
) -> None:
    query = make_query("the tram", "u1", HEADLINES)
    with pytest.raises(UsageError, match="without an LLM"):
        ask(
            query, HEADLINES, store=crowd, encoder=encoder, chat=ScriptedChat(lambda r, i: "x"),
            personal=personal(tmp_path, encoder), plan=AnswerPlan(n=0),
        )  # fmt: skip
