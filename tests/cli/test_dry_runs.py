"""What every dry run tells: one table, its total, the time, and when there is nothing to call."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from hydra_cli.cli.app import run
from hydra_cli.cli.render_price import render_price, time_line
from hydra_cli.core.records import Usage
from hydra_cli.workflows.pricing import Price
from tests.llm.fault_server import Call, FaultServer, Reply, completion, tokens


def said(call: Call) -> Reply:
    return completion([f"Of course {i}! Mia" for i in range(call.n)], usage=tokens(20, 4 * call.n))


@pytest.fixture
def server(
    home: Path, tmp_path: Path, tiny_encoder_path: Path, monkeypatch: pytest.MonkeyPatch
) -> FaultServer:
    """Two users with twelve replies each, and an LLM; one input drives the terminal."""
    rows = [
        {
            "user": user,
            "id": str(i),
            "input": f"where is item {i} of {user} \x1b[31m",
            "output": f"{how} item {i} {user}",
            "time": f"2025-03-{i + 1:02d}",
        }
        for user, how in (("mia", "Of course!"), ("ole", "Sent:"))
        for i in range(12)
    ]
    lines = tmp_path / "rows.jsonl"
    lines.write_text("".join(json.dumps(row) + "\n" for row in rows))
    monkeypatch.setenv("HYDRA_PERS_ENCODER", str(tiny_encoder_path))
    monkeypatch.setenv("HYDRA_PERS_MODEL", "openai/served")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    assert run(["ingest", str(lines), "--task", "replies", "--kind", "generation"]) == 0
    started = FaultServer(said)
    monkeypatch.setenv("OPENAI_API_BASE", started.url)
    return started


def invoke(line: str, capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    assert run(shlex.split(line)) == 0
    return capsys.readouterr().out


def test_ask_tells_its_price_and_asks_nothing(
    server: FaultServer, capsys: pytest.CaptureFixture[str]
) -> None:
    ask = "ask 'where is item 3' --user mia -n 3"
    with server:
        told = invoke(f"{ask} --dry-run", capsys)
        assert "answers" in told
        assert "6 seconds" not in told
        # A server of one's own may ignore n: a call an answer, all at once.
        assert "about 2 seconds, 8 calls at a time, assuming 2 seconds a call" in told
        found = json.loads(invoke(f"{ask} --dry-run --json", capsys))
        assert server.calls == []
        assert found["total"] == found["stages"]["answers"]
        assert (found["total"]["calls"], found["total"]["cost"]) == (3, 0.0)
        assert (found["seconds"], found["seconds_from"]) == (2.0, "assumption")
        assert found["prompt"] is None

        invoke(ask, capsys)
        made = len(server.calls)
        assert "every answer is kept already" in invoke(f"{ask} --dry-run", capsys)
        other = invoke("ask 'where is item 4' --user mia -n 3 --dry-run --show-prompt", capsys)
        assert f"as {made} earlier call" in other
        assert "where is item" in other
        assert "\x1b" not in other, "a record's text drives no terminal"
        assert len(server.calls) == made


def test_fit_says_where_there_is_nothing_to_call_and_calls_nothing(
    server: FaultServer, capsys: pytest.CaptureFixture[str]
) -> None:
    with server:
        assert "No LLM call and no cost" in invoke("fit --dry-run", capsys)
        nothing = json.loads(invoke("fit --dry-run --json", capsys))
        assert (nothing["stages"], nothing["total"]["calls"], nothing["seconds"]) == ({}, 0, 0.0)
        line = "fit --dry-run --supervision llm"
        shown = invoke(f"{line} --show-prompt", capsys)
        assert "where is item" in shown
        assert "\x1b" not in shown
        told = json.loads(invoke(f"{line} --show-prompt --json", capsys))
        assert told["prompt"][0]["role"] == "system"
        assert json.loads(invoke(f"{line} --json", capsys))["prompt"] is None
        calls = [stage["calls"] for stage in told["stages"].values()]
        assert all(calls)
        assert told["total"]["calls"] == sum(calls)
        assert told["seconds"] == 2.0 * -(-sum(calls) // 8)
        assert server.calls == []


def test_eval_on_the_store_has_the_same_table(
    server: FaultServer, capsys: pytest.CaptureFixture[str]
) -> None:
    with server:
        out = invoke("eval --dry-run --methods zero-shot,rag-bm25", capsys)
        assert "replies: answers" in out
        assert "│ all" in out
        told = json.loads(invoke("eval --dry-run --methods zero-shot,rag-bm25 --json", capsys))
        assert told["model"] == "openai/served"
        assert told["total"]["calls"] == told["stages"]["replies: answers"]["calls"] > 0
        assert told["seconds_from"] == "assumption"
        assert server.calls == []


def price(*stages: Usage, at_once: int = 8, timed: int = 0, model: str = "openai/x") -> Price:
    return Price(model, {f"s{i}": usage for i, usage in enumerate(stages)}, at_once, timed)


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        (
            price(Usage(calls=17, seconds=34.0)),
            "about 6 seconds, 8 calls at a time, assuming 2 seconds a call",
        ),
        (
            price(Usage(calls=1, seconds=9.0), timed=1),
            "about 9 seconds, 8 calls at a time, as 1 earlier call took",
        ),
        (
            price(Usage(calls=9, seconds=600.0), at_once=1, timed=40),
            "about 10 minutes, as 40 earlier calls took",
        ),
        (
            price(Usage(calls=9, seconds=7200.0), at_once=1, model="local/q"),
            "about 2 hours, assuming 30 tokens a second",
        ),
        (price(Usage(calls=1, seconds=0.1), at_once=1, timed=2), "about 1 second,"),
    ],
)
def test_the_time_says_what_it_stands_on(told: Price, expected: str) -> None:
    assert time_line(told).startswith(expected)


def test_an_unknown_cost_makes_an_unknown_total(capsys: pytest.CaptureFixture[str]) -> None:
    render_price(
        price(Usage(calls=1, cost=None), Usage(calls=1, cost=0.5)), as_json=False, why_none=""
    )
    assert capsys.readouterr().out.count("cost unknown") == 2
