"""``fit --requests`` and ``--answers``: the same heads as a live fit, and no call."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hydra_cli.cli.app import run
from tests.cli.test_fit_command import said, store
from tests.llm.batch_tools import answer_batch, lines_of
from tests.llm.fault_server import FaultServer

__all__ = ["store"]


def heads(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.safetensors")
    }


def test_answers_made_elsewhere_give_the_live_heads(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    requests, results = tmp_path / "requests.jsonl", tmp_path / "results.jsonl"
    command = ["fit", "--supervision", "llm", "-n", "2", "--base", "--json"]
    with FaultServer(said) as server:
        monkeypatch.setenv("OPENAI_API_BASE", server.url)
        files: list[str] = []
        rounds = asked = 0
        while True:
            capsys.readouterr()
            assert run([*command, "--requests", str(requests), *files]) == 0
            found = json.loads(capsys.readouterr().out)
            if "requests" not in found:
                break
            assert not heads(store), "a fit without its answers was saved"
            assert found["requests"] == len(lines_of(requests)) > 0
            asked += found["requests"]
            answer_batch(requests, results, said)
            files = ["--answers", str(results)]
            rounds += 1
        assert 1 < rounds <= 5
        assert not server.calls
        made = heads(store)
        assert len(made) == 1 + 3
        # A live fit without what was kept: as many calls, the same bytes.
        (store / "cache" / "answers.sqlite").unlink()
        assert run(command) == 0
        assert heads(store) == made
        assert len(server.calls) == asked


def test_wrong_uses(store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for more, words in (
        (["--requests", "r.jsonl"], "need --supervision llm"),
        (["--requests", "r.jsonl", "--dry-run", "--supervision", "llm"], "--dry-run"),
    ):
        assert run(["fit", *more]) == 2
        assert words in capsys.readouterr().err
