"""``config``: checked values, kept comments, refused nonsense."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hydra_cli.cli.app import app
from hydra_cli.config import Settings
from hydra_cli.core.errors import NotFound, UsageError
from hydra_cli.store.folder import StoreFolder
from hydra_cli.wiring import load_settings
from hydra_cli.workflows import configure

FILE = """# chosen with care
model = "openai/gpt-4o-mini"  # cheap
k = 3

[tasks.tickets]
kind = "classification"  # three of them
labels = ["bug", "question"]
"""


@pytest.fixture
def store(tmp_path: Path) -> Path:
    folder = tmp_path / "store"
    folder.mkdir()
    StoreFolder(folder).settings.write_text(FILE, "utf-8")
    return folder


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("model", "ollama/llama3.2", "ollama/llama3.2"),
        ("providers", "local,ollama", ("local", "ollama")),
        ("providers", " local , ollama ,", ("local", "ollama")),
        ("providers", "", ()),
        ("k", "8", 8),
        ("temperature", "1", 1.0),
        ("timeout", "2.5", 2.5),
        ("cache", "off", False),
        ("cache", "TRUE", True),
        ("retriever", "bm25", "bm25"),
        ("user", "Ünal 🦊", "Ünal 🦊"),
    ],
)
def test_set_then_read(store: Path, key: str, text: str, value: object) -> None:
    assert configure.assign(store, key, text) == value
    settings = load_settings(store)
    assert getattr(settings, key) == value
    assert configure.get(settings, key) == configure.ShownSetting(key, value, True)


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("k", "many"),
        ("k", "1.5"),
        ("k", ""),
        ("temperature", "hot"),
        ("temperature", "nan"),
        ("timeout", "inf"),
        ("cache", "maybe"),
        ("retriever", "magic"),
    ],
)
def test_nonsense_is_refused_and_nothing_written(store: Path, key: str, text: str) -> None:
    with pytest.raises(UsageError):
        configure.assign(store, key, text)
    assert StoreFolder(store).settings.read_text("utf-8") == FILE


@pytest.mark.parametrize("key", ["modle", "store", "tasks", "tasks.x", ""])
def test_unknown_keys_are_refused(store: Path, key: str) -> None:
    for act in (
        lambda: configure.assign(store, key, "x"),
        lambda: configure.unset(store, key),
        lambda: configure.get(Settings(store=store), key),
    ):
        with pytest.raises((NotFound, UsageError)):
            act()
    assert StoreFolder(store).settings.read_text("utf-8") == FILE


def test_a_typing_error_gets_a_suggestion(store: Path) -> None:
    with pytest.raises(NotFound) as caught:
        configure.assign(store, "modle", "x")
    assert caught.value.hint == "did you mean model?"


def test_comments_and_tasks_survive(store: Path) -> None:
    configure.assign(store, "k", "5")
    configure.assign(store, "seed", "7")
    text = StoreFolder(store).settings.read_text("utf-8")
    assert text.startswith('# chosen with care\nmodel = "openai/gpt-4o-mini"  # cheap\nk = 5\n')
    assert 'kind = "classification"  # three of them' in text
    settings = load_settings(store)
    assert settings.seed == 7
    assert settings.tasks["tickets"].labels == ("bug", "question")


def test_unset_brings_the_default_back(store: Path) -> None:
    assert configure.unset(store, "k")
    assert not configure.unset(store, "k")
    assert load_settings(store).k == Settings(store=store).k
    assert "# chosen with care" in StoreFolder(store).settings.read_text("utf-8")


def test_the_first_setting_makes_the_file(tmp_path: Path) -> None:
    configure.assign(tmp_path / "new", "k", "2")
    path = StoreFolder(tmp_path / "new").settings
    assert path.read_text("utf-8") == "k = 2\n"
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_broken_file_is_left_alone(store: Path) -> None:
    StoreFolder(store).settings.write_text("k = = 3", "utf-8")
    with pytest.raises(UsageError, match="not valid TOML"):
        configure.assign(store, "k", "5")
    assert StoreFolder(store).settings.read_text("utf-8") == "k = = 3"


def test_show_tells_what_the_file_names(store: Path) -> None:
    found = {item.key: item for item in configure.show(load_settings(store))}
    assert found["k"] == configure.ShownSetting("k", 3, True)
    assert found["n"].given is False
    assert "store" not in found


def test_the_commands(store: Path) -> None:
    runner = CliRunner()
    option = ["--store", str(store)]
    done = runner.invoke(app, ["config", "set", "providers", "local,ollama", *option])
    assert done.exit_code == 0, done.output
    done = runner.invoke(app, ["config", "get", "providers", *option])
    assert done.stdout == "local,ollama\n"
    done = runner.invoke(app, ["config", "show", "--json", *option])
    assert json.loads(done.stdout)["providers"] == ["local", "ollama"]
    done = runner.invoke(app, ["config", "unset", "providers", *option])
    assert done.exit_code == 0
    done = runner.invoke(app, ["config", "get", "providers", "--json", *option])
    assert json.loads(done.stdout) == {"providers": []}
    done = runner.invoke(app, ["config", "show", *option])
    assert "gpt-4o-mini" in done.stdout
