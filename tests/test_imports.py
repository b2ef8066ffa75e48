"""What a command must not load, looked at in processes of their own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from hydra_cli.core.records import Record
from hydra_cli.core.tasks import PRESETS
from hydra_cli.store.task_file import save_task

HEAVY = ("torch", "transformers", "lancedb", "lance", "litellm", "pandas", "pyarrow", "sklearn")

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


def loaded_by(*arguments: str, code: int = 0) -> set[str]:
    """The packages that a command loads on its way to that exit code."""
    done = subprocess.run(
        [sys.executable, "-c", PROBE, *arguments], capture_output=True, text=True, timeout=120
    )
    ended, loaded = json.loads(done.stderr.splitlines()[-1])
    assert ended == code, done.stderr
    return set(loaded)


@pytest.mark.parametrize(
    "arguments",
    [("--help",), ("--version",), ("ingest", "--help"), ("users", "--help"), ("history", "--help")],
)
def test_help_and_version_load_nothing_heavy(arguments: tuple[str, ...]) -> None:
    assert loaded_by(*arguments).isdisjoint(HEAVY)


@pytest.fixture
def filled(home: Path, records: list[Record]) -> Path:
    from hydra_cli.store.lancedb_store import LanceHistoryStore

    LanceHistoryStore.open(home, create=True).add(records)
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
