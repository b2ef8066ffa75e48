"""``hydra-pers ask`` as typed: its limits and defaults."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hydra_cli.cli.app import run
from hydra_cli.core.plan import default


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


def test_the_help_tells_the_defaults(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    for command in ("ask", "eval"):
        assert run([command, "--help"]) == 0
        shown = " ".join(capsys.readouterr().out.split())
        for name in ("k", "n", "temperature", "retriever"):
            assert f"Default: {default(name)}, or the config's." in shown
