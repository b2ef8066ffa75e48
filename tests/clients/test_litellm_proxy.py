"""litellm's proxy, a process of its own with our handler in its config, asked over HTTP."""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.clients.conftest import MODEL, Place
from tests.clients.environments import python_with

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
KEY = f"sk-{secrets.token_hex(32)}"
QUESTION = "Is the lamp safe?"
SAID = f"the LLM says: {QUESTION}"
CONFIG = f"""
model_list:
  - model_name: personal
    litellm_params:
      model: hydra/{MODEL}
litellm_settings:
  custom_provider_map:
    - provider: hydra
      custom_handler: hydra_cli.integrations.litellm_handler.handler
"""


@pytest.fixture(scope="module")
def proxy(kept: Path, place: Place, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a running proxy; nothing that it says of itself leaves this machine."""
    scripts = python_with(kept, "litellm[proxy]>=1.106,<2", ours=True)
    folder = tmp_path_factory.mktemp("proxy")
    (folder / "config.yaml").write_text(CONFIG, "utf-8")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {
        **os.environ,
        **place.llm,
        "HYDRA_PERS_HOME": str(place.store),
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "LITELLM_MASTER_KEY": KEY,
        "HOME": str(folder),
    }
    command = ["litellm", "--config", "config.yaml", "--host", "127.0.0.1", "--port", str(port)]
    log = folder / "log"
    with (
        log.open("w") as out,
        subprocess.Popen(
            [str(scripts / command[0]), *command[1:], "--telemetry", "False"],
            cwd=folder,
            env=environment,
            stdout=out,
            stderr=subprocess.STDOUT,
        ) as process,
    ):
        try:
            yield _ready(f"http://127.0.0.1:{port}", process, log)
        finally:
            process.kill()


def _ready(address: str, process: subprocess.Popen[bytes], log: Path) -> str:
    for _ in range(600):
        assert process.poll() is None, log.read_text()[-3000:]
        try:
            if httpx.get(f"{address}/health/liveliness", timeout=5).status_code == 200:
                return address
        except httpx.HTTPError:
            time.sleep(0.5)
    pytest.fail(f"the proxy didn't start: {log.read_text()[-3000:]}")


def asked(proxy: str, **fields: Any) -> httpx.Response:
    body = {"model": "personal", "messages": [{"role": "user", "content": QUESTION}], **fields}
    key = {"Authorization": f"Bearer {KEY}"}
    return httpx.post(f"{proxy}/v1/chat/completions", json=body, headers=key, timeout=120)


def test_a_model_of_the_proxys_list_answers_as_the_user(proxy: str, place: Place) -> None:
    before = len(place.provider.calls)
    answer = asked(proxy, user="mia").json()
    (choice,) = answer["choices"]
    assert choice["message"]["content"].startswith(SAID)
    assert answer["hydra"]["personal"] is True
    assert answer["hydra"]["user"] == "mia"
    sent = str([call.body["messages"] for call in place.provider.calls[before:]])
    assert "mia says" in sent
    assert "tom says" not in sent


def test_a_stream_of_the_proxys(proxy: str) -> None:
    got = asked(proxy, user="mia", stream=True)
    lines = [line.removeprefix("data: ") for line in got.text.splitlines() if line]
    assert lines[-1] == "[DONE]"
    choices = [c for line in lines[:-1] for c in json.loads(line)["choices"]]
    assert "".join(c["delta"].get("content") or "" for c in choices).startswith(SAID)
    assert [c["finish_reason"] for c in choices if c.get("finish_reason")] == ["stop"]


def test_an_unknown_user_gets_the_llms_own_answer(proxy: str) -> None:
    answer = asked(proxy, user="nobody").json()
    assert answer["choices"][0]["message"]["content"] == SAID
    assert answer["hydra"]["why_not"] == "unknown user"


def test_a_mistake_keeps_its_status(proxy: str) -> None:
    refused = asked(proxy, user="mia", temperature=9)
    assert refused.status_code == 400
    assert "temperature must be from 0 to 2" in refused.text
