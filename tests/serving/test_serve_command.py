"""``hydra-pers serve`` as a process."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.error import HTTPError

import pytest

from hydra_cli import Hydra
from hydra_cli.cli.app import run


@contextmanager
def served(*options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A running server of this test's store and its base URL; what is left of it is killed."""
    command = [sys.executable, "-m", "hydra_cli", "serve", "--port", "0", "--no-warm", "--json"]
    with subprocess.Popen(
        [*command, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            told = ""
            while not told.endswith("}\n"):
                line = process.stdout.readline()
                assert line, process.stderr.read() if process.stderr else ""
                told += line
            yield process, json.loads(told)["base_url"]
        finally:
            process.kill()


def get(url: str) -> dict[str, object]:
    with urllib.request.urlopen(url, timeout=30) as answer:
        found: dict[str, object] = json.load(answer)
        return found


@pytest.mark.usefixtures("hydra")
@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize(("sent", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_it_says_what_it_serves_and_ends_when_asked(sent: signal.Signals, code: int) -> None:
    with served() as (process, base):
        assert get(f"{base}/models")["object"] == "list"
        os.kill(process.pid, sent)
        _, err = process.communicate(timeout=60)
    assert process.returncode == code
    assert f"base URL: {base}" in err
    assert "16 records of 2 users" in err
    assert "Traceback" not in err


def refused(arguments: Sequence[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    code = run(["serve", "--no-warm", *arguments])
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert len(err.splitlines()) <= 2
    return code, err


def test_what_cannot_be_served_is_one_line(
    hydra: Hydra, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, err = refused(["--port", str(port)], capsys)
    assert code == 2
    assert f"port {port} of 127.0.0.1" in err
    code, err = refused(["--port", "0", "--store", str(tmp_path / "none")], capsys)
    assert code == 5
    code, err = refused(["--port", "0", "--model", "openai/gpt-4o-mini"], capsys)
    assert code in (2, 7)
    (hydra.settings.store / "store.json").write_text("{")
    code, err = refused(["--port", "0"], capsys)
    assert code == 4


@pytest.mark.usefixtures("hydra")
def test_others_are_served_with_keys_alone(capsys: pytest.CaptureFixture[str]) -> None:
    code, err = refused(["--port", "0", "--host", "0.0.0.0"], capsys)
    assert code == 2
    assert "hydra-pers keys add --trusted" in err
    assert refused(["--port", "0", "--allow-host", "hydra.example"], capsys)[0] == 2
    assert run(["keys", "add", "--trusted"]) == 0
    with served("--host", "0.0.0.0") as (_, base), pytest.raises(HTTPError) as refusal:
        get(f"{base}/models")
    assert refusal.value.code == 401


@pytest.mark.usefixtures("hydra")
@pytest.mark.parametrize(
    "wrong",
    [
        ("--unknown", "maybe"),
        ("--origin", "chat.example"),
        ("--origin", "https://chat.example/page"),
        ("--allow-host", "hydra.example:80"),
        ("--host", "127.0.0.1:80"),
        ("--rate", "-1"),
        ("--port", "70000"),
    ],
)
def test_options_that_make_no_sense(
    wrong: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert refused(["--port", "0", *wrong], capsys)[0] == 2


def test_without_the_extra_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    code, err = refused([], capsys)
    assert code == 2
    assert 'pip install "hydra-pers[serve]"' in err
