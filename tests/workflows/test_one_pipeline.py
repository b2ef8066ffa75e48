"""``ask`` and ``eval``: the same prompt, candidates, scores and answer, on one store."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from hydra_cli.core.progress import Silent
from hydra_cli.core.protocols import ChatRequest
from hydra_cli.core.records import Candidate, Scored
from hydra_cli.core.tasks import TaskSpec
from hydra_cli.evaluation.engine import EvalPlan, run_task
from hydra_cli.evaluation.methods import parse_methods
from hydra_cli.evaluation.questions import from_store
from hydra_cli.evaluation.training import TrainingPlan
from hydra_cli.llm.scripted import ScriptedChat
from hydra_cli.modeling.recipes import recipe_named
from hydra_cli.models.hash_encoder import HashEncoder
from hydra_cli.pipeline.answering import Draft
from hydra_cli.pipeline.personalization import personalization
from hydra_cli.store.memory import MemoryHistoryStore
from hydra_cli.workflows.ask import ask, make_query
from tests.workflows.conftest import HEADLINES, MOOD, MOODS
from tests.workflows.test_fit import LABELS, RECIPE
from tests.workflows.test_fit import run as fit_store

Chosen = tuple[ChatRequest | None, list[Scored[Candidate]]]


@pytest.fixture
def chosen(monkeypatch: pytest.MonkeyPatch) -> list[Chosen]:
    """Each request with the candidates as they were ordered."""
    seen: list[Chosen] = []
    real = Draft.choose

    def choose(self: Draft, candidates: Sequence[Candidate]) -> list[Scored[Candidate]]:
        found = real(self, candidates)
        seen.append((self.request, found))
        return found

    monkeypatch.setattr(Draft, "choose", choose)
    return seen


def varied(request: ChatRequest, sample: int) -> str:
    """Another form or mood with every sample: there is something to choose."""
    topic = request.messages[-1]["content"].split()[1]
    forms = (f"The {topic}", f"WHY THE {topic.upper()} MATTERS!", f"Is the {topic} open again?")
    closed = "mood" in request.messages[0]["content"]
    return MOODS[sample % len(MOODS)] if closed else forms[sample % len(forms)]


@pytest.mark.parametrize("task", [HEADLINES, MOOD])
def test_ask_and_eval_answer_alike(
    tmp_path: Path, crowd: MemoryHistoryStore, task: TaskSpec, chosen: list[Chosen]
) -> None:
    """eval holds two records out of each user; ask finds a store without them."""
    older, chat = MemoryHistoryStore(), ScriptedChat(varied)
    for summary in crowd.users():
        older.add(crowd.records(summary.user, task=task.name)[:-2])
    fit_store(older, tmp_path, task, chat=chat)

    questions = from_store(crowd, task, hold_out=2)
    plan = EvalPlan(
        parse_methods("hydra-pers"), answering=LABELS.answering, training=TrainingPlan(llm=True)
    )
    evaluated = run_task(
        questions, None, plan, encoder=HashEncoder(), chat=chat,
        open_recipe=recipe_named, progress=Silent(),
    )  # fmt: skip
    by_eval = {repr(request): candidates for request, candidates in chosen}
    texts = {p.key: p.text for p in evaluated.collected["hydra-pers"].predictions}

    stages = set()
    for item in questions.items:
        user = item.query.user
        personal = personalization(older.weights, user, task, RECIPE, HashEncoder())
        stages.add((personal.rerank, personal.adapt))
        chosen.clear()
        answer = ask(
            make_query(item.query.text, user, task), task, store=older, encoder=HashEncoder(),
            chat=chat, personal=personal, plan=LABELS.answering,
        )  # fmt: skip
        request, candidates = chosen[-1]
        assert by_eval[repr(request)] == candidates
        assert answer.text == texts[item.key]
    assert any(adapt for _, adapt in stages), "no adapter acted: nothing was compared"
