"""The command, against a server on this machine: output, exit codes, resuming."""

from __future__ import annotations

import html
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from hydra_cli import __version__
from hydra_cli.cli.app import app, run
from hydra_cli.wiring import load_settings
from hydra_cli.workflows import evaluate as workflow
from tests.evaluation.helpers import TINY
from tests.llm.fault_server import Call, FaultServer, Reply, completion, error, tokens

PROMPT = "zero-shot,rag-bm25,consensus"

Table = Callable[[str, int], tuple[str, str]]
"""What a run of these methods shows in so many columns, and what it says."""


def said(call: Call) -> Reply:
    """Each prompt's own answer, as often as asked for."""
    words = call.prompt.split()
    texts: list[str | None] = [" ".join(words[i : i + 4]) for i in range(call.n)]
    return completion(texts, usage=tokens(20, 4 * call.n))


@pytest.fixture
def arguments(tiny_encoder_path: Path, tmp_path: Path) -> list[str]:
    return _arguments(tiny_encoder_path, tmp_path, "LaMP_4")


def _arguments(encoder: Path, folder: Path, task: str, *, split: Path = TINY) -> list[str]:
    part = split / task
    return [
        *("eval", "--questions", str(part / "dev_questions.json")),
        *("--outputs", str(part / "dev_outputs.json")),
        *("--train-questions", str(part / "train_questions.json")),
        *("--train-outputs", str(part / "train_outputs.json")),
        *("--encoder", str(encoder), "--model", "openai/served", "-n", "3"),
        *("--draws", "100", "--cache", str(folder / "cache"), "--train-limit", "8"),
    ]


def serve(monkeypatch: pytest.MonkeyPatch, server: FaultServer) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    monkeypatch.setenv("OPENAI_API_BASE", server.url)


def invoke(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    code = run(arguments)
    found = capsys.readouterr()
    return code, found.out, found.err


@pytest.mark.parametrize("task", ["LaMP_4", "LaMP_3"])
def test_the_yardsticks_are_trained_on_the_llms_answers(
    task: str,
    tiny_encoder_path: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Their encoder stands behind two others: one without torch, and one that keeps vectors."""
    more = ["--methods", "rag-bm25,hydra,mof", "--supervision", "llm", "--json"]
    more += ["--fit-records", "2"]
    with FaultServer(said) as server:
        serve(monkeypatch, server)
        arguments = _arguments(tiny_encoder_path, tmp_path, task)
        code, out, err = invoke([*arguments, *more], capsys)
    assert code == 0, err
    for name, method in json.loads(out)["methods"].items():
        assert (method["missing"], method["queries"] > 0) == (0, True), (name, err)


def test_json_report_and_predictions(
    arguments: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    lines = tmp_path / "predictions.jsonl"
    with FaultServer(said) as server:
        serve(monkeypatch, server)
        more = ["--json", "--methods", f"{PROMPT},hydra-pers", "--predictions", str(lines)]
        code, out, err = invoke([*arguments, *more], capsys)
        made = len(server.calls)
        again = invoke([*arguments, *more], capsys)
        assert len(server.calls) == made, "a second run must not call again"
    assert code == 0, err
    found = json.loads(out)
    assert found["task"] == "LaMP_4"
    assert found["queries"] == 11
    assert set(found["methods"]) == {"zero-shot", "rag-bm25", "consensus", "hydra-pers"}
    assert found["usage"]["calls"] - found["usage"]["cached_calls"] <= made
    repeated = json.loads(again[1])
    for name, method in repeated["methods"].items():
        assert method["metrics"] == found["methods"][name]["metrics"]
        assert method["tokens"] == found["methods"][name]["tokens"]
    assert len(lines.read_text("utf-8").splitlines()) == 4 * 11
    assert found["verdict"]["against"] in (found["best_prompt_based"], found["best_control"])
    assert found["better_is"]["ROUGE-1"] == "higher"
    assert found["version"] == __version__
    assert "used:" in err


@pytest.fixture
def table(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Table:
    def show(methods: str, columns: int) -> tuple[str, str]:
        monkeypatch.setenv("COLUMNS", str(columns))
        with FaultServer(said) as server:
            serve(monkeypatch, server)
            code, out, err = invoke([*arguments, "--methods", methods], capsys)
        assert code == 0, err
        return out, err

    return show


def test_the_table_shows_what_was_scored(table: Table) -> None:
    out, err = table(f"{PROMPT},oracle,knn", 200)
    assert "11/11" in out
    assert "oracle (bound)" in out
    assert "knn skipped" in err


def test_the_table_can_be_read_in_80_columns(table: Table) -> None:
    out, _ = table(f"{PROMPT},oracle", 80)
    rows = [line for line in out.splitlines() if "│ zero-shot" in line]
    assert len(rows) == 3  # how good it is, its meaning and style, and what it takes
    assert "11/11" in rows[2]
    assert max(len(line) for line in out.splitlines() if "│" in line or "━" in line) <= 80
    for word in ("ROUGE-1", "ROUGE-L", "METEOR", "setup", "tokens"):
        assert word in out


def test_dry_run_calls_nothing(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with FaultServer(said) as server:
        serve(monkeypatch, server)
        more = [*arguments, "--methods", f"{PROMPT},pag,hydra-pers", "--dry-run"]
        more += ["--supervision", "llm"]
        code, out, err = invoke([*more, "--json"], capsys)
        assert code == 0, err
        assert server.calls == []
        planned = json.loads(out)
        stages = planned["stages"]
        assert {"LaMP_4: labels for hydra-pers", "LaMP_4: answers"} <= set(stages)
        assert planned["total"]["calls"] == sum(stage["calls"] for stage in stages.values())
        assert planned["total"]["prompt_tokens"] > 1000
        code, out, err = invoke(more, capsys)
        assert (code, server.calls) == (0, [])
        assert "LaMP_4: answers" in out


def test_a_provider_that_fails_midway_ends_with_7_and_resumes(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    gone = True

    def plan(call: Call) -> Reply:
        return error(401, "no such key") if gone and call.number >= 9 else said(call)

    with FaultServer(plan) as server:
        serve(monkeypatch, server)
        more = [*arguments, "--methods", PROMPT, "--json", "--concurrency", "1"]
        code, out, err = invoke(more, capsys)
        assert code == 7
        found = json.loads(out)
        assert found["complete"] is False
        scored = [method["queries"] for method in found["methods"].values()]
        assert 0 < sum(scored) < 33
        assert "incomplete" in err
        assert "run the same command again" in err
        gone = False
        code, out, err = invoke(more, capsys)
        assert code == 0, err
        assert [m["queries"] for m in json.loads(out)["methods"].values()] == [11, 11, 11]
        good = [call for call in server.calls if call.number < 9]
        prompts = [json.dumps(call.body["messages"]) + str(call.n) for call in server.calls]
        for call in good:
            assert prompts.count(json.dumps(call.body["messages"]) + str(call.n)) == 1


def test_a_limit_on_calls_ends_with_8(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with FaultServer(said) as server:
        serve(monkeypatch, server)
        code, out, err = invoke(
            [*arguments, "--methods", PROMPT, "--max-calls", "5", "--json"], capsys
        )
        assert len(server.calls) <= 5
    assert code == 8, err
    assert json.loads(out)["complete"] is False


def test_a_suite_writes_one_table(
    tiny_encoder_path: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with FaultServer(said) as server:
        serve(monkeypatch, server)
        code, out, err = invoke(
            [
                *("eval", "--suite", str(TINY), "--task", "LaMP_4,LaMP_5", "--json"),
                *("--methods", "zero-shot,rag-bm25,consensus", "--model", "openai/served"),
                *("--encoder", str(tiny_encoder_path), "-n", "2", "--draws", "100"),
                *("--cache", str(tmp_path / "cache"), "--seeds", "0,1"),
            ],
            capsys,
        )
    assert code == 0, err
    found = json.loads(out)
    assert set(found["tasks"]) == {"LaMP_4", "LaMP_5"}
    assert found["seeds"] == [0, 1]
    assert "consensus" in found["average_relative_gain"]


def test_the_store_itself(
    tiny_encoder_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    questions = TINY / "LaMP_4" / "dev_questions.json"
    code, _, err = invoke(["ingest", str(questions), "--task", "LaMP_4"], capsys)
    assert code == 0, err
    with FaultServer(said) as server:
        serve(monkeypatch, server)
        more = ["--encoder", str(tiny_encoder_path), "--model", "openai/served", "--json"]
        code, out, err = invoke(
            ["eval", "--task", "LaMP_4", "--hold-out", "2", "--methods", "rag-bm25", *more], capsys
        )
        sent = [call.body["messages"] for call in server.calls]
    assert code == 0, err
    found = json.loads(out)
    # Four users have nine records and one has two, of which one must stay.
    assert found["queries"] == 4 * 2 + 1
    asked = {messages[-1]["content"] for messages in sent}
    shown = {m["content"] for messages in sent for m in messages[1:-1] if m["role"] == "user"}
    assert not asked & shown, "a held-out record was shown as evidence"


def suite_with(folder: Path, declared: str) -> Path:
    """A folder with one task that is no preset: the tiny headlines under another name."""
    (folder / "heads").mkdir(parents=True)
    for path in (TINY / "LaMP_4").iterdir():
        text = path.read_text("utf-8").replace('"task": "LaMP_4"', '"task": "heads"')
        (folder / "heads" / path.name).write_text(text, "utf-8")
    (folder / "tasks.toml").write_text(declared, "utf-8")
    return folder


HEADS = """[tasks.heads]
kind = "generation"
instruction = "Write the headline."
marker = "article:"
input_field = "text"
output_field = "title"
"""


@pytest.mark.parametrize(
    ("declared", "lines"),
    [
        (HEADS, True),
        (HEADS + "answer_tokens = 50\n", True),
        (HEADS + "multiline = false\nanswer_tokens = 32\n", False),
    ],
)
def test_a_suite_s_task_learns_from_records_whether_answers_have_lines(
    declared: str, lines: bool, tmp_path: Path
) -> None:
    """As at ingest. An answer that is cut at its first line is no letter."""
    folder = suite_with(tmp_path, declared)
    for name in ("train", "dev"):
        path = folder / "heads" / f"{name}_questions.json"
        asked = json.loads(path.read_text("utf-8"))
        for question in asked:
            for record in question["profile"]:
                record["title"] = record["title"][:20] + "\n\n" + "and so on " * 20
        path.write_text(json.dumps(asked), "utf-8")
    source = workflow.SuiteFolder(folder)
    settings = load_settings(tmp_path / "store")
    (found,) = workflow.read_source(source, settings, workflow.DataLimits())
    assert found.questions.task.multiline is lines
    assert (found.questions.task.answer_tokens > 32) is lines
    if "= 50" in declared:
        assert found.questions.task.answer_tokens == 50
    assert found.train is not None
    assert found.train.task == found.questions.task


def test_a_suite_may_declare_its_tasks_and_the_report_names_the_command(
    tiny_encoder_path: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("HYDRA_PERS_MODEL", "openai/served")
    monkeypatch.setenv("HYDRA_PERS_ENCODER", str(tiny_encoder_path))
    suite, report = suite_with(tmp_path / "my suite", HEADS), tmp_path / "report"
    with FaultServer(said) as server:
        serve(monkeypatch, server)
        more = ["--methods", "zero-shot,rag-bm25", "--draws", "100", "--report", str(report)]
        code, out, err = invoke(["eval", "--suite", str(suite), *more], capsys)
        assert code == 0, err
        assert "Of prompts and controls, " in out
        found = json.loads((report / "results.json").read_text("utf-8"))
        assert found["task"] == "heads"
        # The command alone makes the run again: nothing of it comes from the environment.
        monkeypatch.delenv("HYDRA_PERS_MODEL")
        monkeypatch.delenv("HYDRA_PERS_ENCODER")
        made = len(server.calls)
        words = shlex.split(found["command"])
        assert words[:2] == ["hydra-pers", "eval"]
        code, _, err = invoke([*words[1:], "--json"], capsys)
        assert (code, len(server.calls)) == (0, made), err
    assert found["command"] in html.unescape((report / "report.html").read_text("utf-8"))


@pytest.mark.parametrize(
    ("declared", "words"),
    [
        ("[tasks.heads", "not valid TOML"),
        ("[tasks.heads]\nkind = 'poem'", "kind"),
        ("[tasks.heads]\ncolour = 'red'", "colour"),
        ("tasks = 3", "tasks"),
        ("model = 'x'", "unknown key"),
        ("", "unknown task"),
    ],
)
def test_a_bad_task_file_is_one_clear_line(
    declared: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    suite = suite_with(tmp_path / "suite", declared)
    code, out, err = invoke(["eval", "--suite", str(suite), "--methods", "zero-shot"], capsys)
    assert (code, out) == (3, "")
    assert words in err
    assert "Traceback" not in err


def test_a_task_that_the_folder_lacks(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = invoke(["eval", "--suite", str(TINY), "--task", "LaMP_4,poems"], capsys)
    assert code == 3
    assert "holds no task 'poems'" in err


BAD = [
    (["--methods", "rag-bm52"], 5, "did you mean"),
    (["--seeds", "0,x"], 2, "whole numbers"),
    (["--supervision", "magic"], 2, "--supervision"),
    (["--suite", "/nowhere"], 2, "exclude"),
]


@pytest.mark.parametrize(("more", "code", "words"), BAD)
def test_wrong_options(
    arguments: list[str],
    more: list[str],
    code: int,
    words: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    found, out, err = invoke([*arguments, *more], capsys)
    assert (found, out) == (code, "")
    assert words in err


def change(folder: Path, name: str, edit: Any) -> Path:
    """A copy of the tiny LaMP_4 with one file edited."""
    target = folder / "data" / "LaMP_4"
    target.mkdir(parents=True)
    for path in (TINY / "LaMP_4").iterdir():
        value = json.loads(path.read_text("utf-8"))
        if path.name == name:
            value = edit(value)
        (target / path.name).write_text(json.dumps(value), "utf-8")
    return folder / "data"


def _golds(edit: Any) -> Any:
    return lambda value: {**value, "golds": edit(value["golds"])}


@pytest.mark.parametrize(
    ("name", "edit", "words"),
    [
        ("dev_outputs.json", _golds(lambda g: g[1:]), "have no reference"),
        ("dev_questions.json", lambda q: q[1:], "have no question"),
        ("dev_outputs.json", _golds(lambda g: [*g, g[0]]), "twice"),
        ("dev_questions.json", lambda q: [*q, q[0]], "twice"),
        ("dev_outputs.json", lambda v: {**v, "task": "LaMP_9"}, "unknown task"),
        ("dev_outputs.json", _golds(lambda g: [{**g[0], "output": " "}, *g[1:]]), "is empty"),
        ("dev_outputs.json", lambda v: [], "not a file of LaMP references"),
        ("dev_questions.json", lambda q: [], "no LaMP questions"),
    ],
)
def test_wrong_files(
    name: str,
    edit: Any,
    words: str,
    tiny_encoder_path: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    data = change(tmp_path, name, edit)
    code, out, err = invoke(_arguments(tiny_encoder_path, tmp_path, "LaMP_4", split=data), capsys)
    assert (code, out) == (3, "")
    assert words in err
    assert "Traceback" not in err


def test_training_users_must_be_others(
    tiny_encoder_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = _arguments(tiny_encoder_path, tmp_path, "LaMP_4")
    part = TINY / "LaMP_4"
    arguments += ["--train-questions", str(part / "dev_questions.json")]
    arguments += ["--train-outputs", str(part / "dev_outputs.json")]
    code, _, err = invoke(arguments, capsys)
    assert code == 3
    assert "both trained on and evaluated" in err


def test_outputs_without_questions(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = invoke(["eval", "--outputs", "x.json"], capsys)
    assert code == 2
    assert "belong together" in err


def test_help_lists_the_command() -> None:
    assert " eval " in CliRunner().invoke(app, ["--help"]).output


@pytest.mark.slow
def test_sigkill_and_resume_make_no_call_twice(arguments: list[str], tmp_path: Path) -> None:
    """A run killed without warning, twice; the server counts."""
    with FaultServer(said, delay=0.05) as server:
        environment = {
            **os.environ,
            "OPENAI_API_KEY": "sk-test",
            "OPENAI_API_BASE": server.url,
        }
        command = [sys.executable, "-m", "hydra_cli", *arguments, "--methods", f"{PROMPT},pag"]
        command += ["--json", "--concurrency", "2"]
        for stop_after in (8, 20):
            process = subprocess.Popen(
                command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            deadline = time.monotonic() + 90
            while len(server.calls) < stop_after and time.monotonic() < deadline:
                assert process.poll() is None
                time.sleep(0.005)
            process.send_signal(signal.SIGKILL)
            process.wait()
        killed = len(server.calls)
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        total = len(server.calls)
    found = json.loads(done.stdout)
    assert found["complete"] is True
    prompts = [json.dumps([call.body["messages"], call.n]) for call in server.calls]
    # What was on its way when the process died is all that may be asked again.
    assert len(prompts) - len(set(prompts)) <= 2 * 2
    assert killed < total


def test_answers_that_were_cut_are_counted(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def plan(call: Call) -> Reply:
        return completion(["and so on and"], usage=tokens(9, 9), finish="length")

    with FaultServer(plan) as server:
        serve(monkeypatch, server)
        more = [*arguments, "--methods", "zero-shot"]
        out = invoke([*more, "--json"], capsys)[1]
        assert json.loads(out)["methods"]["zero-shot"]["cut"] == 11
        assert "cut at answer_tokens, which is too low: 11 of zero-shot" in invoke(more, capsys)[2]
