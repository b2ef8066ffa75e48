"""Simon Willison's ``llm``: with our plugin, and with the server as an OpenAI-compatible model."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.clients.conftest import MODEL, Place
from tests.clients.environments import python_with

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
QUESTION = "Is the lamp safe?"
SAID = f"the LLM says: {QUESTION}"


@pytest.fixture(scope="module")
def scripts(kept: Path) -> Path:
    return python_with(kept, "llm>=0.36", "litellm>=1.110", ours=True)


@pytest.fixture
def llm(scripts: Path, place: Place, tmp_path: Path) -> Llm:
    environment = {
        **os.environ,
        **place.llm,
        "HYDRA_PERS_HOME": str(place.store),
        "LLM_USER_PATH": str(tmp_path),
    }
    return Llm(scripts / "llm", environment, tmp_path)


class Llm:
    """The command, with settings of this test alone."""

    def __init__(self, command: Path, environment: dict[str, str], folder: Path) -> None:
        self._command, self._environment, self.folder = command, environment, folder

    def __call__(self, *arguments: str, code: int = 0) -> str:
        done = subprocess.run(
            [str(self._command), *arguments],
            env=self._environment,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )
        assert done.returncode == code, done.stderr
        assert "Traceback" not in done.stderr
        return done.stderr if code else done.stdout


def test_the_plugin_brings_the_stores_model(llm: Llm) -> None:
    assert f"hydra-pers: hydra/{MODEL} (aliases: hydra)" in llm("models")
    options = llm("models", "--options", "-m", "hydra")
    assert "user: str" in options
    assert "Whose answer" in options


def test_the_plugin_answers_as_a_user(llm: Llm, place: Place) -> None:
    before = len(place.provider.calls)
    assert llm("-m", "hydra", "-s", "Be kind.", QUESTION, "-o", "user", "mia").startswith(SAID)
    shown = str(place.provider.calls[before].body["messages"])
    assert "Be kind." in shown
    assert "mia says" in shown
    assert "tom says" not in shown
    logged = llm("logs", "--json", "-n", "1")
    assert '"user": "mia"' in logged


def test_a_conversation_goes_on(llm: Llm, place: Place) -> None:
    llm("-m", f"hydra/{MODEL}", QUESTION, "-o", "user", "mia")
    before = len(place.provider.calls)
    llm("-c", "And the mug?", "-o", "user", "mia")
    messages = place.provider.calls[before].body["messages"]
    assert messages[-1]["content"] == "And the mug?"
    assert [message["role"] for message in messages[-3:]] == ["user", "assistant", "user"]
    assert messages[-3]["content"] == QUESTION


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("-o", "user", "nobody"), "no records of user 'nobody'"),
        ((), "the store holds 2 users"),
        (("-o", "user", "mia", "-o", "k", "-1"), "greater than or equal to 0"),
        (("-o", "user", "mia", "-o", "task", "x"), "no records of task 'x'"),
    ],
)
def test_the_plugins_refusals_are_a_line(llm: Llm, arguments: tuple[str, ...], said: str) -> None:
    assert said in llm("-m", "hydra", QUESTION, *arguments, code=1)


def test_the_server_is_an_openai_compatible_model(llm: Llm, place: Place) -> None:
    (llm.folder / "extra-openai-models.yaml").write_text(
        f"- model_id: served\n  model_name: hydra/{MODEL}\n  api_base: {place.base}\n"
        "  headers:\n    x-hydra-user: mia\n"
    )
    before = len(place.provider.calls)
    question = "Is the spoon safe?"  # asked of nobody yet: no answer is kept
    said = f"the LLM says: {question}"
    assert llm("-m", "served", question).startswith(said)
    assert llm("-m", "served", "--no-stream", question).startswith(said)
    assert "mia says" in str(place.provider.calls[before].body["messages"])
