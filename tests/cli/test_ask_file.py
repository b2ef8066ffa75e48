"""``ask --file``: a line out for each line in, in order, gone on with where it stopped."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hydra_cli.cli.app import run
from tests.llm.fault_server import Call, FaultServer, completion, error

QUERIES = [
    {"query": "Is the mug safe?", "user": "tom", "id": 7},
    {"query": "And the tray?", "user": "mia", "time": "2026-03-01"},
    {"query": "Is the bowl new?", "user": "tom"},
]


def reply(call: Call) -> Any:
    return completion([f"{call.prompt} #{i}" for i in range(call.n)])


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer(reply) as running:
        yield running


@pytest.fixture
def asked(
    server: FaultServer,
    home: Path,
    tiny_encoder_path: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> list[str]:
    """``ask`` with the options that reach the server."""
    rows = [
        {"user": user, "input": f"text {i}", "output": f"note {i} of {user}"}
        for user in ("mia", "tom")
        for i in range(3)
    ]
    source = tmp_path / "records.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert run(["ingest", str(source), "--task", "notes", "--kind", "generation"]) == 0
    capsys.readouterr()
    monkeypatch.setenv("OPENAI_API_BASE", server.url)
    return ["ask", "--encoder", str(tiny_encoder_path), "--model", "openai/x", "-n", "2"]


def written(path: Path, queries: list[Any]) -> str:
    path.write_text("".join((q if isinstance(q, str) else json.dumps(q)) + "\n" for q in queries))
    return str(path)


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_each_line_is_what_ask_says(
    asked: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("TTY_COMPATIBLE", "1")  # a bar on stderr must not swallow stdout
    assert run([*asked, "--file", written(tmp_path / "q.jsonl", QUERIES)]) == 0
    captured = capsys.readouterr()
    found = lines(captured.out)
    assert "3 of 3 answered; used: " in captured.err
    assert [line.pop("line") for line in found] == [1, 2, 3]
    assert [line.pop("id", None) for line in found] == [7, None, None]
    assert [line.pop("time", None) for line in found] == [None, "2026-03-01", None]
    for line, query in zip(found, QUERIES, strict=True):
        assert run([*asked, str(query["query"]), "--user", str(query["user"]), "--json"]) == 0
        alone = json.loads(capsys.readouterr().out)
        for varies in ("seconds", "usage", "cost", "answer_id"):
            del line[varies], alone[varies]
        assert line == alone


def test_a_line_that_cant_be_answered_gives_its_error_and_the_rest_goes_on(
    asked: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    bad = ["not json", "", '{"query": "x", "user": "nobody", "id": "n"}', "[1]", '{"qery": "x"}']
    path = written(tmp_path / "q.jsonl", [QUERIES[0], *bad, QUERIES[1]])
    assert run([*asked, "--file", path]) == 9
    captured = capsys.readouterr()
    found = lines(captured.out)
    assert [line["line"] for line in found] == [1, 2, 4, 5, 6, 7]
    assert [line["error"]["code"] if "error" in line else 0 for line in found] == [0, 3, 5, 3, 3, 0]
    assert found[2]["id"] == "n"
    assert found[2]["error"]["type"] == "NotFound"
    assert "nobody" in found[2]["error"]["message"]
    assert "error: 4 of 6 lines could not be answered" in captured.err


def test_out_goes_on_where_it_stopped(
    asked: list[str], server: FaultServer, tmp_path: Path, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    path, out = written(tmp_path / "q.jsonl", QUERIES), tmp_path / "a.jsonl"
    whole = [*asked, "--file", path, "--out", str(out)]
    assert run([*whole, "--max-calls", "1"]) == 8
    first = out.read_text()
    assert len(lines(first)) == 1
    assert "1 of 3 answered" in capsys.readouterr().err
    with out.open("a") as torn:
        torn.write('{"line": 2, "answer": "And th')
    calls = len(server.calls)
    assert run(whole) == 0
    assert out.read_text().startswith(first)
    assert [line["line"] for line in lines(out.read_text())] == [1, 2, 3]
    assert len(server.calls) == calls + 2
    done = out.read_text()
    assert run(whole) == 0
    assert (out.read_text(), len(server.calls)) == (done, calls + 2)
    assert oct(out.stat().st_mode)[-3:] == "600"
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    "held",
    [
        "a letter\n",
        "a letter",
        '{"line": 1, "answer": "x", "query": "another", "user": "tom", "id": 7}\n',
        '{"line": 1, "answer": "x", "query": "Is the mug safe?", "user": "mia", "id": 7}\n',
        '{"line": 2, "answer": "x", "query": "Is the mug safe?", "user": "tom", "id": 7}\n',
        '{"line": 1, "x": "y"}\n',
    ],
)
def test_a_file_of_anything_else_stays_as_it_is(
    asked: list[str], server: FaultServer, tmp_path: Path, held: str
) -> None:
    path, out = written(tmp_path / "q.jsonl", QUERIES), tmp_path / "a.jsonl"
    out.write_text(held)
    assert run([*asked, "--file", path, "--out", str(out)]) == 2
    assert out.read_text() == held
    assert run([*asked, "--file", path, "--out", path]) == 2
    assert server.calls == []


def test_a_refused_prompt_is_its_own_error_and_a_provider_that_is_gone_ends_the_run(
    asked: list[str], tmp_path: Path, server: FaultServer, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    def moody(call: Call) -> Any:
        if "tray" in call.prompt:
            return error(400, "triggering content management policy", code="content_filter")
        return error(401, "no such key") if "bowl" in call.prompt else reply(call)

    with FaultServer(moody) as second:
        monkeypatch.setenv("OPENAI_API_BASE", second.url)
        path = written(tmp_path / "q.jsonl", QUERIES[:2] + QUERIES[:1])
        assert run([*asked, "--file", path]) == 9
        found = lines(capsys.readouterr().out)
        assert [line["error"]["code"] if "error" in line else 0 for line in found] == [0, 7, 0]
        assert found[1]["error"]["type"] == "ProviderError"
        path = written(tmp_path / "q.jsonl", QUERIES)
        assert run([*asked, "--file", path]) == 7
        captured = capsys.readouterr()
        assert len(lines(captured.out)) <= 2
        assert "refused the API key" in captured.err


def test_a_dry_run_prices_what_is_still_to_be_asked(
    asked: list[str], server: FaultServer, tmp_path: Path, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    bad = {"query": "x", "user": "nobody"}
    path, out = written(tmp_path / "q.jsonl", [*QUERIES, bad]), tmp_path / "a.jsonl"
    whole = [*asked, "--file", path, "--out", str(out)]
    assert run([*whole, "--dry-run", "--json"]) == 0
    captured = capsys.readouterr()
    all_of_them = json.loads(captured.out)["total"]["calls"]
    assert "1 of 4 lines can't be answered" in captured.err
    assert (server.calls, out.exists()) == ([], False)
    assert run([*whole, "--max-calls", "1"]) == 8
    capsys.readouterr()
    assert run([*whole, "--dry-run", "--json"]) == 0
    left = json.loads(capsys.readouterr().out)["total"]["calls"]
    assert 0 < left < all_of_them


def test_stdin_and_what_makes_no_sense(
    asked: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    piped = io.TextIOWrapper(io.BytesIO(b'{"query": "Is the mug safe?"}\n'))
    monkeypatch.setattr(sys, "stdin", piped)
    assert run([*asked, "--file", "-", "--user", "tom"]) == 0
    assert lines(capsys.readouterr().out)[0]["user"] == "tom"
    path = written(tmp_path / "q.jsonl", QUERIES)
    assert run([*asked, "x", "--file", path]) == 2
    assert run([*asked, "--file", path, "--explain"]) == 2
    assert run([*asked, "x", "--out", str(tmp_path / "a.jsonl")]) == 2
    assert run([*asked, "--file", str(tmp_path / "none.jsonl")]) == 3
    assert run([*asked, "--file", written(tmp_path / "e.jsonl", [])]) == 3
    assert run([*asked, "--file", path, "--out", str(tmp_path)]) == 2
