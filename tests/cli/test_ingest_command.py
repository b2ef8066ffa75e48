"""ingest, users and history as typed, on a real store."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from hydra_cli.cli.app import app, run
from hydra_cli.core.errors import DataError, NotFound, UsageError
from hydra_cli.core.record_building import content_id
from hydra_cli.core.records import Record
from hydra_cli.store.lancedb_store import LanceHistoryStore

ROWS = [
    {"user": user, "input": f"text {i}", "output": f"title {i}", "time": 1_600_000_000 + i}
    for i in range(4)
    for user in ("../../x", "🧑‍🚀")
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return file


def call(*arguments: object, stdin: bytes | str | None = None) -> Any:
    return CliRunner().invoke(app, [str(a) for a in arguments], input=stdin)


def test_ingest_users_history(path: Path, home: Path) -> None:
    first = call("ingest", path)
    assert first.exit_code == 0, first.output
    assert first.stdout == "8 added, 0 already there, 0 rejected\n"
    assert "input=input, output=output, user=user, time=time" in first.stderr
    assert "looks like generation" in first.stderr
    again = json.loads(call("ingest", path, "--json").stdout)
    assert (again["added"], again["present"], again["rejected"]) == (0, 8, 0)
    assert again["files"][0]["source"] == str(path)

    users = json.loads(call("users", "--json").stdout)
    assert [(u["user"], u["records"], u["tasks"]) for u in users] == [
        ("../../x", 4, ["default"]),
        ("🧑‍🚀", 4, ["default"]),
    ]
    assert users[0]["first"] == "2020-09-13T12:26:40+00:00"
    history = json.loads(call("history", "../../x", "--limit", 2, "--json").stdout)
    assert [row["input"] for row in history] == ["text 2", "text 3"]
    assert set(history[0]) == {"id", "task", "input", "output", "time", "metadata"}
    assert "../../x" in call("users").stdout
    assert "text 3" in call("history", "🧑‍🚀").stdout
    assert sorted(p.name for p in home.parent.iterdir()) == ["home", "rows.jsonl"]


def test_history_json_is_ingestible_again(path: Path, tmp_path: Path) -> None:
    call("ingest", path)
    shown = call("history", "../../x", "--json").stdout
    other = tmp_path / "other"
    result = call("ingest", "-", "--user", "../../x", "--store", other, stdin=shown)
    assert result.exit_code == 0, result.output
    assert call("history", "../../x", "--json", "--store", other).stdout == shown


def test_rejects_are_kept_privately(tmp_path: Path) -> None:
    rejects = tmp_path / "rejects.jsonl"
    rows = '{"user":"u","input":"a","output":"b"}\n{'
    result = call("ingest", "--allow-rejects", "--rejects", rejects, stdin=rows)
    assert result.exit_code == 0, result.output
    assert "1 rejected" in result.stdout
    (entry,) = map(json.loads, rejects.read_text().splitlines())
    assert (entry["source"], entry["line"], entry["text"]) == ("stdin", 2, "{")
    assert entry["reason"].startswith("not valid JSON")
    assert rejects.stat().st_mode & 0o777 == 0o600
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


def test_rejects_survive_a_failed_ingest(tmp_path: Path) -> None:
    rejects = tmp_path / "rejects.jsonl"
    result = call("ingest", "-", "--rejects", rejects, stdin="{\n{\n")
    assert isinstance(result.exception, DataError)
    assert len(rejects.read_text().splitlines()) == 2


@pytest.mark.parametrize(("bad", "code"), [(0, 0), (2, 0), (3, 9)])
def test_more_than_two_in_a_hundred_rejected_is_an_error_with_the_rest_kept(
    tmp_path: Path, bad: int, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "x.jsonl"
    good = "".join(f'{{"user":"u","input":"in {i}","output":"out"}}\n' for i in range(100 - bad))
    path.write_text(good + "{\n" * bad)
    assert run(["ingest", str(path)]) == code
    captured = capsys.readouterr()
    assert captured.out == f"{100 - bad} added, 0 already there, {bad} rejected\n"
    told = "error: 3 of 100 rows were rejected; the others are in the store"
    assert (told in captured.err) == (code == 9)
    assert run(["ingest", str(path), "--allow-rejects"]) == 0


def test_rejects_on_stdout_are_lines_of_json_and_the_report_is_the_last_one(path: Path) -> None:
    with path.open("a") as file:
        file.write('{"user":"u","input":"","output":"b"}\n{\n')
    plain = call("ingest", path, "--rejects", "-")
    assert {json.loads(line)["line"] for line in plain.stdout.splitlines()} == {9, 10}
    assert "8 added, 0 already there, 2 rejected\n" in plain.stderr
    *rejected, last = map(
        json.loads, call("ingest", path, "--rejects", "-", "--json").stdout.splitlines()
    )
    assert "empty input" in {entry["reason"] for entry in rejected}
    assert (last["report"]["present"], last["report"]["rejected"]) == (8, 2)


def test_config_sources_are_the_default(path: Path, home: Path) -> None:
    home.mkdir()
    (home / "config.toml").write_text(f'sources = ["{path.parent}/*.jsonl"]\n')
    assert "8 added" in call("ingest").stdout
    # Anything piped in comes before them.
    assert "1 added" in call("ingest", stdin='{"user":"u","input":"a","output":"b"}').stdout
    (home / "config.toml").write_text('sources = ["/nowhere/*.jsonl"]\n')
    assert isinstance(call("ingest").exception, UsageError)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((), UsageError, "nothing to ingest"),
        (("nowhere.jsonl",), DataError, "no such file or folder: nowhere.jsonl"),
        (("{path}", "--map", "input"), UsageError, "--map can't read 'input'"),
        (("{path}", "--map", "text=input"), UsageError, "--map can't read 'text=input'"),
        (("{path}", "--map", "input=a,input=b"), UsageError, "names 'input' twice"),
        (("{path}", "--map", "input=nope"), DataError, "no column 'nope'"),
        (("{path}", "--kind", "guess"), UsageError, "--kind can't be 'guess'"),
        (("{path}", "--user", "a\nb"), UsageError, "holds control characters"),
        (("{path}", "--task", ""), UsageError, "--task is empty"),
        (("{path}", "--rejects", "{path}"), UsageError, "would overwrite"),
        (("{path}", "--rejects", "{folder}"), UsageError, "is a folder"),
        (("{folder}/home",), UsageError, "no file to read"),
    ],
)
def test_misuse_is_one_clear_error(
    path: Path, home: Path, arguments: tuple[str, ...], error: type[Exception], message: str
) -> None:
    home.mkdir()
    filled = [a.format(path=path, folder=path.parent) for a in arguments]
    result = call("ingest", *filled)
    assert isinstance(result.exception, error), result.exception
    assert message in str(result.exception)
    assert not (home / "db").exists() or call("users", "--json").stdout == "[]\n"


def test_a_repeated_map_adds_up(tmp_path: Path) -> None:
    file = tmp_path / "x.csv"
    file.write_text("agent,said,wrote\nu,a,b\n")
    result = call("ingest", file, "--map", "user=agent", "--map", "input=said,output=wrote")
    assert result.exit_code == 0, result.output
    assert call("history", "u", "--json").stdout.count('"input": "a"') == 1
    twice = call("ingest", file, "--map", "input=said", "--map", "input=wrote")
    assert "names 'input' twice" in str(twice.exception)


def test_unknown_users_are_not_found(path: Path) -> None:
    call("ingest", path)
    for user in ("../x", "x" * 1024, "\N{PILE OF POO}", "a'; DROP TABLE records; --"):
        assert isinstance(call("history", user).exception, NotFound)


def test_the_process_exits_as_documented() -> None:
    def exit_code(*arguments: str, data: bytes = b"") -> tuple[int, str]:
        command = [sys.executable, "-m", "hydra_cli", *arguments]
        done = subprocess.run(command, input=data, capture_output=True, env=dict(os.environ))
        return done.returncode, done.stderr.decode()

    code, said = exit_code("ingest", "-", data=os.urandom(4096))
    assert code == 3
    assert "error: stdin is binary" in said
    assert "hint: " in said
    assert "Traceback" not in said
    assert exit_code("history", "nobody")[0] == 5


def test_a_corrected_reply_replaces_the_old_one_without_an_id_column(
    tmp_path: Path, home: Path
) -> None:
    file = tmp_path / "replies.csv"
    text = "user;input;output;date;channel\nJörg;q1;alte Grüße;31.12.2025;x\nJörg;q2;b;1.1.2026;x\n"
    file.write_bytes(text.encode("cp1252"))
    first = call("ingest", file)
    assert first.exit_code == 0, first.output
    assert "read as cp1252" in first.stderr
    assert "time: read as day.month.year" in first.stderr
    assert "not kept: channel (--keep NAME keeps one)" in first.stderr
    file.write_bytes(text.replace("alte", "neue").encode("cp1252"))
    report = json.loads(call("ingest", file, "--update", "--json").stdout)
    counted = ("added", "replaced", "present", "rejected")
    assert [report[name] for name in counted] == [0, 1, 1, 0]
    assert report["files"][0]["encoding"] == "cp1252"
    assert report["files"][0]["not_kept"] == ["channel"]
    again = call("ingest", file, "--update")
    assert again.stdout == "0 added, 2 already there, 0 rejected\n"
    history = json.loads(call("history", "Jörg", "--json").stdout)
    assert [row["output"] for row in history] == ["neue Grüße", "b"]


LETTER = {"user": "u", "input": "Is it\nsafe?", "output": "Hi!\nIt is.\n\nMia"}


def letters(tmp_path: Path) -> dict[str, Path]:
    """One row of several lines, as CSV with its line breaks and as JSON Lines."""
    files = {"csv": tmp_path / "x.csv", "jsonl": tmp_path / "x.jsonl"}
    texts = (f'"{LETTER[name]}"'.replace("\n", "\r\n") for name in ("input", "output"))
    files["csv"].write_bytes(f"user,input,output\r\nu,{','.join(texts)}\r\n".encode())
    files["jsonl"].write_text(json.dumps(LETTER) + "\n")
    return files


@pytest.mark.parametrize("first", ["csv", "jsonl"])
def test_the_same_row_in_another_format_is_the_same_record(tmp_path: Path, first: str) -> None:
    files = letters(tmp_path)
    assert call("ingest", files.pop(first)).stdout.startswith("1 added")
    (other,) = files.values()
    assert call("ingest", other).stdout == "0 added, 1 already there, 0 rejected\n"
    assert call("forget", "u", "--task", "default", "--yes").exit_code == 0
    assert "forgotten before" in str(call("ingest", other).exception)


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_a_record_that_has_the_id_of_an_earlier_release_keeps_it(
    tmp_path: Path, home: Path, form: str
) -> None:
    """Earlier releases made ids from the line breaks as they stood in the source."""
    old = Record("u", content_id(
        "u", "default", "Is it\r\nsafe?", "Hi!\r\nIt is.\r\n\r\nMia", None
    ), "default", "Is it\r\nsafe?", "Hi!\r\nIt is.\r\n\r\nMia")  # fmt: skip
    with_others = [old, Record("v", "1", "default", "in", "out")]
    assert LanceHistoryStore.open(home, create=True).add(with_others).added == 2
    path = letters(tmp_path)[form]
    assert call("ingest", path).stdout == "0 added, 1 already there, 0 rejected\n"
    assert call("forget", "u", "--task", "default", "--record", old.id, "--yes").exit_code == 0
    assert "forgotten before" in str(call("ingest", path).exception)
    assert call("ingest", path, "--restore").stdout.startswith("1 added")
    assert call("ingest", path).stdout.startswith("0 added, 1 already there")


def test_wrong_bytes_far_down_name_the_option(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    plain = "".join(f"u,question {i},answer {i}\n" for i in range(4000))
    path.write_bytes(f"user,input,output\n{plain}u,one more,Grüße\n".encode("cp1252"))
    result = call("ingest", path)
    assert "1 rejected" in result.stdout
    assert "--encoding NAME says what the file is" in result.stderr
    again = call("ingest", path, "--encoding", "cp1252")
    assert again.stdout == "1 added, 4,000 already there, 0 rejected\n"
    assert "--encoding NAME" not in again.stderr
