"""Bases, heads and gates from histories, and from an LLM's answers."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from hydra_cli.core.errors import DataError
from hydra_cli.core.plan import AnswerPlan
from hydra_cli.core.progress import Silent
from hydra_cli.core.protocols import ChatRequest
from hydra_cli.core.records import Record
from hydra_cli.core.tasks import TaskSpec
from hydra_cli.modeling.recipes import recipe_named
from hydra_cli.modeling.weights import Weights, base_path, head_path
from hydra_cli.pipeline.personalization import personalization
from hydra_cli.pipeline.supervision import SupervisionPlan
from hydra_cli.store.memory import HashEncoder, MemoryHistoryStore, ScriptedChat
from hydra_cli.workflows.ask import ask, make_query
from hydra_cli.workflows.fit import FitPlan, FitReport, fit, fit_requests
from tests.workflows.conftest import HEADLINES, MOOD

RECIPE = recipe_named("hydra-pers")
LABELS = SupervisionPlan(needs=RECIPE.needs, n=3)


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
    return fit(
        store, folder, HashEncoder(), RECIPE, task,
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
        assert len(fitted.lines) >= 2
        assert 0 < fitted.bytes <= 8192  # two stages of at most 4 KiB
        head = Weights.load(head_path(tmp_path, fitted.user, task.name, RECIPE.name))
        assert (
            head.card.base == Weights.load(base_path(tmp_path, task.name, RECIPE.name)).fingerprint
        )
        assert head.card.gate["adapt"] == fitted.adapt
        assert len(head.card.held_out["outcomes"]) == 3


def test_one_user_is_fitted_on_the_frozen_base(tmp_path: Path, crowd: MemoryHistoryStore) -> None:
    progress = Silent()
    first = run(crowd, tmp_path, MOOD, plan=FitPlan(users=("u1",)), progress=progress)
    assert first.base_users == 6
    assert any("no base model yet" in note for note in progress.notes)
    before = base_path(tmp_path, "mood", RECIPE.name).read_bytes()
    second = run(crowd, tmp_path, MOOD, plan=FitPlan(users=("u2",)))
    assert second.base_users == 0
    assert base_path(tmp_path, "mood", RECIPE.name).read_bytes() == before
    assert head_path(tmp_path, "u1", "mood", RECIPE.name).is_file()
    assert head_path(tmp_path, "u2", "mood", RECIPE.name).is_file()


def test_a_new_base_drops_the_heads_that_stood_on_the_old_one(
    tmp_path: Path, crowd: MemoryHistoryStore
) -> None:
    run(crowd, tmp_path, MOOD)
    run(crowd, tmp_path, MOOD, plan=FitPlan(users=("u2",), new_base=True, without=("u5",)))
    assert head_path(tmp_path, "u2", "mood", RECIPE.name).is_file()
    assert not head_path(tmp_path, "u1", "mood", RECIPE.name).exists()


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path, crowd: MemoryHistoryStore) -> None:
    run(crowd, tmp_path / "a", HEADLINES)
    run(crowd, tmp_path / "b", HEADLINES)
    for user in ("u0", "u3"):
        first, second = (
            head_path(tmp_path / name, user, "headlines", RECIPE.name).read_bytes() for name in "ab"
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
        base_path(Path(), "mood", RECIPE.name),
        head_path(Path(), "u1", "mood", RECIPE.name),
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
        crowd, HashEncoder(), HEADLINES, recipe=RECIPE, base_exists=False, plan=plan,
        labels=replace(LABELS, answers=True), progress=Silent(),
    )  # fmt: skip
    expected = sum(len(requests) for requests in told.values())
    made = len({json.dumps([r.messages, asdict(r.sampling)]) for r in chat.requests})
    assert 0.7 * expected <= made <= expected  # equal prompts are paid once
    assert report.usage.calls == len(chat.requests)
    assert report.supervision == "llm (scripted)"


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
    assert (fitted.rerank, fitted.adapt) == (False, False)
    assert "records off" in fitted.lines[2]
    used = personalization(tmp_path, "u1", HEADLINES, RECIPE, HashEncoder())
    assert used.stages["records"].startswith("off: gain -")
    query = make_query("the tram", "u1", HEADLINES)
    chat = ScriptedChat(answer)
    found = ask(
        query, HEADLINES, store=crowd, encoder=HashEncoder(), chat=chat,
        personal=used, plan=AnswerPlan(),
    )  # fmt: skip
    assert found.text == "fine"
    assert found.evidence == ()
    assert [r.sampling.n for r in chat.requests] == [1]
