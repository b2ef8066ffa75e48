"""``eval --requests`` and ``--answers``: the same table as a live run, and no call."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.test_eval import _arguments, invoke, said, serve
from tests.llm.batch_tools import answer_batch, lines_of
from tests.llm.fault_server import Call, FaultServer, Reply


def table(out: str) -> dict[str, Any]:
    """What may not differ between a live run and one on answers made elsewhere."""
    found = json.loads(out)
    kept = ("metrics", "tokens", "queries", "missing", "stages")
    return {name: {k: m[k] for k in kept} for name, m in found["methods"].items()}


@pytest.mark.parametrize(
    ("task", "supervision", "rounds"),
    # pag's prompts hold the summaries; the gate's hold what a trained reranker picks, first
    # those of the training users, then those of the evaluated ones.
    [("LaMP_4", "history", 2), ("LaMP_3", "llm", 4)],
)
def test_answers_made_elsewhere_give_the_live_table(
    task: str,
    supervision: str,
    rounds: int,
    tiny_encoder_path: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    methods = "zero-shot,rag-bm25,pag,hydra-pers,consensus"
    more = ["--methods", methods, "--supervision", supervision, "--json", "--max-calls"]
    requests, results = tmp_path / "requests.jsonl", tmp_path / "results.jsonl"
    report = ["--report", str(tmp_path / "report")]
    with FaultServer(said) as server:
        serve(monkeypatch, server)
        live = _arguments(tiny_encoder_path, tmp_path / "live", task)
        code, out, err = invoke([*live, *more, "9999"], capsys)
        assert code == 0, err
        made, expected = len(server.calls), table(out)
        arguments = [*_arguments(tiny_encoder_path, tmp_path, task), *more, "0"]
        files: list[str] = []
        asked = 0
        for _ in range(rounds + 1):
            code, out, err = invoke(
                [*arguments, *report, "--requests", str(requests), *files], capsys
            )
            assert code == 0, err
            found = json.loads(out)
            if "methods" in found:
                break
            assert not (tmp_path / "report").exists(), "a report of nothing was written"
            assert found["requests"] == len(lines_of(requests)) > 0
            asked += found["requests"]
            answer_batch(requests, results, said)
            files = ["--answers", str(results)]
        assert table(out) == expected
        # Now it goes through, without a key even.
        monkeypatch.delenv("OPENAI_API_KEY")
        code, out, err = invoke([*arguments, *files], capsys)
        assert code == 0, err
        assert table(out) == expected
        assert len(server.calls) == made, "the server was asked"
    assert asked == made, "other requests than a live run's"


def test_what_the_batch_failed_on_is_named_and_asked_again(
    tiny_encoder_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def plan(call: Call) -> Reply:
        reply = said(call)
        return Reply(429, b'{"error": {"message": "quota"}}') if call.number == 2 else reply

    arguments = [*_arguments(tiny_encoder_path, tmp_path, "LaMP_4"), "--methods", "rag-bm25"]
    requests, results = tmp_path / "requests.jsonl", tmp_path / "results.jsonl"
    arguments += ["--requests", str(requests)]
    code, out, err = invoke(arguments, capsys)
    assert code == 0, err
    assert "11 requests to the LLM are in" in out
    assert "--answers" in err
    first = lines_of(requests)
    answer_batch(requests, results, plan)
    code, out, err = invoke([*arguments, "--answers", str(results)], capsys)
    assert code == 0, err
    assert "not used: " in err
    assert "it failed with status 429: quota" in err
    assert "10 others are answered already" in out
    assert lines_of(requests) == [first[2]]


def test_wrong_uses_are_refused_before_anything_is_read(
    tiny_encoder_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = _arguments(tiny_encoder_path, tmp_path, "LaMP_4")
    code, out, err = invoke([*arguments, "--dry-run", "--requests", "r.jsonl"], capsys)
    assert (code, out) == (2, "")
    assert "--dry-run" in err
    code, out, err = invoke([*arguments, "--answers", str(tmp_path / "none.jsonl")], capsys)
    assert code != 0
    assert (out, "Traceback" in err) == ("", False)


def test_a_simulation_on_answers_made_elsewhere(
    tiny_encoder_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    requests, results = tmp_path / "requests.jsonl", tmp_path / "results.jsonl"
    rounds = tmp_path / "rounds.jsonl"
    arguments = [
        *_arguments(tiny_encoder_path, tmp_path, "LaMP_4"),
        *("--simulate", "--rounds", "6", "--start", "4", "--hostile", "0.3"),
    ]
    code, out, err = invoke([*arguments, "--dry-run", "--json"], capsys)
    assert code == 0, err
    calls = json.loads(out)["total"]["calls"]
    code, out, err = invoke([*arguments, "--requests", str(requests)], capsys)
    assert code == 0, err
    assert len(lines_of(requests)) == calls > 0
    answer_batch(requests, results, said)
    files = ["--answers", str(results), "--max-calls", "0"]
    more = ["--report", str(tmp_path / "report"), "--predictions", str(rounds)]
    code, out, err = invoke([*arguments, *files, *more], capsys)
    assert code == 0, err
    assert out.startswith("Learning from edits takes")
    page = (tmp_path / "report" / "report.md").read_text("utf-8")
    assert "LaMP_4-edits.svg" in page
    assert "--simulate --rounds 6 --start 4 --hostile 0.3" in page
    code, out, err = invoke([*arguments, *files, "--json"], capsys)
    assert code == 0, err
    found = json.loads(out)
    lines = lines_of(rounds)
    assert len(lines) == len(found["arms"]) * found["rounds"] * found["users"]
    for name, arm in found["arms"].items():
        assert arm["edits"] == sum(line["edits"] for line in lines if line["arm"] == name)


@pytest.mark.parametrize(
    ("task", "more", "told"),
    [
        ("LaMP_3", [], "no words to edit in labels and ratings: LaMP_3"),
        ("LaMP_4", ["--methods", "rag-bm25"], "--methods"),
        ("LaMP_4", ["--seeds", "0,1"], "one seed"),
        ("LaMP_4", ["--supervision", "llm"], "--supervision"),
    ],
)
def test_simulations_that_make_no_sense_are_refused(
    task: str, more: list[str], told: str, tiny_encoder_path: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    arguments = [*_arguments(tiny_encoder_path, tmp_path, task), "--simulate", *more]
    code, out, err = invoke([*arguments, "--max-calls", "0"], capsys)
    assert (code, out) == (2, "")
    assert told in err
