"""Whole runs over the tiny data: figures, sharing of calls, leakage, failures."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from hydra_cli.core.errors import BudgetExceeded, ModelError, ProviderError
from hydra_cli.core.protocols import ChatRequest, Completion
from hydra_cli.core.records import Usage
from hydra_cli.evaluation import questions as questions_module
from hydra_cli.evaluation.as_json import predictions_mapping, suite_mapping, task_mapping
from hydra_cli.evaluation.asking import Price, alone
from hydra_cli.llm.scripted import ScriptedChat
from tests.evaluation.helpers import CONTROLS, PROMPT_ONLY, echo, echo_chat, material, run

TASKS = ("LaMP_2N", "LaMP_2M", "LaMP_3", "LaMP_4", "LaMP_5")
PERSONALIZED = "rerank,adapt,hydra-pers,hydra-pers-zero"


@pytest.mark.parametrize("task", TASKS)
def test_every_method_answers_every_query(task: str) -> None:
    result = run(task, f"{PROMPT_ONLY},{PERSONALIZED},{CONTROLS}")
    assert result.queries == 11
    assert result.users == 6
    assert result.complete
    for method in result.methods.values():
        assert method.queries == 11
        assert method.gain is not None
        for name, (low, high) in method.intervals.items():
            assert low - 1e-9 <= method.metrics[name] <= high + 1e-9
    best = result.methods[result.best_prompt_based or ""]
    assert best.family == "prompt"
    assert best.gain is not None
    assert (best.gain.value, best.gain.low, best.gain.high) == (0.0, 0.0, 0.0)
    if result.kind == "generation":
        assert result.methods["oracle"].quality >= result.methods["consensus"].quality
    assert result.methods["oracle"].quality >= result.methods["random-of-n"].quality


def test_the_perfect_method_scores_perfectly_and_a_wrong_one_not_at_all() -> None:
    data = material("LaMP_4")
    by_text = {
        " ".join(item.query.text.split()): data.questions.references[item.key]
        for item in data.questions.items
    }
    chat = ScriptedChat(lambda request, i: by_text[request.messages[-1]["content"]])
    result = run("LaMP_4", "zero-shot", chat=chat, data=data)
    assert result.methods["zero-shot"].metrics["ROUGE-L"] == 1.0
    wrong = run("LaMP_4", "zero-shot", chat=ScriptedChat(lambda r, i: "zzz"), data=data)
    assert wrong.methods["zero-shot"].metrics["ROUGE-L"] == 0.0


def test_equal_calls_are_made_once() -> None:
    chat = echo_chat()
    result = run("LaMP_4", "random-of-n,consensus,oracle,rag-fused", chat=chat)
    assert len(chat.requests) == 2 * 11
    for name in ("random-of-n", "consensus", "oracle"):
        usage = result.methods[name].usage
        assert usage.calls + usage.cached_calls == 11
    assert result.used.calls == 22
    shared = [result.methods[name].usage.cached_calls for name in ("consensus", "oracle")]
    assert shared == [11, 11]


@pytest.mark.parametrize("price", [None, lambda prompt, answer: 0.01 * (prompt + answer)])
def test_a_cached_call_counts_as_when_it_was_made(price: Price | None) -> None:
    made = Usage(calls=1, prompt_tokens=90, completion_tokens=10, cost=1.0, seconds=3.0)
    kept = Usage(cached_calls=1, prompt_tokens=90, completion_tokens=10, saved_seconds=3.0)
    assert alone(made, price) == made
    assert alone(kept, price).seconds == alone(made, price).seconds
    assert alone(kept, price).cost == (0.0 if price is None else 1.0)


def test_a_greedy_method_is_asked_for_one_seed_alone() -> None:
    chat = echo_chat()
    result = run("LaMP_4", "rag-fused,random-of-n", chat=chat, seeds=(0, 1, 2))
    assert len(chat.requests) == 11 + 3 * 11
    assert len(result.methods["random-of-n"].predictions) == 33
    assert result.methods["random-of-n"].queries == 11
    assert set(result.methods["random-of-n"].by_seed) == {0, 1, 2}
    assert result.methods["rag-fused"].by_seed == {}


def test_the_same_seed_gives_the_same_run() -> None:
    methods = f"icl-random,random-of-n,{PERSONALIZED}"
    one, two = (predictions_mapping(run("LaMP_2N", methods)) for _ in range(2))
    assert one == two
    other = predictions_mapping(run("LaMP_2N", methods, seeds=(5,)))
    assert [p["prediction"] for p in one] != [p["prediction"] for p in other]


def test_references_reach_neither_prompts_nor_predictions(tmp_path: Path) -> None:
    """The canary: other golds, the same prompts and the same answers."""
    for task in ("LaMP_2N", "LaMP_3", "LaMP_4"):
        prompts, answers = [], []
        for change in (False, True):
            data = material(task)
            references = data.questions.references
            if change:
                other = {"LaMP_2N": "sports", "LaMP_3": "1", "LaMP_4": "CANARY"}[task]
                references = dict.fromkeys(references, other)
            chat = echo_chat()
            changed = questions_module.Questions(
                data.questions.task, data.questions.items, references
            )
            result = run(
                task,
                f"{PROMPT_ONLY},{PERSONALIZED},random-of-n,consensus,majority,median,knn",
                chat=chat,
                data=type(data)(changed, data.train),
            )
            prompts.append(json.dumps([r.messages for r in chat.requests], sort_keys=True))
            answers.append([(p["method"], p["prediction"]) for p in predictions_mapping(result)])
        assert prompts[0] == prompts[1]
        assert answers[0] == answers[1]
        assert "CANARY" not in prompts[1]


def test_a_profile_that_holds_the_query_is_cut() -> None:
    """A record that repeats the query's text would tell the answer."""
    from hydra_cli.core.records import Query, Record
    from hydra_cli.core.tasks import PRESETS
    from hydra_cli.readers.lamp_files import Example, LampSplit

    task = PRESETS["LaMP_4"]
    records = (
        Record("u", "1", task.name, "Some  text", "GOLD"),
        Record("u", "2", task.name, "b", "c"),
    )
    example = Example(Query("u", "q", task.name, "some text"), "GOLD", records)
    found = questions_module.from_split(LampSplit(task, (example,)))
    assert [record.id for record in found.items[0].records] == ["2"]
    assert "1 records" in found.notes[0]


class Failing:
    """Answers as ``echo`` until told to fail: for some prompts, or from a call on."""

    name = "failing"

    def __init__(self, *, poison: str = "", after: int | None = None, error: type = ProviderError):
        self.poison, self.after, self.error = poison, after, error
        self.answered = 0

    def complete(self, request: ChatRequest) -> Completion:
        return next(c for _, c in self.complete_many([request]))

    def complete_many(self, requests: Sequence[ChatRequest]) -> Iterator[tuple[int, Completion]]:
        for index, request in enumerate(requests):
            last = request.messages[-1]["content"]
            gone = self.after is not None and self.answered >= self.after
            if gone or (self.poison and self.poison in last):
                raise self.error("the provider is gone")
            self.answered += 1
            yield index, ScriptedChat(echo).complete(request)


def test_one_prompt_that_always_fails_costs_only_its_query() -> None:
    data = material("LaMP_4")
    poison = " ".join(data.questions.items[4].query.text.split())
    result = run("LaMP_4", "zero-shot,rag-bm25,rag-dense", chat=Failing(poison=poison), data=data)
    for method in result.methods.values():
        assert method.queries == 10
        assert method.missing == 1
        assert not method.complete
        assert method.gain is None
        assert method.error == "the provider is gone"
    assert result.best_prompt_based is None


def test_a_provider_that_goes_away_leaves_partial_results() -> None:
    chat = Failing(after=15)
    result = run("LaMP_4", "zero-shot,rag-bm25", chat=chat)
    assert chat.answered == 15
    found = task_mapping(result)
    assert found["complete"] is False
    assert found["methods"]["zero-shot"]["queries"] == 11
    assert found["methods"]["zero-shot"]["complete"] is True
    # The user without records shares a call with zero-shot.
    assert found["methods"]["rag-bm25"]["queries"] == 5
    assert found["methods"]["rag-bm25"]["missing"] == 6
    assert found["error"] == "the provider is gone"


def test_a_limit_stops_everything_at_once() -> None:
    result = run("LaMP_4", "rag-bm25,hydra-pers", chat=Failing(after=20, error=BudgetExceeded))
    assert isinstance(result.error, BudgetExceeded)
    assert result.methods["hydra-pers"].queries == 0
    assert result.methods["rag-bm25"].queries == 0


def test_methods_without_llm_survive_its_failure() -> None:
    result = run("LaMP_2N", "majority,knn,zero-shot,hydra-pers", chat=Failing(after=0))
    assert result.methods["majority"].complete
    assert result.methods["knn"].complete
    assert result.methods["zero-shot"].queries == 0
    assert result.methods["hydra-pers"].error == "the provider is gone"


def test_an_empty_history_falls_back_to_the_label_of_the_others() -> None:
    data = material("LaMP_2N")
    result = run("LaMP_2N", "majority,rag-bm25,hydra-pers", data=data)
    alone = [p for p in result.methods["majority"].predictions if p.records == 0]
    assert len(alone) == 1
    assert data.train is not None
    labels = [r.output for item in data.train.items for r in item.records]
    assert alone[0].text == max(sorted(set(labels)), key=labels.count)


def test_without_training_files_the_users_own_records_serve() -> None:
    data = material("LaMP_4")
    result = run("LaMP_4", "hydra-pers-zero,rag-bm25", data=type(data)(data.questions, None))
    assert result.complete
    assert any("own records" in note for note in result.notes)


def test_the_default_falls_back_to_the_plain_prompt_where_records_mislead() -> None:
    data = material("LaMP_4")
    assert data.train is not None
    truth = {
        item.query.text: part.references[item.key]
        for part in (data.train, data.questions)
        for item in part.items
    } | {
        r.input: r.output for p in (data.train, data.questions) for i in p.items for r in i.records
    }

    def answer(request: ChatRequest, sample: int) -> str:
        if any(message["role"] == "assistant" for message in request.messages):
            return "misled"
        asked = request.messages[-1]["content"]
        return next((out for text, out in truth.items() if asked.endswith(text)), "unknown")

    result = run(
        "LaMP_4", "zero-shot,rag-bm25,hydra-pers,adapt", data=data, chat=ScriptedChat(answer)
    )
    ours, plain = result.methods["hydra-pers"], result.methods["zero-shot"]
    assert plain.quality > result.methods["rag-bm25"].quality
    assert ours.quality == plain.quality
    assert (ours.plain_users, ours.adapted_users) == (ours.users, 0)
    assert result.methods["adapt"].plain_users == 0


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    methods = f"rag-dense,pag,{PERSONALIZED},consensus"
    whole = sorted(map(str, predictions_mapping(run("LaMP_2N", methods))))
    monkeypatch.setattr(questions_module, "CHUNK_QUERIES", 3)
    assert len(list(material("LaMP_2N").questions.chunks())) > 3
    assert sorted(map(str, predictions_mapping(run("LaMP_2N", methods)))) == whole


def test_json_of_several_tasks_averages_gains() -> None:
    results = [run(task, "zero-shot,rag-bm25,consensus") for task in ("LaMP_2N", "LaMP_4")]
    found = suite_mapping(results)
    assert set(found["tasks"]) == {"LaMP_2N", "LaMP_4"}
    gains = [r.methods["consensus"].gain for r in results]
    logs = [math.log1p(g.value) for g in gains if g is not None]
    mean = math.expm1(sum(logs) / 2)
    assert found["average_relative_gain"]["consensus"]["relative"] == pytest.approx(mean)
    json.dumps(found, allow_nan=False)


def test_json_of_one_task_has_the_promised_keys() -> None:
    found = suite_mapping([run("LaMP_3", "zero-shot,rag-bm25,median")])
    assert {"task", "model", "seed", "seeds", "queries", "users", "n", "k", "settings"} <= set(
        found
    )
    method = found["methods"]["rag-bm25"]
    keys = "metrics queries users intervals gain calls cached_calls prompt_tokens"
    keys += " completion_tokens tokens cost seconds"
    assert set(keys.split()) <= set(method)
    assert method["tokens"] == method["prompt_tokens"] + method["completion_tokens"]
    assert set(method["metrics"]) == {"MAE", "RMSE"}
    json.dumps(found, allow_nan=False)


def test_limits_take_users_and_queries_evenly() -> None:
    assert len(material("LaMP_4", users=2).questions.users) == 2
    few = material("LaMP_4", queries=6).questions
    assert len(few.items) == 6
    assert len(few.users) == 6


def test_a_recipe_that_cannot_be_trained_fails_alone() -> None:
    """The hashing encoder has no weights that the paper's recipe could train."""
    result = run("LaMP_4", "rag-bm25,hydra,hydra-pers")
    assert isinstance(result.error, ModelError)
    assert result.methods["hydra"].queries == 0
    assert "can't be trained" in (result.methods["hydra"].error or "")
    assert result.methods["hydra-pers"].complete
    assert result.methods["rag-bm25"].complete
