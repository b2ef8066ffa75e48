"""tasks.json: kept, joined, refused where damaged."""

from __future__ import annotations

from pathlib import Path

import pytest

from hydra_cli.core.errors import StoreError
from hydra_cli.core.tasks import PRESETS, TaskSpec
from hydra_cli.store.task_file import keep_labels, load_tasks, save_task
from hydra_cli.wiring import load_settings

FILE = "tasks.json"
KINDS = TaskSpec("kinds", "classification", "Name it.", ("bug", "praise"))


def test_round_trip_and_modes(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    assert load_tasks(folder) == {}
    stars = TaskSpec("stars", "rating", "Rate it.", ("1", "2"), marker="review:")
    save_task(folder, KINDS)
    save_task(folder, stars)
    assert load_tasks(folder) == {"kinds": KINDS, "stars": stars}
    assert (folder / FILE).stat().st_mode & 0o777 == 0o600
    assert folder.stat().st_mode & 0o777 == 0o700


def test_labels_of_two_writers_join(tmp_path: Path) -> None:
    save_task(tmp_path, KINDS)
    kept = save_task(tmp_path, KINDS.with_labels(["bug", "question"]))
    assert kept.labels == ("bug", "praise", "question")
    assert load_tasks(tmp_path)["kinds"] == kept


def test_labels_can_be_dropped(tmp_path: Path) -> None:
    save_task(tmp_path, KINDS)
    keep_labels(tmp_path, "kinds", {"bug"})
    keep_labels(tmp_path, "unknown", {"bug"})
    assert load_tasks(tmp_path)["kinds"].labels == ("bug",)
    assert b"praise" not in (tmp_path / FILE).read_bytes()


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{", '{"tasks": []}', '{"tasks": {"x": {}}}', "\xff",
     '{"tasks": {"x": {"kind": "guess", "instruction": ""}}}',
     '{"tasks": {"x": {"kind": "rating", "instruction": "", "labels": [1]}}}',
     '{"tasks": {"x": {"kind": "rating", "instruction": "", "more": 1}}}'],
)  # fmt: skip
def test_a_damaged_file_is_one_clear_error(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE).write_bytes(text.encode("latin-1"))
    with pytest.raises(StoreError, match="is damaged") as error:
        load_tasks(tmp_path)
    assert "next ingest" in str(error.value.hint)


def test_settings_lay_the_config_over_it_and_it_over_the_presets(home: Path) -> None:
    save_task(home, KINDS)
    save_task(home, PRESETS["LaMP_2N"].with_labels(["arts", "sports"]))
    (home / "config.toml").write_text('[tasks.kinds]\nkind = "classification"\nlabels = ["x"]\n')
    tasks = load_settings().tasks
    assert tasks["kinds"].labels == ("x",)
    assert tasks["kinds"].instruction == "Name it."
    assert tasks["LaMP_2N"].labels == ("arts", "sports")
    assert tasks["LaMP_4"] == PRESETS["LaMP_4"]
