"""How litellm is set up before it is imported."""

from __future__ import annotations

import pytest

from hydra_cli.llm.litellm_loading import choose_client

SWITCH = "EXPERIMENTAL_OPENAI_BASE_LLM_HTTP_HANDLER"


def test_the_quicker_client_is_taken_where_nobody_says_otherwise() -> None:
    environment: dict[str, str] = {"OPENAI_API_KEY": "none", "OPENAI_ORG_ID": ""}
    choose_client(environment)
    assert environment[SWITCH] == "True"
    refused = {SWITCH: "False"}
    choose_client(refused)
    assert refused[SWITCH] == "False"


@pytest.mark.parametrize(
    "name",
    ["OPENAI_ORGANIZATION", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "OPENAI_CUSTOM_HEADERS"],
)
def test_what_only_openai_s_sdk_sends_is_still_sent(name: str) -> None:
    environment = {name: "own"}
    choose_client(environment)
    assert SWITCH not in environment
