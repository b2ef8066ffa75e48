from __future__ import annotations

import json
from pathlib import Path

import pytest

from hydra_cli.cli.app import run


@pytest.fixture(autouse=True)
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HYDRA_PERS_MODELS", str(tmp_path / "models"))
    return tmp_path / "models"


def test_list_names_what_is_known(capsys: pytest.CaptureFixture[str], models: Path) -> None:
    assert run(["models", "list", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in rows] == [
        "all-minilm-l6-v2",
        "smollm2-135m-instruct",
        "qwen2.5-0.5b-instruct",
    ]
    assert all(row["path"] is None and row["bytes"] is None for row in rows)
    assert run(["models", "list"]) == 0
    assert "not fetched" in capsys.readouterr().out
    assert not models.exists()


def test_pull_of_a_folder_needs_no_network(
    tiny_encoder_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["models", "pull", str(tiny_encoder_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["path"] == str(tiny_encoder_path)


@pytest.mark.parametrize(
    ("arguments", "code", "word"),
    [
        (["all-minilm"], 5, "all-minilm-l6-v2"),
        (["org/unheard-of"], 6, "offline"),
        (["."], 6, "holds no"),
        ([".", "--force"], 2, "nothing to fetch"),
        ([], 2, "'NAME'"),
    ],
)
def test_pull_that_fails(
    arguments: list[str],
    code: int,
    word: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["models", "pull", *arguments]) == code
    talk = capsys.readouterr()
    assert talk.out == ""
    assert word in talk.err
