"""A server as a process, under signals, large bodies and other processes at its store."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from hydra_cli import Hydra
from tests.llm.fault_server import Call, FaultServer, Reply, completion
from tests.serving.test_serve_command import served

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")


class Provider:
    """A provider that holds its answers back until it is told to give them."""

    def __init__(self) -> None:
        self.free = threading.Event()
        self.free.set()
        self.asked = threading.Event()
        self.prompts: list[str] = []

    def __call__(self, call: Call) -> Reply:
        self.prompts.append(json.dumps(call.body["messages"]))
        self.asked.set()
        self.free.wait(60)
        return replace(completion([f"answer {i}" for i in range(call.n)]))


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> Iterator[Provider]:
    plan = Provider()
    with FaultServer(plan) as server:
        monkeypatch.setenv("OPENAI_API_BASE", server.url)
        monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
        yield plan
        plan.free.set()


@pytest.fixture
def options(hydra: Hydra, tiny_encoder_path: Path) -> tuple[str, ...]:
    return ("--model", "openai/x", "--encoder", str(tiny_encoder_path))


def ask(base: str, text: str, user: str = "mia") -> httpx.Response:
    said = [{"role": "user", "content": text}]
    body = {"model": "hydra/openai/x", "user": user, "messages": said}
    return httpx.post(f"{base}/chat/completions", json=body, timeout=90)


def wait_until(true: Any) -> None:
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def refuses(base: str) -> bool:
    try:
        httpx.get(f"{base.removesuffix('/v1')}/healthz", timeout=5)
    except httpx.TransportError:
        return True
    return False


def test_sigterm_lets_requests_end_and_takes_no_new_ones(
    provider: Provider, options: tuple[str, ...]
) -> None:
    with served(*options) as (process, base), ThreadPoolExecutor() as pool:
        provider.free.clear()
        waiting = pool.submit(ask, base, "Is the mug safe?")
        assert provider.asked.wait(90)
        os.kill(process.pid, signal.SIGTERM)
        wait_until(lambda: refuses(base))
        assert not waiting.done()
        provider.free.set()
        answer = waiting.result(60)
        assert answer.status_code == 200
        assert answer.json()["choices"][0]["message"]["content"].startswith("answer")
        _, err = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "SIGTERM: 1 under way are answered first" in err


@pytest.mark.slow
def test_a_second_ctrl_c_ends_at_once(provider: Provider, options: tuple[str, ...]) -> None:
    with served(*options) as (process, base), ThreadPoolExecutor() as pool:
        provider.free.clear()
        waiting = pool.submit(ask, base, "Is the mug safe?")
        assert provider.asked.wait(90)
        os.kill(process.pid, signal.SIGINT)
        wait_until(lambda: refuses(base))
        os.kill(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=60)
        provider.free.set()
        with pytest.raises(httpx.TransportError):
            waiting.result(60)
    assert process.returncode == 130
    assert "Traceback" not in err


@pytest.mark.slow
def test_what_was_taken_survives_sigkill(provider: Provider, options: tuple[str, ...]) -> None:
    with served(*options) as (process, base):
        url = f"{base}/users/mia/records"
        new = [{"input": "Is the pan safe?", "output": "Pans are.", "task": "replies"}]
        assert httpx.post(url, json=new, timeout=60).json()["added"] == 1
        process.kill()
        process.wait(60)
    with served(*options) as (_, base):
        url = f"{base}/users/mia/records?q=pan"
        assert httpx.get(url, timeout=60).json()["total"] == 1
        assert ask(base, "Is the pan safe?").status_code == 200
        assert "Pans are." in provider.prompts[-1]


@pytest.mark.slow
def test_a_user_whom_another_process_forgets_is_gone_at_once(
    provider: Provider, options: tuple[str, ...]
) -> None:
    with served(*options) as (_, base):
        assert ask(base, "Is the mug safe?").json()["hydra"]["personal"]
        assert "mia says the mug is." in provider.prompts[-1]
        forget = [sys.executable, "-m", "hydra_cli", "forget", "mia", "--yes"]
        subprocess.run(forget, check=True, capture_output=True)
        after = ask(base, "Is the mug safe?").json()
        assert not after["hydra"]["personal"]
        assert "mia says" not in provider.prompts[-1]
        assert httpx.get(f"{base}/users/mia/records", timeout=60).status_code == 404
        assert ask(base, "Is the mug safe?", "tom").json()["hydra"]["personal"]


@pytest.mark.slow
def test_answers_go_on_while_another_process_writes(
    provider: Provider, options: tuple[str, ...], tmp_path: Path
) -> None:
    file = tmp_path / "more.jsonl"
    lines = [
        json.dumps({"user": f"u{i % 50}", "input": f"question {i}", "output": f"answer {i}"})
        for i in range(3_000)
    ]
    file.write_text("\n".join(lines))
    with served(*options) as (_, base):
        command = [sys.executable, "-m", "hydra_cli", "ingest", str(file), "--task", "replies"]
        with subprocess.Popen(
            command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        ) as work:
            statuses = []
            while work.poll() is None or len(statuses) < 3:
                statuses.append(ask(base, f"Is the mug safe? {len(statuses)}").status_code)
        assert work.returncode == 0
        assert set(statuses) == {200}
        assert ask(base, "question 7", "u7").json()["hydra"]["personal"]


@pytest.mark.slow
def test_bodies_ids_and_lines_as_they_come_over_a_socket(
    provider: Provider, options: tuple[str, ...]
) -> None:
    with served(*options) as (process, base):
        big = b" " * 10_000_000
        kind = {"Content-Type": "application/json"}
        for path in ("chat/completions", "users/mia/records", "embeddings"):
            whole = httpx.post(f"{base}/{path}", content=big, headers=kind, timeout=60)
            parts = (big[:65_536] for _ in range(100))
            chunked = httpx.post(f"{base}/{path}", content=parts, headers=kind, timeout=60)
            for answer in (whole, chunked):
                assert answer.status_code == 413
                assert answer.json()["error"]["code"] == "body_too_large"
        assert httpx.get(f"{base}/models", timeout=60).status_code == 200
        # A percent sign in an id, which an in-process client would read twice.
        for user, path in (("a%2Fb", "a%252Fb"), ("a/b", "a%2Fb"), ("../x", "%2e%2e%2fx")):
            url = f"{base}/users/{path}"
            sent = [{"input": user, "output": "y"}]
            assert httpx.post(f"{url}/records", json=sent, timeout=60).json()["user"] == user
            found = httpx.get(f"{url}/records", timeout=60).json()["data"]
            assert [record["input"] for record in found] == [user]
        os.kill(process.pid, signal.SIGTERM)
        _, err = process.communicate(timeout=60)
    assert len(err.splitlines()) == 6, "what was served, and nothing of requests"
