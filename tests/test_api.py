"""``Hydra``: the library whose thin faces the commands are."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import hydra_cli
from hydra_cli import Hydra, NotFound, StoreError, UsageError
from hydra_cli.cli.app import run
from hydra_cli.core.protocols import ChatRequest
from hydra_cli.core.sortable_ids import new_id
from hydra_cli.llm.scripted import ScriptedChat
from hydra_cli.modeling.factorized.answer_features import PRIOR
from hydra_cli.models.hash_encoder import HashEncoder
from hydra_cli.workflows.ask_many import AHEAD
from hydra_cli.workflows.configure import assign

THINGS = ("mug", "lamp", "tray", "bowl", "vase", "clock", "plate", "chair")


def echo(request: ChatRequest, sample: int) -> str:
    return f"{request.messages[-1]['content']} #{sample}"


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


@pytest.fixture
def hydra(home: Path) -> Iterator[Hydra]:
    with Hydra.open(home, encoder=HashEncoder(), chat=ScriptedChat(echo)) as opened:
        opened.ingest(*rows("mia"), *rows("tom"), task="replies")
        yield opened


def test_the_exported_names() -> None:
    assert set(hydra_cli.__all__) == {
        *("Answer", "Candidate", "Hydra", "Record", "Scored", "Usage", "__version__"),
        *("HydraError", "UsageError", "DataError", "NotFound", "ModelError", "ProviderError"),
        *("BudgetExceeded", "Incomplete", "StoreError", "StoreBusy", "StoreVersion"),
    }
    for name in hydra_cli.__all__:
        assert getattr(hydra_cli, name) is not None
    with pytest.raises(AttributeError):
        hydra_cli.Nothing  # noqa: B018


def test_an_answer_is_kept_under_its_id(hydra: Hydra) -> None:
    answer = hydra.ask("Is the lamp safe?", user="mia", n=2)
    found = hydra.answer(answer.id)
    assert (found.user, found.task, found.query) == ("mia", "replies", "Is the lamp safe?")
    assert (found.text, found.n, found.model) == (answer.text, 2, answer.details["model"])
    assert [one.text for one in found.candidates] == [s.item.text for s in answer.candidates]
    assert [len(one.features) for one in found.candidates] == [len(PRIOR)] * 2
    assert found.evidence == tuple(scored.item.id for scored in answer.evidence)
    assert hydra.answer("last") == hydra.answer("last", user="mia") == found
    for stranger in ("tom", "nobody"):
        with pytest.raises(NotFound) as foreign:
            hydra.answer(answer.id, user=stranger)
        with pytest.raises(NotFound) as unknown:
            hydra.answer(new_id("ans"), user=stranger)
        assert str(foreign.value).replace(answer.id, "") == re.sub(
            "ans_[0-9A-Z]{26}", "", str(unknown.value)
        ), "an id tells nothing to others"
    with pytest.raises(NotFound, match="no answer is kept"):
        hydra.answer("last", user="tom")


def test_what_a_lone_answer_says_of_other_pipelines(hydra: Hydra) -> None:
    hydra.ask("Is the lamp safe?", user="mia", n=1, k=0)
    assert hydra.answer("last").known == {"plain": "Is the lamp safe? #0"}
    hydra.ask("Is the lamp safe?", user="mia", n=1)
    assert set(hydra.answer("last").known) == {"rag"}
    hydra.ask("Is the lamp safe?", user="mia", n=2)
    assert hydra.answer("last").known == {}


def test_many_answers_are_kept_and_none_where_the_settings_say_so(hydra: Hydra) -> None:
    asked = [{"query": f"Is the {thing} safe?", "user": "tom"} for thing in THINGS[:3]]
    found = list(hydra.ask_many(asked, n=1))
    assert {a.id for a in hydra.answers("tom")} == {a.id for a in found}
    assert hydra.answers("mia") == []
    silent = hydra.ask("Is it?", user="tom", n=1, answers_days=0)
    with pytest.raises(NotFound):
        hydra.answer(silent.id)
    assert list(hydra.ask_many(asked, n=1, answers_days=0))
    assert len(hydra.answers()) == 3
    assert hydra.keep(silent), "the settings of the store keep them"
    assert hydra.answer(silent.id).text == silent.text
    with pytest.raises(UsageError, match="answers_days can't be -1"):
        hydra.ask("Is it?", user="tom", answers_days=-1)


def test_an_answer_comes_though_it_cannot_be_kept(home: Path) -> None:
    notes: list[str] = []
    chat = ScriptedChat(echo)
    with Hydra.open(home, encoder=HashEncoder(), chat=chat, on_note=notes.append) as hydra:
        hydra.ingest(*rows("mia"), task="replies")
        (home / "feedback.sqlite").write_bytes(b"no database" * 1000)
        assert hydra.ask("Is the lamp safe?", user="mia", n=1).text
        assert not hydra.keep(hydra.ask("Is the mug safe?", user="mia", n=1))
    unread = [note for note in notes if "feedback can't be read, and doesn't count" in note]
    unkept = [note for note in notes if "the answer can't be kept for feedback: the kept" in note]
    assert (len(unread), len(unkept), len(notes)) == (2, 3, 5)


def test_importing_it_loads_nothing_heavy() -> None:
    code = "import json, sys; from hydra_cli import Hydra; print(json.dumps([*sys.modules]))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.split(".")[0] for name in json.loads(done.stdout)}
    assert loaded.isdisjoint({"torch", "transformers", "lancedb", "lance", "litellm", "pyarrow"})


def test_ingest_fit_ask(hydra: Hydra) -> None:
    assert [user.user for user in hydra.users()] == ["mia", "tom"]
    (report,) = hydra.fit()
    assert {fit.user for fit in report.fitted} == {"mia", "tom"}
    answer = hydra.ask("Is the lamp safe?", user="mia", n=3)
    assert answer.text.startswith("Is the lamp safe?")
    assert len(answer.evidence) == 4
    assert {scored.item.user for scored in answer.evidence} == {"mia"}


def test_it_asks_what_the_command_asks(
    hydra: Hydra, capsys: pytest.CaptureFixture[str], tiny_encoder_path: Path, home: Path
) -> None:
    """One store, two doors, one prompt."""
    encoder = str(tiny_encoder_path)
    asked = ["ask", "Is the lamp safe?", "--user", "tom", "--encoder", encoder]
    assert run([*asked, "--show-prompt", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    settings = hydra.settings.override(encoder=encoder)
    drafted = Hydra(hydra.store, settings).draft("Is the lamp safe?", user="tom")
    assert shown == list(drafted.request.messages)


def test_ask_many_keeps_the_order(hydra: Hydra) -> None:
    queries = [
        {"text": "Is the mug safe?", "user": "tom"},
        {"text": "And the tray?", "user": "mia"},
    ]
    answers = list(hydra.ask_many(queries, n=1))
    assert [answer.query.user for answer in answers] == ["tom", "mia"]


def test_ask_many_answers_as_ask_does(hydra: Hydra) -> None:
    """More than are taken ahead, two users, with and without early stops."""
    hydra.fit()
    queries = [
        {"query": f"Is thing {i} safe?", "user": ("mia", "tom")[i % 2]} for i in range(AHEAD + 3)
    ]
    for plan in ({"n": 3}, {"n": 6, "sequential": True}):
        many = list(hydra.ask_many(queries, **plan))
        alone = [hydra.ask(q["query"], user=q["user"], **plan) for q in queries]
        assert [a.text for a in many] == [a.text for a in alone]
        assert [a.candidates for a in many] == [a.candidates for a in alone]
        assert [a.usage for a in many] == [a.usage for a in alone]
        assert set(many[0].seconds) == set(alone[0].seconds)


def test_ask_many_answers_what_needs_no_llm_beside_what_does(hydra: Hydra) -> None:
    stars = [{**row, "output": str(place % 5 + 1)} for place, row in enumerate(rows("tom"))]
    hydra.ingest(*stars, task="stars")
    queries = [
        {"text": "Is the mug safe?", "user": "mia", "task": "replies"},
        {"text": "Is the jug safe?", "user": "tom", "task": "stars"},
    ]
    answers = list(hydra.ask_many(queries[1:], n=0))
    assert [answer.text for answer in answers] == [hydra.ask("Is the jug safe?", user="tom",
                                                             task="stars", n=0).text]  # fmt: skip
    assert answers[0].text in {"1", "2", "3", "4", "5"}
    assert isinstance(hydra._chat, ScriptedChat)
    assert hydra._chat.requests == []
    assert len(list(hydra.ask_many(queries, n=1))) == 2
    assert len(hydra._chat.requests) == 2


def test_a_query_that_cant_be_asked_ends_alone(hydra: Hydra) -> None:
    queries = [
        {"query": "Is the mug safe?", "user": "tom"},
        {"query": "x", "user": "nobody"},
        {"query": "x", "usr": "tom"},
        {"query": " ", "user": "tom"},
        {"query": ["x"]},
        {"user": "tom"},
        {"query": "x", "user": "tom", "task": "none"},
        "x",
        {"text": "And the tray?", "user": "mia"},
    ]
    outcomes = list(hydra.ask_many(queries, keep_errors=True, n=1))
    kinds = [type(outcome).__name__ for outcome in outcomes]
    assert kinds == ["Answer", "NotFound", *["DataError"] * 4, "NotFound", "UsageError", "Answer"]
    with pytest.raises(NotFound):
        list(hydra.ask_many(queries, n=1))
    with pytest.raises(UsageError):  # at once, before a query is read
        hydra.ask_many(iter([]), k=-1)


def test_a_draft_sends_nothing(hydra: Hydra) -> None:
    drafted = hydra.draft("Is the mug safe?", user="mia", k=2)
    assert len(drafted.evidence) == 2
    assert isinstance(hydra._chat, ScriptedChat)
    assert hydra._chat.requests == []


def test_settings_are_checked(hydra: Hydra, home: Path) -> None:
    for wrong in ({"k": -1}, {"n": -1}, {"retriever": "foo"}, {"colour": "red"}, {"n": "two"}):
        with pytest.raises(UsageError):
            hydra.ask("x", user="mia", **wrong)
    with pytest.raises(UsageError):
        hydra.ask("x")
    with pytest.raises(NotFound):
        hydra.ask("x", user="nobody")
    with pytest.raises(NotFound):
        Hydra.open(home / "none", create=False)


def test_what_another_process_writes_is_seen(hydra: Hydra, home: Path) -> None:
    hydra.fit(["mia"])
    hydra.ask("Is the mug safe?", user="mia")
    with Hydra.open(home, encoder=HashEncoder(), chat=ScriptedChat(echo)) as other:
        other.ingest(
            {"user": "mia", "input": "Is the rug safe?", "output": "Yes.", "time": "2026-02-01"},
            task="replies",
        )
        other.fit(["mia"], new_base=True)
    answer = hydra.ask("Is the rug safe?", user="mia")
    assert "Is the rug safe?" in {scored.item.input for scored in answer.evidence}
    hydra.forget("tom")
    with pytest.raises(NotFound):
        hydra.ask("x", user="tom")


def test_several_threads_get_their_own_answers(hydra: Hydra) -> None:
    hydra.fit()
    wrong: list[str] = []

    def work(user: str) -> None:
        try:
            for thing in THINGS:
                answer = hydra.ask(f"Is the {thing} safe?", user=user, n=1)
                wrong.extend(s.item.user for s in answer.evidence if s.item.user != user)
        except Exception as error:
            wrong.append(repr(error))

    threads = [threading.Thread(target=work, args=(user,)) for user in ("mia", "tom") * 3]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_another_encoder_than_the_stores_is_refused(hydra: Hydra, home: Path) -> None:
    hydra.draft("Is the mug safe?", user="mia")
    with (
        Hydra.open(home, encoder=HashEncoder(32)) as other,
        pytest.raises(StoreError, match="the store's vectors were made by"),
    ):
        other.draft("Is the mug safe?", user="mia")


def test_a_store_in_memory_does_the_same() -> None:
    told: list[tuple[str, int, int | None]] = []
    with Hydra.in_memory(
        encoder=HashEncoder(),
        chat=ScriptedChat(echo),
        progress=lambda *step: told.append(step),
    ) as hydra:
        hydra.ingest(*rows("mia"))
        hydra.fit()
        assert hydra.ask("Is the mug safe?").text.startswith("Is the mug safe?")
        folder = hydra.settings.store
        assert hydra.export(folder / "out.zip").records == len(THINGS)
        assert hydra.forget("mia").heads == 1
        assert hydra.users() == []
    assert told
    assert not folder.exists()


def test_evaluate_compares_on_the_latest_records(hydra: Hydra) -> None:
    (result,) = hydra.evaluate("zero-shot,rag-bm25,hydra-pers", hold_out=2)
    assert (result.task, result.users, result.queries) == ("replies", 2, 4)
    assert set(result.methods) == {"zero-shot", "rag-bm25", "hydra-pers"}
    assert result.complete


def test_tasks_that_another_opener_learned_are_heeded_and_the_config_lies_over_them(
    hydra: Hydra, home: Path
) -> None:
    assert not hydra.settings.spec("kinds").closed
    labels = [
        {"user": "mia", "input": f"ticket {i}", "output": ("bug", "praise")[i % 2]}
        for i in range(12)
    ]
    with Hydra.open(home, encoder=HashEncoder(), chat=ScriptedChat(echo)) as other:
        other.ingest(*labels, task="kinds")
    assign(home, "tasks.kinds.answer_tokens", "77")
    found = hydra.draft("ticket 3", user="mia", task="kinds").task
    assert (found.labels, found.answer_tokens) == (("bug", "praise"), 77)


def test_llms_for_an_event_loop_are_kept_up_to_a_number(
    hydra: Hydra, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hydra_cli.warm.MOST_CHATS", 2)
    own = hydra.async_chat()
    first = hydra.async_chat("openai/a")
    assert hydra.async_chat("openai/a") is first
    for name in ("openai/b", "openai/c"):
        hydra.async_chat(name)
    assert hydra.opened_chat() is own
    assert hydra.opened_chat("openai/a") is None
    assert hydra.opened_chat("openai/c") is not None
