"""Sources into a store: counts, tasks, rejects, what survives an error."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from hydra_cli.core.errors import DataError, HydraError, UsageError
from hydra_cli.core.tasks import PRESETS, Kind, TaskSpec
from hydra_cli.store.memory import MemoryHistoryStore
from hydra_cli.workflows import ingest as ingest_module
from hydra_cli.workflows.ingest import IngestOptions, IngestReport, ingest
from hydra_cli.workflows.task_learning import TaskLearner


class Silent:
    def start(self, label: str, total: int | None) -> None: ...

    def advance(self, steps: int = 1) -> None: ...

    def note(self, text: str) -> None: ...


class Rejects(list[tuple[int, str]]):
    def add(self, source: str, line: int, reason: str, text: str) -> None:
        self.append((line, reason))


class Bench:
    """A store, its learned tasks, and files to fill it from."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = MemoryHistoryStore()
        self.saved: dict[str, TaskSpec] = {}
        self.rejects = Rejects()

    def file(self, name: str, rows: list[dict[str, Any]] | str | bytes) -> Path:
        path = self.folder / name
        if isinstance(rows, list):
            rows = "".join(json.dumps(row) + "\n" for row in rows)
        path.write_bytes(rows if isinstance(rows, bytes) else rows.encode())
        return path

    def run(
        self,
        *paths: Path | None,
        kind: Kind | None = None,
        stdin: bytes = b"",
        declared: Mapping[str, TaskSpec] = PRESETS,
        **options: Any,
    ) -> IngestReport:
        def save(spec: TaskSpec) -> TaskSpec:
            self.saved[spec.name] = spec
            return spec

        known = {**declared, **self.saved}
        learner = TaskLearner(known, dict(self.saved), save, kind=kind)
        return ingest(
            list(paths),
            self.store,
            learner,
            known,
            options=IngestOptions(**options),
            stdin=io.BytesIO(stdin),
            progress=Silent(),
            rejects=self.rejects,
        )


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def rows(n: int, **more: Any) -> list[dict[str, Any]]:
    return [
        {"user": f"u{i % 3}", "input": f"in {i}", "output": f"out {i}", **more} for i in range(n)
    ]


def test_a_second_run_adds_nothing(bench: Bench) -> None:
    path = bench.file("x.jsonl", rows(7))
    first, second = bench.run(path), bench.run(path)
    assert (first.added, first.present, first.rejected) == (7, 0, 0)
    assert (second.added, second.present, second.rejected) == (0, 7, 0)
    assert [u.records for u in bench.store.users()] == [3, 2, 2]


def test_batches_add_up(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingest_module, "BATCH", 4)
    assert bench.run(bench.file("x.jsonl", rows(501))).added == 501


def test_one_bad_line_stops_nothing(bench: Bench) -> None:
    good = [json.dumps(row) for row in rows(3)]
    lines = [good[0], "{", good[1], '{"user": "u"}', '{"user": "", "input": "a", "output": "b"}',
             good[2]]  # fmt: skip
    report = bench.run(bench.file("x.jsonl", "\n".join(lines)))
    assert (report.added, report.rejected) == (3, 3)
    assert [line for line, _ in bench.rejects] == [2, 4, 5]
    assert bench.rejects[1][1] == "missing input"
    assert report.files[0].first_rejected is not None
    assert sum(report.files[0].reasons.values()) == 3


def test_many_bad_lines_before_the_first_good_one(bench: Bench) -> None:
    text = "nonsense\n" * 500 + json.dumps(rows(1)[0])
    report = bench.run(bench.file("x.jsonl", text))
    assert (report.added, report.rejected) == (1, 500)


def test_duplicate_ids_with_other_content_are_rejected(bench: Bench) -> None:
    given = rows(2, id="same", user="u")
    report = bench.run(bench.file("x.jsonl", given))
    assert (report.added, report.rejected) == (1, 1)
    assert bench.rejects == [(2, "the id is taken by other content (--update replaces it)")]
    assert bench.store.records("u")[0].output == "out 0"


def test_what_precedes_a_cut_is_kept(bench: Bench) -> None:
    text = json.dumps(rows(5))
    report = bench.run(bench.file("x.json", text[:-20]))
    assert report.added == 4
    assert "ends in the middle" in str(report.files[0].error)


def test_one_unreadable_file_stops_no_other(bench: Bench) -> None:
    report = bench.run(bench.file("a.jsonl", b""), bench.file("b.jsonl", rows(2)))
    assert report.added == 2
    assert "is empty" in str(report.files[0].error)


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.jsonl", b"", "is empty"),
        ("a.csv", b"user,input,output\n", "no rows in"),
        ("a.jsonl", b"nonsense\n", "nothing usable in .*: 1 rejected, first line 1: not valid"),
        ("a.jsonl", b'{"input": "a", "output": "b"}', "no column that names the user"),
        ("a.csv", b"a,b,user\n1,2,3\n", "can't tell which column"),
    ],
)
def test_nothing_usable_is_one_clear_error(
    bench: Bench, name: str, data: bytes, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        bench.run(bench.file(name, data))
    assert bench.store.users() == []


def test_stdin_and_map_and_user(bench: Bench) -> None:
    report = bench.run(
        None, stdin=b"q;a\nx;y\n", columns={"input": "q", "output": "a"}, user="me", task="t"
    )
    assert report.files[0].source == "stdin"
    (record,) = bench.store.records("me")
    assert (record.task, record.input, record.output) == ("t", "x", "y")


def test_history_json_comes_back_as_it_was(bench: Bench) -> None:
    row = {"id": "1", "user": "u", "task": "t", "input": "a", "output": "b",
           "time": "2020-01-02T00:00:00+00:00", "metadata": {"place": "home"}}  # fmt: skip
    bench.run(bench.file("x.jsonl", [row]))
    (record,) = bench.store.records("u")
    assert record.time is not None
    assert record.time.isoformat() == row["time"]
    assert record.metadata == {"place": "home"}
    assert (record.id, record.task) == ("1", "t")


def test_the_tasks_of_a_column_are_recognised_apart(bench: Bench) -> None:
    given = [
        *({"user": "u", "task": "kind", "input": str(i), "output": "ab"[i % 2]} for i in range(8)),
        *({"user": "u", "task": "stars", "input": str(i), "output": i % 4 + 2} for i in range(8)),
        *({"user": "u", "task": "text", "input": str(i), "output": f"a text {i}"}
          for i in range(8)),
    ]  # fmt: skip
    report = bench.run(bench.file("x.jsonl", given))
    found = {spec.name: (spec.kind, spec.labels) for spec in report.tasks}
    assert found == {
        "kind": ("classification", ("a", "b")),
        "stars": ("rating", ("1", "2", "3", "4", "5")),
        "text": ("generation", ()),
    }
    assert report.recognised == ("kind", "stars", "text")
    assert bench.saved == {spec.name: spec for spec in report.tasks}


def test_later_ingests_grow_the_labels_and_keep_the_kind(bench: Bench) -> None:
    bench.run(bench.file("a.csv", "user,text,label\n" + "u,x,bug\nu,y,praise\n" * 3))
    assert bench.saved["default"].labels == ("bug", "praise")
    report = bench.run(bench.file("b.csv", "user,text,label\nu,z,question\nu,w," + "long " * 20))
    assert bench.saved["default"].labels == ("bug", "praise", "question")
    assert report.recognised == ()
    assert bench.rejects[-1][1].startswith("output is longer than a label")


def test_ratings_are_written_as_on_the_scale(bench: Bench) -> None:
    bench.run(bench.file("a.csv", "user,text,stars\nu,a,4.0\nu,b,5\nu,c,1.0\nu,d,4\n"))
    assert sorted(r.output for r in bench.store.records("u")) == ["1", "4", "4", "5"]
    bench.run(bench.file("b.csv", "user,text,stars\nu,e,8\nu,f,many\n"))
    assert bench.saved["default"].labels[-1] == "10"
    assert bench.rejects[-1][1] == "output is not on 1 to 10 of 'default'"


def test_a_declared_task_is_fixed(bench: Bench) -> None:
    spec = TaskSpec("mood", "classification", "Name it.", ("Good", "Bad"))
    path = bench.file("a.csv", "user,text,label\nu,x,good\nu,y,Bad\nu,z,so-so\n")
    report = bench.run(path, declared={"mood": spec}, task="mood")
    assert (report.added, report.rejected) == (2, 1)
    assert {r.output for r in bench.store.records("u")} == {"Good", "Bad"}
    assert bench.saved == {}


def test_kind_overrides_the_guess_and_contradicts_no_known_task(bench: Bench) -> None:
    path = bench.file("a.csv", "user,text,label\n" + "u,x,bug\nu,y,praise\n" * 3)
    report = bench.run(path, kind="generation")
    assert bench.saved["default"].kind == "generation"
    assert report.recognised == ()
    with pytest.raises(UsageError, match="known as rating"):
        bench.run(path, kind="generation", task="LaMP_3")


LABELS = "categories: [arts, sports] article: Rain stops play."


def lamp_file(bench: Bench, **more: str) -> Path:
    profile = [
        {"id": "1", "text": "a", "title": "A", "category": "arts", "date": "2018-03-08"},
        {"id": "2", "text": "b", "title": "B", "category": "arts", "date": 1520512200},
    ]
    questions = [{"id": f"q{i}", "input": LABELS, "profile": profile, **more} for i in range(3)]
    return bench.file("dev_questions.json", json.dumps(questions))


def test_lamp_with_user_ids_stores_a_shared_profile_once(bench: Bench) -> None:
    report = bench.run(lamp_file(bench, user_id="u"), keep=None)
    assert (report.added, report.present) == (2, 0)
    assert report.files[0].format == "lamp"
    first, second = bench.store.records("u")
    assert (first.task, first.input, first.output) == ("LaMP_2N", "a", "arts")
    assert first.metadata == {"title": "A"}
    assert first.time is not None
    assert second.time is not None
    assert second.time.isoformat() == "2018-03-08T12:30:00+00:00"
    assert bench.saved["LaMP_2N"].labels == ("arts", "sports")
    assert bench.saved["LaMP_2N"].marker == PRESETS["LaMP_2N"].marker


def test_lamp_without_user_ids_takes_each_question_for_a_user(bench: Bench) -> None:
    assert bench.run(lamp_file(bench)).added == 6
    assert [u.user for u in bench.store.users()] == ["q0", "q1", "q2"]


def test_lamp_of_another_task_is_mapped_by_hand(bench: Bench) -> None:
    profile = [{"id": str(i), "tweet": f"t{i}", "mood": f"m {i}"} for i in range(3)]
    path = bench.file("q.json", json.dumps([{"id": "q", "input": "?", "profile": profile}]))
    with pytest.raises(DataError, match="can't tell which column"):
        bench.run(path)
    report = bench.run(path, columns={"input": "tweet", "output": "mood"}, task="moods")
    assert report.added == 3
    assert report.tasks[0].name == "moods"


def test_a_store_error_is_no_source_error(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(bench.store, "add", full)
    with pytest.raises(OSError, match="No space"):
        bench.run(bench.file("x.jsonl", rows(2)))


@pytest.mark.parametrize("data", [b"[" * 100_000, b'{"a":' * 100_000, b'"' * 100_000, b"\\" * 999])
def test_hostile_texts_end_in_one_clear_error(bench: Bench, data: bytes) -> None:
    with pytest.raises(HydraError):
        bench.run(None, stdin=data)


def test_other_columns_are_named_and_kept_on_request(bench: Bench) -> None:
    rows = [{"user": "u", "input": "a", "output": "b", "region": "x", "channel": "y"}]
    report = bench.run(bench.file("x.jsonl", rows), keep=frozenset({"channel"}))
    assert report.files[0].dropped == ("region",)
    (record,) = bench.store.records("u")
    assert record.metadata == {"channel": "y"}


def test_line_breaks_become_line_feeds(bench: Bench) -> None:
    bench.run(bench.file("x.csv", 'user,input,output\nu,q,"a\r\nb"\n'))
    (record,) = bench.store.records("u")
    assert record.output == "a\nb"


def test_european_dates_are_read_by_one_rule(bench: Bench) -> None:
    text = "user;input;output;date\nu;a;b;31.12.2025 14:05\nu;c;d;01.02.2025\nu;e;f;2025-03-04\n"
    report = bench.run(bench.file("x.csv", text))
    assert report.files[0].times == "day.month.year"
    assert (report.added, report.rejected) == (2, 1)
    times = [r.time.isoformat() for r in bench.store.records("u") if r.time]
    assert times == ["2025-02-01T00:00:00+00:00", "2025-12-31T14:05:00+00:00"]
