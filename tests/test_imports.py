"""What a command must not load, looked at in processes of their own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hydra_cli.core.records import Record
from hydra_cli.core.tasks import PRESETS
from hydra_cli.store.task_file import save_task

SERVE = ("starlette", "uvicorn", "sse_starlette", "mcp")
HEAVY = (
    *("torch", "transformers", "lancedb", "lance", "litellm", "pandas", "pyarrow", "sklearn"),
    *SERVE,
)

PROBE = """
import json, sys
from hydra_cli.cli.app import main
sys.argv = ["hydra-pers", *sys.argv[1:]]
try:
    main()
except SystemExit as end:
    code = end.code or 0
else:
    code = 0
loaded = sorted({name.split(".")[0] for name in sys.modules})
sys.stderr.write("\\n" + json.dumps([code, loaded]))
"""


def loaded_by(*arguments: str, code: int | None = 0) -> set[str]:
    """The packages that a command loads on its way to that exit code; None: to any error."""
    done = subprocess.run(
        [sys.executable, "-c", PROBE, *arguments], capture_output=True, text=True, timeout=120
    )
    ended, loaded = json.loads(done.stderr.splitlines()[-1])
    assert ended == code or (code is None and ended), done.stderr
    return set(loaded)


@pytest.mark.parametrize(
    "arguments",
    [("--help",), ("--version",), ("ingest", "--help"), ("users", "--help"), ("history", "--help")],
)
def test_help_and_version_load_nothing_heavy(arguments: tuple[str, ...]) -> None:
    assert loaded_by(*arguments).isdisjoint(HEAVY)


@pytest.fixture
def filled(home: Path, records: list[Record]) -> Path:
    from hydra_cli.store.lance_store import LanceStore

    LanceStore.open(home, create=True).add(records)
    save_task(home, PRESETS["LaMP_2N"].with_labels(["sports", "comedy"]))
    return home


@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize("arguments", [("users",), ("history", "ann", "--json")])
def test_users_and_history_load_no_torch(arguments: tuple[str, ...]) -> None:
    assert loaded_by(*arguments).isdisjoint(("torch", "transformers", "litellm", "pandas"))


def test_ingest_loads_no_torch(home: Path, tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text('{"user": "u", "input": "a", "output": "b"}\n')
    assert loaded_by("ingest", str(path)).isdisjoint(("torch", "transformers", "litellm", "pandas"))
    assert (home / "tasks.json").is_file()


@pytest.mark.usefixtures("home")
def test_fit_refuses_an_unknown_recipe_before_anything_heavy() -> None:
    assert loaded_by("fit", "--recipe", "foo", code=5).isdisjoint(HEAVY)


HEAVIEST = ("torch", "transformers", "litellm", "sklearn", "nltk", "pandas")


@pytest.fixture
def asked(
    filled: Path, tiny_encoder_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[list[str]]:
    """A command that a provider on loopback answers, and the environment it needs."""
    from tests.llm.fault_server import FaultServer, completion

    with FaultServer(lambda call: completion(["comedy"] * call.n)) as server:
        monkeypatch.setenv("OPENAI_API_BASE", server.url)
        yield [
            *("ask", "a query", "--user", "ann", "--model", "openai/x", "-n", "2"),
            *("--encoder", str(tiny_encoder_path)),
        ]


def test_ask_over_http_needs_no_torch_and_from_the_cache_no_litellm(asked: list[str]) -> None:
    first = loaded_by(*asked)
    assert "litellm" in first
    assert first.isdisjoint(("torch", "transformers"))
    assert loaded_by(*asked).isdisjoint(HEAVIEST)


def test_a_prompt_can_be_seen_without_an_llm(asked: list[str]) -> None:
    assert loaded_by(*asked, "--show-prompt").isdisjoint(HEAVIEST)


def test_fit_needs_no_torch(filled: Path, tiny_encoder_path: Path) -> None:
    encoder = ("--encoder", str(tiny_encoder_path))
    assert loaded_by("fit", *encoder).isdisjoint(("torch", "transformers", "litellm"))
    assert loaded_by("fit", "--user", "ann", *encoder).isdisjoint(("torch", "litellm"))


@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize(
    "wrong",
    [
        ("--retriever", "foo"),
        ("--recipe", "foo"),
        ("--model", "openai/gpt-4o-mini"),
        ("--model", "local/no such model"),
    ],
)
def test_what_can_be_refused_is_refused_at_once(wrong: tuple[str, str]) -> None:
    assert loaded_by("ask", "a query", "--user", "ann", *wrong, code=None).isdisjoint(HEAVIEST)
