"""What a personal answer can't give comes from the LLM as it is, whole, and says so."""

from __future__ import annotations

import json
from typing import Any

import pytest

from hydra_cli.serving.side_calls import is_side_call
from tests.llm.fault_server import Call, FaultServer, Reply, answers
from tests.serving.serve_tools import MODEL, PATH, QUERY, Serve, as_user, body

TOOL = {
    "type": "function",
    "function": {"name": "stock", "parameters": {"type": "object", "properties": {}}},
}
CALL = {"id": "c1", "type": "function", "function": {"name": "stock", "arguments": "{}"}}
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}
SCHEMA = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}
CHAT = "### Chat History:\n<chat_history>\nUSER: hi\nASSISTANT: hello\n</chat_history>"
TITLES = (
    f"### Task:\nGenerate a concise, 3-5 word title with an emoji.\n### Guidelines:\n- x\n{CHAT}",
    f"### Task:\nGenerate 1-3 broad tags for the main themes.\n{CHAT}",
    "Provide a concise, 5-word-or-less title for the conversation, using title case"
    " conventions. Only return the title itself.\n\nConversation:\nUser: hi\nAI: hello",
    "Analyze this conversation and provide:\n1. The detected language of the conversation\n"
    "2. A concise title in the detected language\n\nUser: hi\nAI: hello",
)

LLMS_OWN: dict[str, tuple[dict[str, Any], str]] = {
    "tools": (body(tools=[TOOL], tool_choice="auto", parallel_tool_calls=False), "tools were sent"),
    "functions": (body(functions=[{"name": "f", "parameters": {}}]), "tools were sent"),
    "json": (body(response_format={"type": "json_object"}), "response_format"),
    "schema": (body(response_format=SCHEMA), "response_format"),
    "logprobs": (body(logprobs=True, top_logprobs=2), "logprobs"),
    "image": (
        body(("user", [{"type": "text", "text": "What is it?"}, IMAGE])),
        "images, audio or files",
    ),
    "earlier image": (
        body(("user", [IMAGE]), ("assistant", "A mug."), ("user", QUERY)),
        "images, audio or files",
    ),
    "assistant last": (body(("user", QUERY), ("assistant", "It is")), "isn't the user's"),
    "no user": (body(("system", "Say hello.")), "isn't the user's"),
    "empty": (body(("user", " ")), "is empty"),
    "title": (body(("user", TITLES[0])), "front-end"),
}


@pytest.mark.parametrize("name", LLMS_OWN)
@pytest.mark.parametrize("stream", [False, True])
def test_the_llm_gets_the_body_as_it_was_sent(served: Serve, name: str, stream: bool) -> None:
    sent, why = LLMS_OWN[name]
    sent = {**sent, "stream": True} if stream else sent
    with FaultServer(answers) as provider:
        got = served(provider).post(PATH, json=sent, headers=as_user("mia"))
    assert got.status_code == 200, got.text
    (call,) = provider.calls
    assert call.body == {**sent, "model": "x"}
    text = got.text
    if stream:
        lines = [line for line in text.split("\n\n") if '"hydra"' in line]
        told = json.loads(lines[-1].removeprefix("data: "))["hydra"]
    else:
        told = got.json()["hydra"]
    assert (told["personal"], told["user"]) == (False, "mia")
    assert why in told["why_not"]


def test_tool_results_pass_through(served: Serve) -> None:
    sent = body(("user", QUERY))
    sent["messages"] += [
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "c1", "content": "3 mugs"},
    ]
    with FaultServer() as provider:
        got = served(provider).post(PATH, json=sent, headers=as_user("mia"))
    assert "tools were called" in got.json()["hydra"]["why_not"]
    del sent["messages"][1]["content"]  # null and absent are the same to a provider
    assert provider.calls[0].body["messages"] == sent["messages"]


def test_tools_that_may_not_be_called_are_no_reason(served: Serve) -> None:
    with FaultServer(answers) as provider:
        server = served(provider)
        got = server.post(PATH, json=body(tools=[TOOL], tool_choice="none"), headers=as_user("mia"))
    assert got.json()["hydra"]["personal"] is True
    assert not {"tools", "tool_choice"} & provider.calls[0].body.keys()


def test_a_tool_call_comes_back_whole(served: Serve) -> None:
    def calling(call: Call) -> Reply:
        message = {"role": "assistant", "content": None, "tool_calls": [CALL]}
        choice = {"index": 0, "message": message, "finish_reason": "tool_calls"}
        head = {"id": "c", "object": "chat.completion", "created": 1, "model": "served"}
        usage = {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12}
        return Reply(body=json.dumps({**head, "choices": [choice], "usage": usage}).encode())

    with FaultServer(calling) as provider:
        server = served(provider)
        got = server.post(PATH, json=body(model=MODEL, tools=[TOOL])).json()
    (choice,) = got["choices"]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["content"] is None
    assert choice["message"] == {"role": "assistant", "content": None, "tool_calls": [CALL]}
    assert got["usage"]["total_tokens"] == 12
    assert (got["id"], got["model"]) == ("c", "served")


def test_logprobs_come_back(served: Serve) -> None:
    token = {"token": "x", "logprob": -0.5, "bytes": [120], "top_logprobs": []}

    def telling(call: Call) -> Reply:
        choice = {
            "index": 0,
            "message": {"role": "assistant", "content": "x"},
            "logprobs": {"content": [token]},
            "finish_reason": "stop",
        }
        head = {"id": "c", "object": "chat.completion", "created": 1, "model": "served"}
        return Reply(body=json.dumps({**head, "choices": [choice]}).encode())

    with FaultServer(telling) as provider:
        got = served(provider).post(PATH, json=body(model=MODEL, logprobs=True)).json()
    assert got["choices"][0]["logprobs"]["content"][0]["logprob"] == -0.5


def test_a_refusal_stands_where_it_stood(served: Serve) -> None:
    def refusing(call: Call) -> Reply:
        message = {"role": "assistant", "content": None, "refusal": "I won't."}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        head = {"id": "c", "object": "chat.completion", "created": 1, "model": "served"}
        return Reply(body=json.dumps({**head, "choices": [choice]}).encode())

    with FaultServer(refusing) as provider:
        got = served(provider).post(PATH, json=body(model=MODEL)).json()
    assert got["choices"][0]["message"] == {
        "role": "assistant",
        "content": None,
        "refusal": "I won't.",
    }


@pytest.mark.parametrize("field", ["api_base", "base_url", "api_key", "custom_llm_provider"])
def test_no_field_of_a_client_decides_where_the_key_goes(served: Serve, field: str) -> None:
    with FaultServer() as provider, FaultServer() as thief:
        server = served(provider)
        for model in (MODEL, f"hydra/{MODEL}"):
            server.post(PATH, json=body(model=model, **{field: thief.url}), headers=as_user("mia"))
    assert thief.calls == []
    keys = {value for call in provider.calls for name, value in call.headers.items()
            if name.lower() == "authorization"}  # fmt: skip
    assert keys == {"Bearer sk-test"}


@pytest.mark.parametrize("title", TITLES)
def test_titles_and_tags_are_the_front_ends(title: str) -> None:
    assert is_side_call(title)


def test_which_tool_to_call_is_a_front_ends_question() -> None:
    system = "Available Tools: [weather]\n\nChoose one."
    assert is_side_call("Query: Is it warm?", system)
    assert is_side_call("History:\nUSER: hi\nQuery: Is it warm?", system)
    assert not is_side_call("Is it warm?", system)
    assert not is_side_call("Query: Is it warm?", "You answer customers.")


@pytest.mark.parametrize(
    "text",
    [
        "Write a title for this article.",
        "Is your task to reflect the speaker's likely facial expression?",
        "### Task:\nRespond to the user query using the provided context.\n<context>x</context>",
        "What would be a good title for the conversation we had?",
        "Analyze this conversation and tell me who was rude.\nUser: hi",
        "### Tasks:\n- call Ann",
    ],
)
def test_what_a_user_asks_stays_a_users_question(text: str) -> None:
    assert not is_side_call(text)
