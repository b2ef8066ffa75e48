"""``hydra-pers ask`` as typed: its limits and defaults."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hydra_cli.cli.app import run
from hydra_cli.core.plan import default
from tests.llm.fault_server import Call, FaultServer, Reply, completion, tokens


@pytest.fixture
def asked(home: Path, tiny_encoder_path: Path, tmp_path: Path) -> list[str]:
    """A command line that reaches the LLM."""
    rows = [{"user": "mia", "input": f"text {i}", "output": f"note {i}"} for i in range(3)]
    source = tmp_path / "records.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert run(["ingest", str(source), "--task", "notes"]) == 0
    return ["ask", "a text", "--encoder", str(tiny_encoder_path)]


@pytest.mark.parametrize("limit", ["--max-calls", "--max-tokens", "--max-cost"])
def test_a_limit_stops_before_the_call(
    asked: list[str],
    limit: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    assert run([*asked, "--model", "openai/gpt-4o-mini", limit, "0"]) == 8
    captured = capsys.readouterr()
    assert f"{limit} " in captured.err
    assert "after 0 calls" in captured.err
    assert captured.out == ""
    assert run([*asked, limit, "-1"]) == 2


def test_an_answer_that_was_cut_is_told_with_the_command_that_helps(
    asked: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    reason = "length"

    def said(call: Call) -> Reply:
        return completion(["the note goes on"], usage=tokens(9, 9), finish=reason)

    with FaultServer(said) as server:
        monkeypatch.setenv("OPENAI_API_BASE", server.url)
        ask = [*asked, "--model", "openai/x", "-n", "1"]
        assert run(ask) == 0
        told = capsys.readouterr()
        assert told.out == "the note goes on\n"
        command = told.err.partition("the answer was cut at 32 tokens: `hydra-pers ")[2]
        assert command.startswith("config set tasks.notes.answer_tokens 64`")
        assert run([*ask, "--json"]) == 0
        found = json.loads(capsys.readouterr().out)
        assert (found["cut"], found["candidates"][0]["cut"]) == (True, True)
        assert run(command.partition("`")[0].split()) == 0
        reason = "stop"
        capsys.readouterr()
        assert run(ask) == 0
        assert "cut at" not in capsys.readouterr().err
        assert server.calls[-1].body["max_tokens"] == 64


def test_the_help_tells_the_defaults(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    for command in ("ask", "eval"):
        assert run([command, "--help"]) == 0
        shown = " ".join(capsys.readouterr().out.split())
        for name in ("k", "n", "temperature", "retriever"):
            assert f"Default: {default(name)}, or the config's." in shown
