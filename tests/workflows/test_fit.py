"""Bases, heads and gates from histories, and from an LLM's answers."""

from __future__ import annotations

import json
import random
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from hydra_cli.core.errors import DataError
from hydra_cli.core.plan import AnswerPlan
from hydra_cli.core.progress import Silent
from hydra_cli.core.protocols import ChatRequest
from hydra_cli.core.records import Record
from hydra_cli.core.tasks import TaskSpec
from hydra_cli.core.weights import Weights
from hydra_cli.llm.scripted import ScriptedChat
from hydra_cli.modeling.recipes import recipe_named
from hydra_cli.models.hash_encoder import HashEncoder
from hydra_cli.pipeline.personalization import personalization
from hydra_cli.pipeline.supervision import SupervisionPlan
from hydra_cli.store.folder import StoreFolder
from hydra_cli.store.memory import MemoryHistoryStore
from hydra_cli.workflows.ask import ask, make_query
from hydra_cli.workflows.fit import FitPlan, FitReport, fit, fit_requests
from tests.workflows.conftest import HEADLINES, MOOD, weights_in

RECIPE = recipe_named("hydra-pers")
FIRST_RELEASE = Path(__file__).parents[1] / "data" / "first_release"
LABELS = SupervisionPlan(needs=RECIPE.needs, lone=True, answering=AnswerPlan(n=3))


def run(
    store: MemoryHistoryStore,
    folder: Path,
    task: TaskSpec,
    *,
    plan: FitPlan | None = None,
    chat: ScriptedChat | None = None,
    progress: Silent | None = None,
) -> FitReport:
    labels = replace(LABELS, answers=chat is not None)
    store.weights = weights_in(folder)
    return fit(
        store, HashEncoder(), RECIPE, task,
        plan=plan or FitPlan(), labels=labels, chat=chat, progress=progress or Silent(),
    )  # fmt: skip


@pytest.mark.parametrize("task", [HEADLINES, MOOD])
def test_everyone_gets_a_small_head_and_a_verdict(
    tmp_path: Path, crowd: MemoryHistoryStore, task: TaskSpec
) -> None:
    report = run(crowd, tmp_path, task)
    assert report.base_users == 6
    assert [f.user for f in report.fitted] == [f"u{i}" for i in range(6)]
    for fitted in report.fitted:
        assert fitted.examples == 9  # 12 records, a quarter held out
        # A text's stages are judged by the LLM's answers alone.
        assert fitted.gate.own == (3 if task.closed else 0)
        assert 0 < fitted.bytes <= 8192  # two stages of at most 4 KiB
        head = Weights.load(StoreFolder(tmp_path).head_file(fitted.user, task.name, RECIPE.name))
        assert (
            head.card.base
            == Weights.load(StoreFolder(tmp_path).base_file(task.name, RECIPE.name)).fingerprint
        )
        assert head.card.gate == fitted.gate.card
        assert len(head.card.held_out["outcomes"]) == 3


def test_one_user_is_fitted_on_the_frozen_base(tmp_path: Path, crowd: MemoryHistoryStore) -> None:
    progress = Silent()
    first = run(crowd, tmp_path, MOOD, plan=FitPlan(users=("u1",)), progress=progress)
    assert first.base_users == 6
    assert any("no base model yet" in note for note in progress.notes)
    before = StoreFolder(tmp_path).base_file("mood", RECIPE.name).read_bytes()
    second = run(crowd, tmp_path, MOOD, plan=FitPlan(users=("u2",)))
    assert second.base_users == 0
    assert StoreFolder(tmp_path).base_file("mood", RECIPE.name).read_bytes() == before
    assert StoreFolder(tmp_path).head_file("u1", "mood", RECIPE.name).is_file()
    assert StoreFolder(tmp_path).head_file("u2", "mood", RECIPE.name).is_file()


def test_a_new_base_drops_the_heads_that_stood_on_the_old_one(
    tmp_path: Path, crowd: MemoryHistoryStore
) -> None:
    run(crowd, tmp_path, MOOD)
    run(crowd, tmp_path, MOOD, plan=FitPlan(users=("u2",), new_base=True, without=("u5",)))
    assert StoreFolder(tmp_path).head_file("u2", "mood", RECIPE.name).is_file()
    assert not StoreFolder(tmp_path).head_file("u1", "mood", RECIPE.name).exists()


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path, crowd: MemoryHistoryStore) -> None:
    run(crowd, tmp_path / "a", HEADLINES)
    run(crowd, tmp_path / "b", HEADLINES)
    for user in ("u0", "u3"):
        first, second = (
            StoreFolder(tmp_path / name).head_file(user, "headlines", RECIPE.name).read_bytes()
            for name in "ab"
        )
        assert first == second


def test_held_out_outputs_reach_neither_base_nor_head(
    tmp_path: Path, crowd: MemoryHistoryStore
) -> None:
    """Other held-out outputs change the verdict only, never a weight."""
    changed = MemoryHistoryStore()
    for summary in crowd.users():
        own = crowd.records(summary.user, task="mood")
        changed.add(own[:9] + [replace(record, output="loud") for record in own[9:]])
    run(crowd, tmp_path / "a", MOOD)
    run(changed, tmp_path / "b", MOOD)
    for name in (
        StoreFolder(Path()).base_file("mood", RECIPE.name),
        StoreFolder(Path()).head_file("u1", "mood", RECIPE.name),
    ):
        first, second = (Weights.load(tmp_path / folder / name) for folder in "ab")
        assert first.fingerprint == second.fingerprint


def test_llm_labels_are_counted_as_the_dry_run_says(
    tmp_path: Path, crowd: MemoryHistoryStore
) -> None:
    plan = FitPlan(per_user=2, held_out=1)
    chat = ScriptedChat(lambda request, i: f"answer {i}")
    report = run(crowd, tmp_path, HEADLINES, plan=plan, chat=chat)
    told = fit_requests(
        crowd, HashEncoder(), HEADLINES, recipe=RECIPE, base=None, evidence="scripted", plan=plan,
        labels=replace(LABELS, answers=True), progress=Silent(),
    )  # fmt: skip
    expected = sum(len(requests) for requests in told.values())
    made = len({json.dumps([r.messages, asdict(r.sampling)]) for r in chat.requests})
    assert 0.7 * expected <= made <= expected  # equal prompts are paid once
    assert report.usage.calls == len(chat.requests)
    assert report.evidence == "scripted"


def test_too_little_history_is_said(tmp_path: Path) -> None:
    store = MemoryHistoryStore()
    store.add([Record("u", "1", "mood", "a", "calm")])
    with pytest.raises(DataError, match="4 records"):
        run(store, tmp_path, MOOD)
    assert not list(tmp_path.rglob("*.safetensors"))


def test_where_the_plain_prompt_wins_no_record_is_shown(
    tmp_path: Path, crowd: MemoryHistoryStore
) -> None:
    """An LLM that is misled by any record: fit finds out, and ask leaves them out."""
    truth = {
        r.input: r.output for s in crowd.users() for r in crowd.records(s.user, task="headlines")
    }

    def answer(request: ChatRequest, sample: int) -> str:
        if any(message["role"] == "assistant" for message in request.messages):
            return "misled"
        asked = request.messages[-1]["content"]
        return next((out for text, out in truth.items() if asked.endswith(text)), "fine")

    report = run(crowd, tmp_path, HEADLINES, chat=ScriptedChat(answer))
    fitted = report.fitted[1]
    assert (fitted.gate.rerank, fitted.gate.adapt) == (False, False)
    used = personalization(weights_in(tmp_path), "u1", HEADLINES, RECIPE, HashEncoder())
    assert used.standing.gate.verdicts["records"].code == "harmful"
    query = make_query("the tram", "u1", HEADLINES)
    chat = ScriptedChat(answer)
    found = ask(
        query, HEADLINES, store=crowd, encoder=HashEncoder(), chat=chat,
        personal=used, plan=AnswerPlan(),
    )  # fmt: skip
    assert found.text == "fine"
    assert found.evidence == ()
    assert [r.sampling.n for r in chat.requests] == [1]


def chat_of(crowd: MemoryHistoryStore) -> ScriptedChat:
    """Answers with the last record shown, or a word."""

    def answer(request: ChatRequest, sample: int) -> str:
        said = [m["content"] for m in request.messages if m["role"] == "assistant"]
        return said[-1 - sample % len(said)] if said else "calm"

    return ScriptedChat(answer)


@pytest.mark.parametrize("task", [HEADLINES, MOOD])
def test_asking_an_llm_later_keeps_the_others_evidence(
    tmp_path: Path, crowd: MemoryHistoryStore, task: TaskSpec
) -> None:
    """The base was judged without an LLM: it is judged anew, its weights stay."""
    run(crowd, tmp_path, task)
    path = StoreFolder(tmp_path).base_file(task.name, RECIPE.name)
    before = Weights.load(path)
    report = run(crowd, tmp_path, task, plan=FitPlan(users=("u1",)), chat=chat_of(crowd))
    assert (report.base_users, report.judged_users) == (0, 6)
    gain = report.fitted[0].gate.verdicts["adapt"].gain
    assert gain is not None
    assert (gain.own, gain.others) == (3, 15)
    after = Weights.load(path)
    assert after.fingerprint == before.fingerprint
    assert set(after.card.held_out["evidence"]) == {"history", "scripted"}
    personalization(
        weights_in(tmp_path), "u2", task, RECIPE, HashEncoder()
    )  # an older head still opens
    chat = chat_of(crowd)
    again = run(crowd, tmp_path, task, plan=FitPlan(users=("u2",)), chat=chat)
    assert again.judged_users == 0
    assert {request.user for request in chat.requests} == {"u2"}


def test_a_users_own_records_never_count_as_anothers(
    tmp_path: Path, crowd: MemoryHistoryStore
) -> None:
    for _ in range(2):
        report = run(crowd, tmp_path, MOOD, plan=FitPlan(users=("u1",)))
        gain = report.fitted[0].gate.verdicts["adapt"].gain
        assert gain is not None
        assert (gain.own, gain.others) == (3, 15)  # six users, three records each, less the own
    assert b"u1" not in StoreFolder(tmp_path).base_file("mood", RECIPE.name).read_bytes()


def test_equal_inputs_are_never_on_both_sides_of_the_split() -> None:
    from hydra_cli.pipeline.contexts import encode_records
    from hydra_cli.pipeline.fitting import split

    texts = ["a a", "b b", "c c", "d d", "e e", "A  a", "f f", "b b"]
    records = [Record("u", str(i), "mood", text, "calm") for i, text in enumerate(texts)]
    history = encode_records(HashEncoder(), MOOD, "u", records)
    found = split(history, MOOD, FitPlan())
    assert [e.context.query.id for e in found.held] == ["6", "7"]
    assert [r.id for r in found.past.records] == ["0", "2", "3", "4", "5"]


@pytest.mark.parametrize("task", [HEADLINES, MOOD])
@pytest.mark.parametrize("llm", [False, True])
def test_eval_on_a_store_fits_what_fit_would(
    tmp_path: Path, crowd: MemoryHistoryStore, task: TaskSpec, llm: bool
) -> None:
    """eval holds two records out of each user; fit finds a store without them."""
    from hydra_cli.evaluation.conditions import Conditions
    from hydra_cli.evaluation.methods import METHODS
    from hydra_cli.evaluation.questions import build_contexts, from_store
    from hydra_cli.evaluation.training import (
        TrainingPlan,
        fit_users,
        labels_for,
        train,
        training_set,
    )

    older = MemoryHistoryStore()
    for summary in crowd.users():
        older.add(crowd.records(summary.user, task=task.name)[:-2])
    chat = chat_of(crowd)
    fitted = run(older, tmp_path, task, chat=chat if llm else None)
    assert fitted.base_users == 6

    questions = from_store(crowd, task, hold_out=2)
    plan, use = TrainingPlan(llm=llm), METHODS["hydra-pers"].use
    assert use is not None
    setting = Conditions(task, LABELS.answering)
    material = training_set(None, questions, HashEncoder(), plan)
    trained = train(
        RECIPE, material, labels_for(RECIPE, setting, plan), HashEncoder(), chat,
        gated=True, plan=plan, seed=0, progress=Silent(),
    )  # fmt: skip
    _, histories = build_contexts(questions, HashEncoder())
    fits = fit_users(
        trained, questions.task, histories, HashEncoder(), chat,
        fitted=True, gated=True, plan=plan, seed=0, progress=Silent(),
    )  # fmt: skip
    trained.base.save(tmp_path / "eval-base")
    stored = StoreFolder(tmp_path).base_file(task.name, RECIPE.name)
    assert (tmp_path / "eval-base").read_bytes() == stored.read_bytes()
    for user, head in fits.heads.items():
        head.save(tmp_path / "eval-head")
        stored = StoreFolder(tmp_path).head_file(user, task.name, RECIPE.name)
        assert (tmp_path / "eval-head").read_bytes() == stored.read_bytes()
    assert len(fits.heads) == 6


def test_a_recipe_answers_on_its_own_first_stage(tmp_path: Path, crowd: MemoryHistoryStore) -> None:
    from hydra_cli.pipeline.answering import draft
    from hydra_cli.pipeline.contexts import load_context

    hydra = recipe_named("hydra")
    personal = personalization(weights_in(tmp_path), "u1", MOOD, hydra, HashEncoder())
    query = make_query("the tram", "u1", MOOD)
    context = load_context(crowd, HashEncoder(), MOOD, query)
    drafted = draft(context, MOOD, personal, AnswerPlan(k=2))
    assert (drafted.plan.retriever, drafted.plan.shortlist, drafted.plan.k) == ("bm25", 10, 2)


def test_base_and_heads_of_the_first_release_open_and_are_judged_anew(
    tmp_path: Path, crowd: MemoryHistoryStore
) -> None:
    """Made by 0.1: sentences in the cards, nobody's outcomes told apart."""
    shutil.copytree(FIRST_RELEASE, tmp_path, dirs_exist_ok=True)
    used = personalization(weights_in(tmp_path), "u1", MOOD, RECIPE, HashEncoder())
    head = Weights.load(StoreFolder(tmp_path).head_file("u1", "mood", RECIPE.name))
    assert used.standing.source == "head"
    assert "adapt_reason" in head.card.gate
    assert used.adapt == head.card.gate["adapt"]
    assert not used.rerank, "its records alone had judged it"
    before = Weights.load(StoreFolder(tmp_path).base_file("mood", RECIPE.name))
    report = run(crowd, tmp_path, MOOD, plan=FitPlan(users=("u2",)))
    assert report.base_users == 0
    gain = report.fitted[0].gate.verdicts["adapt"].gain
    assert gain is not None
    assert (gain.own, gain.others) == (3, 15)
    after = Weights.load(StoreFolder(tmp_path).base_file("mood", RECIPE.name))
    assert after.fingerprint == before.fingerprint
    assert (
        personalization(weights_in(tmp_path), "u1", MOOD, RECIPE, HashEncoder()).standing.source
        == "head"
    )


def test_labels_that_follow_the_user_alone_are_asked_of_nobody(
    tmp_path: Path, crowd: MemoryHistoryStore
) -> None:
    """An LLM that knows nothing of the moods: its answers aren't worth their calls."""
    chat = ScriptedChat(lambda request, i: MOOD.labels[(len(request.messages) + i) % 4])
    report = run(crowd, tmp_path, MOOD, chat=chat)
    assert report.base_gate.n == 0
    used = personalization(weights_in(tmp_path), "u1", MOOD, RECIPE, HashEncoder())
    assert used.n == report.fitted[1].gate.n
    quality = report.base_gate.quality["others"]
    assert {"adapt0", "adapt1", "rerank+adapt1", "majority", "knn", "rag"} <= set(quality)
    assert all(request.sampling.n == 1 for request in chat.requests), "more were no question"


def test_an_llm_that_knows_the_label_is_asked_once(
    tmp_path: Path, crowd: MemoryHistoryStore
) -> None:
    draw, store = random.Random(0), MemoryHistoryStore()
    for summary in crowd.users():
        own = crowd.records(summary.user, task="mood")
        store.add([replace(record, output=draw.choice(MOOD.labels)) for record in own])
    truth = {r.input: r.output for s in store.users() for r in store.records(s.user, task="mood")}

    def answer(request: ChatRequest, sample: int) -> str:
        asked = request.messages[-1]["content"]
        return next((out for text, out in truth.items() if text in asked), "calm")

    report = run(store, tmp_path, MOOD, chat=ScriptedChat(answer))
    assert report.base_gate.n == 1
    assert "adapt" in {k.removeprefix("rerank+") for k in report.base_gate.quality["others"]}
    chat = ScriptedChat(answer)
    found = ask(
        make_query("the tram on day 11 was seen by person 1", "u1", MOOD), MOOD,
        store=store, encoder=HashEncoder(), chat=chat,
        personal=personalization(weights_in(tmp_path), "u1", MOOD, RECIPE, HashEncoder()),
        plan=AnswerPlan(),
    )  # fmt: skip
    assert [request.sampling.n for request in chat.requests] == [1]
    assert found.text in MOOD.labels


def misled(request: ChatRequest, sample: int) -> str:
    """Right for the likeliest answer, nonsense for every draw: choosing among draws only harms."""
    if request.sampling.temperature:
        return f"nonsense {sample}"
    said = [m["content"] for m in request.messages if m["role"] == "assistant"]
    return said[-1] if said else "nothing"


def test_a_fit_that_asks_no_llm_keeps_what_one_told(
    tmp_path: Path, crowd: MemoryHistoryStore
) -> None:
    asked = run(crowd, tmp_path, HEADLINES, chat=ScriptedChat(misled))
    before = [one.gate for one in asked.fitted]
    assert not any(gate.adapt for gate in [*before, asked.base_gate])
    again = run(crowd, tmp_path, HEADLINES)
    assert (again.evidence, again.asked) == ("scripted", False)
    assert [one.gate for one in again.fitted] == before
    one = run(crowd, tmp_path, HEADLINES, plan=FitPlan(users=("u3",)))
    assert one.fitted[0].gate == before[3]


def test_a_new_base_of_the_same_kind_keeps_it_too_and_forgets_who_is_gone(
    tmp_path: Path, crowd: MemoryHistoryStore
) -> None:
    run(crowd, tmp_path, HEADLINES, chat=ScriptedChat(misled))
    left = MemoryHistoryStore()
    for user in ("u0", "u1", "u2", "u3", "u4"):
        left.add(crowd.records(user, task="headlines"))
    anew = run(left, tmp_path, HEADLINES, plan=FitPlan(new_base=True))
    assert (anew.base_users, anew.judged_users, anew.evidence) == (5, 0, "scripted")
    gain = anew.fitted[1].gate.verdicts["adapt"].gain
    assert gain is not None
    assert not anew.fitted[1].gate.adapt
    assert (gain.own, gain.others) == (3, 12)
    base = Weights.load(StoreFolder(tmp_path).base_file("headlines", RECIPE.name))
    assert base.card.gate["adapt"] is False
    asked = run(left, tmp_path, HEADLINES, chat=ScriptedChat(misled))
    assert (asked.base_users, asked.judged_users) == (0, 5), "the new base was not judged itself"
    assert run(left, tmp_path, HEADLINES, chat=ScriptedChat(misled)).judged_users == 0


def test_histories_cost_no_call_and_are_taken_of_more_users() -> None:
    from hydra_cli.pipeline.fitting import trainers

    counts = [(f"u{i:03}", 50) for i in range(400)]
    assert len(trainers(counts, FitPlan())) == 300
    assert len(trainers(counts, FitPlan(history_users=0))) == 100, "no fewer than those asked about"
    assert len(trainers([(user, 1000) for user, _ in counts], FitPlan())) == 100
    assert len(trainers([(user, 150) for user, _ in counts], FitPlan())) == 133, "20,000 records"
    assert trainers(counts, FitPlan(train_users=1), without=["u001"]) == ["u000", "u002", "u003"]


def test_an_llm_is_asked_about_the_first_of_them_alone(
    tmp_path: Path, crowd: MemoryHistoryStore
) -> None:
    chat = chat_of(crowd)
    plan = FitPlan(train_users=2, users=("u0",))
    report = run(crowd, tmp_path, MOOD, plan=plan, chat=chat)
    assert report.base_users == 6
    assert {request.user for request in chat.requests} == {"u0", "u1"}
    assert report.base_gate.others == 6  # three held-out records of each
    free = run(crowd, tmp_path / "free", MOOD, plan=plan)
    assert free.base_gate.others == 18


@pytest.mark.parametrize("task", [HEADLINES, MOOD])
def test_eval_on_a_store_trains_on_no_record_that_it_judges_by(
    crowd: MemoryHistoryStore, task: TaskSpec
) -> None:
    from hydra_cli.evaluation.questions import from_store
    from hydra_cli.evaluation.training import TrainingPlan, training_set

    questions = from_store(crowd, task, hold_out=3)
    judged = {(user, query) for user, query in questions.references}
    material = training_set(None, questions, HashEncoder(), TrainingPlan())
    trained = {(one.user, record.id) for one in material.splits for record in one.history.records}
    assert len(judged) == 18
    assert len(trained) == 6 * 9
    assert not judged & trained
