"""A full disk, a read-only folder, blocked sockets: a clear line, and no further damage."""

from __future__ import annotations

import os
import resource
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hydra_cli.cli.app import app
from hydra_cli.core.errors import StoreError
from hydra_cli.store import forgetting as store_forget
from hydra_cli.store.forgetting import Scope
from hydra_cli.store.lance_store import LanceStore
from tests.store.store_helpers import folder_bytes, opened, put_vectors, record

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 3 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(folder)]
    try:
        made = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        made = False
    if not made:
        pytest.skip("only root can mount a small disk")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(store: LanceStore) -> int:
    """Add batches until the disk is full; how many were committed."""
    for number in range(10_000):
        text = os.urandom(15_000).hex()
        batch = [record("big", number * 4 + i, text=text[i * 7000 :]) for i in range(4)]
        try:
            store.add(batch)
        except StoreError as error:
            assert "disk is full" in error.message  # noqa: PT017
            assert error.hint  # noqa: PT017
            return number
    raise AssertionError("the disk never filled")


def test_a_full_disk_loses_nothing_that_was_committed(small_disk: Path) -> None:
    store = opened(small_disk / "store")
    store.add([record("u1", i) for i in range(10)])
    put_vectors(store, "u1")
    committed = fill(store)
    assert committed > 2
    again = LanceStore.open(store.folder.root, create=False)
    assert len(again.records("u1")) == 10
    assert len(again.vectors("u1", "t", [f"u1-{i}" for i in range(10)])) == 10
    assert len(again.records("big")) == committed * 4
    # With room again, the store goes on, and the killed writes leave nothing.
    subprocess.run(["mount", "-o", "remount,size=20m", str(small_disk)], check=True)
    assert again.add([record("u1", 11)]).added == 1
    store_forget.erase(again, Scope("big"))
    assert [summary.user for summary in again.users()] == ["u1"]


def test_a_file_limit_is_a_full_disk(tmp_path: Path) -> None:
    """The same where nobody may mount: a limit on the size of any file."""
    code = (
        "import resource, signal, sys; from pathlib import Path\n"
        "from tests.store.store_helpers import opened, record\n"
        "from hydra_cli.core.errors import StoreError\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "store = opened(Path(sys.argv[1])); store.add([record('u1', 1)])\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))\n"
        "import os\n"
        "try: store.add([record('u2', 2, text=os.urandom(200_000).hex())])\n"
        "except StoreError as error: print(error.message, '|', error.hint)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "store")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "the disk is full" in done.stdout
    store = LanceStore.open(tmp_path / "store", create=False)
    assert [summary.user for summary in store.users()] == ["u1"]
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 50_000


def test_a_read_only_disk_can_be_read(small_disk: Path) -> None:
    store = opened(small_disk / "store")
    store.add([record("u1", i) for i in range(3)])
    put_vectors(store, "u1")
    before = folder_bytes(small_disk)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    again = LanceStore.open(store.folder.root, create=False)
    assert len(again.records("u1")) == 3
    assert len(again.vectors("u1", "t", ["u1-1"])) == 1
    for write in (
        lambda: again.add([record("u1", 9)]),
        lambda: store_forget.erase(again, Scope("u1")),
        lambda: opened(small_disk / "another"),
    ):
        with pytest.raises(StoreError) as caught:
            write()
        assert caught.value.hint
    assert folder_bytes(small_disk) == before


def test_a_store_that_is_a_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("mine")
    with pytest.raises(StoreError):
        LanceStore.open(path, create=True)
    assert path.read_text() == "mine"


def test_ingest_and_forget_open_no_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even a name is looked up."""

    def blocked(*_: object, **__: object) -> None:
        raise AssertionError("a socket was opened")

    source = tmp_path / "in.jsonl"
    source.write_text('{"user": "ann", "input": "a question", "output": "an answer"}\n' * 2)
    for name in ("connect", "connect_ex", "sendto", "bind"):
        monkeypatch.setattr(socket.socket, name, blocked)
    for name in ("getaddrinfo", "create_connection", "gethostbyname"):
        monkeypatch.setattr(socket, name, blocked)
    runner = CliRunner()
    store = ["--store", str(tmp_path / "store")]
    for command in (
        ["ingest", str(source), *store],
        ["users", *store],
        ["history", "ann", *store],
        ["export", "--to", str(tmp_path / "out.tar"), *store],
        ["doctor", *store],
        ["forget", "ann", "--yes", *store],
        ["import", str(tmp_path / "out.tar"), *store],
    ):
        done = runner.invoke(app, command)
        assert done.exit_code == 0, (command, done.exception, done.output)


def test_forget_asks_first(tmp_path: Path) -> None:
    store = opened(tmp_path / "store")
    store.add([record("u1", i) for i in range(3)])
    runner = CliRunner()
    options = ["forget", "u1", "--store", str(tmp_path / "store")]
    shown = runner.invoke(app, [*options, "--dry-run", "--json"])
    assert shown.exit_code == 0
    assert '"records": 3' in shown.stdout
    assert runner.invoke(app, options, input="n\n").exit_code == 1
    assert runner.invoke(app, options, input="").exit_code == 1
    assert len(store.records("u1")) == 3
    assert runner.invoke(app, options, input="y\n").exit_code == 0
    assert store.records("u1") == []
    assert stat.S_IMODE(store.folder.root.stat().st_mode) == 0o700


def test_an_ambiguous_record_id_is_asked_about(tmp_path: Path) -> None:
    store = opened(tmp_path / "store")
    store.add([record("u1", 1, task=task) for task in ("a", "b")])
    runner = CliRunner()
    options = ["forget", "u1", "--record", "u1-1", "--yes", "--store", str(tmp_path / "store")]
    refused = runner.invoke(app, options)
    assert refused.exception is not None
    assert "several tasks" in str(refused.exception)
    assert runner.invoke(app, [*options, "--task", "a"]).exit_code == 0
    assert store.tasks_of("u1") == [("b", 1)]
