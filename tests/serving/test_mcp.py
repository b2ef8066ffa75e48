"""The tools over MCP, by the protocol's own client: in this process and over stdin and stdout."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from mcp import Client, StdioServerParameters
from mcp_types import CallToolResult, TextContent

from hydra_cli import Hydra
from hydra_cli.llm.scripted import ScriptedChat
from hydra_cli.models.hash_encoder import HashEncoder
from hydra_cli.serving.app import build
from hydra_cli.serving.asker import Asker
from hydra_cli.serving.mcp import tools_server
from hydra_cli.serving.service import ServeOptions, Service
from hydra_cli.serving.tools import MOST_DRAFTS
from hydra_cli.store.api_keys import ApiKeys
from hydra_cli.store.folder import StoreFolder
from tests.serving.listening import listening
from tests.signals import heed_interrupts
from tests.test_api import rows


def nobody(*_: object) -> str:
    raise AssertionError("an LLM was asked")


@pytest.fixture(scope="module")
def hydra() -> Iterator[Hydra]:
    with Hydra.in_memory(encoder=HashEncoder(), chat=ScriptedChat(nobody)) as opened:
        opened.ingest(*rows("mia"), *rows("tom"), task="replies")
        yield opened


Using = Callable[[Callable[[Client], Awaitable[Any]]], Any]


@pytest.fixture(params=["auto", "legacy"])
def using(hydra: Hydra, request: pytest.FixtureRequest) -> Using:
    """What runs a conversation with a client of either generation of the protocol."""

    def run(talk: Callable[[Client], Awaitable[Any]], *, asker: Asker | None = None) -> Any:
        async def connected() -> Any:
            service = Service(hydra, ServeOptions())
            server = tools_server(service, asker or Asker())
            async with Client(server, mode=request.param) as client:
                return await talk(client)

        return asyncio.run(connected())

    return run


def text_of(result: CallToolResult) -> str:
    (content,) = result.content
    assert isinstance(content, TextContent)
    return content.text


def failure(using: Using, name: str, arguments: dict[str, Any], **asking: Any) -> str:
    """What a call that fails tells the model: one line."""
    result = using(lambda client: client.call_tool(name, arguments), **asking)
    assert result.is_error
    said = text_of(result)
    assert "\n" not in said
    return said


def test_a_model_finds_the_tools(using: Using) -> None:
    async def talk(client: Client) -> None:
        found = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert {"personal_examples", "rank_drafts"} <= set(found)
        for tool in found.values():
            assert tool.description
            assert tool.input_schema["additionalProperties"] is False
        assert found["rank_drafts"].input_schema["required"] == ["query", "drafts"]
        annotations = found["personal_examples"].annotations
        assert annotations is not None
        assert annotations.read_only_hint
        feedback = found["record_feedback"].annotations
        assert feedback is not None
        assert feedback.read_only_hint is False

    using(talk)


def test_examples_are_the_users_own_and_what_ask_would_show(using: Using, hydra: Hydra) -> None:
    query = {"query": "Is the lamp safe?", "user": "mia"}
    result = using(lambda client: client.call_tool("personal_examples", query))
    assert not result.is_error
    found = result.structured_content
    assert json.loads(text_of(result)) == found
    shown = [scored.item.id for scored in hydra.draft("Is the lamp safe?", user="mia").evidence]
    assert [example["id"] for example in found["examples"]] == shown
    assert all(example["output"].startswith("mia says") for example in found["examples"])
    assert found["user"] == "mia"
    assert found["task"] == "replies"
    assert found["records"]
    one = using(lambda client: client.call_tool("personal_examples", {**query, "k": 1}))
    assert len(one.structured_content["examples"]) == 1


def test_drafts_are_ranked_without_an_llm(using: Using) -> None:
    drafts = ["It is a matter of taste, I suppose.", "mia says the spoon is."]
    asked = {"query": "Is the spoon safe?", "drafts": drafts, "user": "mia"}
    found = using(lambda client: client.call_tool("rank_drafts", asked)).structured_content
    assert found["winner"] == 2
    assert found["text"] == drafts[1]
    assert found["order"] == [2, 1]
    assert found["scores"][1] > found["scores"][0]
    assert found["adapter"]["on"] is True
    assert "nothing was fitted" in found["adapter"]["told"]


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("personal_examples", {"query": "a", "user": "nobody"}, "no records of user 'nobody'"),
        ("personal_examples", {"query": "a"}, "the store holds 2 users (name one: `user`)"),
        ("personal_examples", {"user": "mia"}, "`query` is missing"),
        ("personal_examples", {"query": " ", "user": "mia"}, "`query` is empty"),
        ("personal_examples", {"query": 7, "user": "mia"}, "`query` must be a text"),
        ("personal_examples", {"query": "a", "user": ["mia"]}, "`user` must be a text"),
        ("personal_examples", {"query": "a", "user": "mia", "k": 0}, "from 1 to 100"),
        ("personal_examples", {"query": "a", "user": "mia", "k": True}, "whole number"),
        ("personal_examples", {"query": "a", "user": "mia", "K": 1}, "no argument 'K'"),
        ("personal_examples", {"query": "a", "user": "mia", "task": "x"}, "no records of task 'x'"),
        ("personal_examples", {"query": "x" * 100_001, "user": "mia"}, "at most 100,000"),
        ("rank_drafts", {"query": "a", "user": "mia"}, "`drafts` must be a list of texts"),
        ("rank_drafts", {"query": "a", "user": "mia", "drafts": []}, "not an empty one"),
        ("rank_drafts", {"query": "a", "user": "mia", "drafts": "x"}, "must be a list of texts"),
        ("rank_drafts", {"query": "a", "user": "mia", "drafts": ["x", 1]}, "`drafts[1]` must be"),
        ("rank_drafts", {"query": "a", "user": "mia", "drafts": ["x", ""]}, "draft 2 is empty"),
        ("rank_drafts", {"query": "a", "user": "mia", "drafts": ["x"] * 1000}, "1,000 drafts"),
        ("forget_everybody", {}, "there is no tool 'forget_everybody'"),
    ],
)
def test_bad_arguments_are_told_in_a_line(
    using: Using, name: str, arguments: dict[str, Any], said: str
) -> None:
    assert said in failure(using, name, arguments)


def ranked(using: Using, user: str) -> dict[str, Any]:
    drafts = ["It is a matter of taste, I suppose.", f"{user} says the spoon is."]
    asked = {"query": "Is the spoon safe?", "drafts": drafts, "user": user}
    result = using(lambda client: client.call_tool("rank_drafts", asked))
    found: dict[str, Any] = result.structured_content
    return found


@pytest.mark.parametrize(
    ("verdict", "text"),
    [
        ("accept", None),
        ("reject", None),
        ("choose", "It is a matter of taste, I suppose."),
        ("edit", "mia says the spoon is, and so is the fork."),
    ],
)
def test_feedback_on_a_choice_is_heeded(
    using: Using, hydra: Hydra, verdict: str, text: str | None
) -> None:
    said = {"answer_id": ranked(using, "mia")["answer_id"], "verdict": verdict, "user": "mia"}
    said |= {"text": text} if text else {}
    found = using(lambda client: client.call_tool("record_feedback", said)).structured_content
    assert found["kind"] == verdict
    assert found["user"] == "mia"
    newest = hydra.feedbacks("mia")[0]
    assert newest.id == found["feedback_id"]
    assert newest.kind == verdict
    hydra.undo_feedback(said["answer_id"], user="mia")


def test_feedback_names_no_answer_of_another_user(using: Using) -> None:
    said = {"answer_id": ranked(using, "mia")["answer_id"], "verdict": "accept", "user": "tom"}
    foreign = failure(using, "record_feedback", said)
    unknown = failure(using, "record_feedback", {**said, "answer_id": "ans_" + "0" * 26})
    assert foreign.replace(said["answer_id"], "") == unknown.replace("ans_" + "0" * 26, "")
    bound = Asker(key="k1", user="tom")
    own = {"answer_id": said["answer_id"], "verdict": "accept"}
    assert failure(using, "record_feedback", own, asker=bound) == foreign


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"verdict": "praise"}, "must be one of accept, reject, choose, edit"),
        ({"verdict": "edit"}, "they need it"),
        ({"verdict": "accept", "text": "x"}, "belongs to the verdicts"),
        ({"verdict": "choose", "text": "never drafted"}, "none of that answer's candidates"),
        ({"verdict": "accept", "answer_id": "../x"}, "no answer '../x' is kept"),
        ({"verdict": "edit", "text": " "}, ""),
    ],
)
def test_feedback_that_makes_no_sense_is_refused(
    using: Using, hydra: Hydra, wrong: dict[str, str], said: str
) -> None:
    asked = {"answer_id": ranked(using, "mia")["answer_id"], "user": "mia", **wrong}
    before = len(hydra.feedbacks("mia"))
    assert said in failure(using, "record_feedback", asked)
    assert len(hydra.feedbacks("mia")) == before


@pytest.mark.parametrize(
    "user", ["../../etc/passwd", "mia' OR 'a' = 'a", "mia\n", "\x1b[31mmia", "u" * 10_000, "\0"]
)
def test_hostile_names_of_users_find_nobody(using: Using, user: str) -> None:
    said = failure(using, "personal_examples", {"query": "Is the lamp safe?", "user": user})
    assert "no records of user" in said
    assert "\x1b" not in said
    assert len(said) < 300


def test_whoever_is_bound_asks_for_nobody_else(using: Using) -> None:
    bound = Asker(key="k1", user="tom")
    query = {"query": "Is the lamp safe?"}
    own = using(lambda client: client.call_tool("personal_examples", query), asker=bound)
    assert own.structured_content["user"] == "tom"
    said = failure(using, "personal_examples", {**query, "user": "mia"}, asker=bound)
    assert said == "this key isn't for user 'mia'"


def test_the_most_drafts_are_ranked(using: Using) -> None:
    drafts = [f"mia says {i}." for i in range(MOST_DRAFTS)]
    asked = {"query": "Is the spoon safe?", "drafts": drafts, "user": "mia"}
    found = using(lambda client: client.call_tool("rank_drafts", asked)).structured_content
    assert sorted(found["order"]) == list(range(1, MOST_DRAFTS + 1))


def test_a_failure_of_ours_tells_no_text_of_anybody(
    using: Using, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("mia says the lamp is.")

    monkeypatch.setattr(Hydra, "examples", broken)
    said = failure(using, "personal_examples", {"query": "a", "user": "mia"})
    assert said.startswith("internal error")
    assert "lamp" not in said


def test_no_call_is_told_to_a_tracer(hydra: Hydra) -> None:
    assert not tools_server(Service(hydra, ServeOptions())).middleware
    code = "import mcp, hydra_cli.serving.mcp, sys; print(*sys.modules, sep='\\n')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "mcp" in loaded
    assert not {name for name in loaded if name.startswith("opentelemetry.sdk")}
    assert not {name for name in loaded if name.startswith("opentelemetry.exporter")}


# -- the command


@pytest.fixture
def command(home: Path, tiny_encoder_path: Path) -> list[str]:
    with Hydra.open(home, encoder=HashEncoder()) as opened:
        opened.ingest(*rows("mia"), *rows("tom"), task="replies")
    return ["-m", "hydra_cli", "mcp", "--encoder", str(tiny_encoder_path)]


def test_the_command_speaks_the_protocol_alone_on_stdout(command: list[str]) -> None:
    async def talk() -> Any:
        server = StdioServerParameters(
            command=sys.executable, args=[*command, "--user", "mia"], env=child_environment()
        )
        async with Client(server) as client:
            tools = await client.list_tools()
            query = {"query": "Is the lamp safe?"}
            found = await client.call_tool("personal_examples", query)
            other = await client.call_tool("personal_examples", {**query, "user": "tom"})
            return tools, found, other

    tools, found, other = asyncio.run(talk())
    assert tools.tools
    assert found.structured_content["user"] == "mia"
    assert other.is_error


def child_environment() -> dict[str, str]:
    import os

    return dict(os.environ)


HELLO = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-06-18",
        "capabilities": {},
        "clientInfo": {"name": "test", "version": "1"},
    },
}


def test_every_line_on_stdout_is_a_message_and_the_end_of_stdin_ends_it(
    command: list[str],
) -> None:
    said = [
        json.dumps(HELLO),
        "this is no JSON",
        json.dumps({"jsonrpc": "2.0", "method": "notifications/initialized"}),
        json.dumps({"jsonrpc": "2.0", "id": 2, "method": "tools/list"}),
        '{"jsonrpc": "2.0", "id": 3, "method": "tools/call", "params": {"name": "\\ud800"}}',
    ]
    with subprocess.Popen(
        [sys.executable, *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("".join(line + "\n" for line in said))
        process.stdin.flush()
        lines = [process.stdout.readline()]
        while not {1, 2} <= {json.loads(line).get("id") for line in lines}:
            lines.append(process.stdout.readline())  # who hangs up before may go without an answer
        rest, told = process.communicate(timeout=120)
    assert process.returncode == 0, told
    messages = [json.loads(line) for line in (*lines, *rest.splitlines())]
    assert all(message["jsonrpc"] == "2.0" for message in messages)
    by_id = {message.get("id"): message for message in messages}
    assert by_id[1]["result"]["serverInfo"]["name"] == "hydra-pers"
    assert by_id[2]["result"]["tools"]
    assert "Traceback" not in told


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_ctrl_c_ends_it_while_it_waits(command: list[str]) -> None:
    with subprocess.Popen(
        [sys.executable, *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=heed_interrupts,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(HELLO) + "\n")
        process.stdin.flush()
        assert "hydra-pers" in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == -signal.SIGINT
        assert process.stderr is not None
        assert process.stderr.read() == ""


def test_an_unknown_user_is_refused_before_anything_is_served(command: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, *command, "--user", "nobody"],
        input="",
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 5
    assert done.stdout == ""
    assert "no records of user 'nobody'" in done.stderr


def test_without_the_extra_the_command_says_what_to_install(home: Path) -> None:
    code = (
        "import sys; sys.modules['mcp'] = None\n"
        "from hydra_cli.cli.app import run; sys.exit(run(['mcp']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 2
    assert "the server needs more packages" in done.stderr
    assert 'pip install "hydra-pers[serve]"' in done.stderr


# -- under the server


@pytest.fixture(scope="module")
def address(hydra: Hydra) -> Iterator[str]:
    with listening(build(Service(hydra, ServeOptions()))) as found:
        yield found


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_the_server_answers_at_its_path(address: str, mode: str) -> None:
    async def talk() -> Any:
        async with Client(f"{address}/mcp", mode=mode) as client:
            tools = await client.list_tools()
            asked = {"query": "Is the lamp safe?", "user": "tom"}
            return tools, await client.call_tool("personal_examples", asked)

    tools, found = asyncio.run(talk())
    assert {tool.name for tool in tools.tools} >= {"personal_examples", "rank_drafts"}
    assert found.structured_content["user"] == "tom"


def posted(address: str, body: Any, **headers: str) -> httpx.Response:
    asking = {"accept": "application/json, text/event-stream", **headers}
    return httpx.post(f"{address}/mcp", json=body, headers=asking, timeout=60)


def called(user: str | None) -> dict[str, Any]:
    arguments = {"query": "Is the lamp safe?"} | ({"user": user} if user else {})
    params = {"name": "personal_examples", "arguments": arguments}
    return {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}


def test_whom_the_header_names_the_model_cannot_change(address: str) -> None:
    named = {"x-hydra-user": "tom"}
    own = posted(address, called(None), **named).json()["result"]
    assert own["structuredContent"]["user"] == "tom"
    other = posted(address, called("mia"), **named).json()["result"]
    assert other["isError"]
    assert other["content"][0]["text"] == "the header x-hydra-user isn't for user 'mia'"


def test_what_is_no_message_is_refused_and_the_server_goes_on(address: str) -> None:
    for wrong in ([], "x", 1, {}, {"jsonrpc": "2.0"}, [called("mia")]):
        assert 400 <= posted(address, wrong).status_code < 500, wrong
    assert httpx.get(f"{address}/mcp", timeout=60).status_code == 405
    assert posted(address, called("mia")).status_code == 200


def test_a_key_asks_for_its_own_user_and_nobody_else_comes_in(home: Path) -> None:
    with Hydra.open(home, encoder=HashEncoder(), chat=ScriptedChat(nobody)) as opened:
        opened.ingest(*rows("mia"), *rows("tom"), task="replies")
        keys = ApiKeys(StoreFolder(home))
        (bound, own), (_, trusted) = keys.add(user="tom"), keys.add(user=None)
        with listening(build(Service(opened, ServeOptions()))) as address:

            def asked(text: str, user: str | None) -> Any:
                return posted(address, called(user), authorization=f"Bearer {text}")

            assert posted(address, called("mia")).status_code == 401
            assert asked(own, None).json()["result"]["structuredContent"]["user"] == "tom"
            refused = asked(own, "mia").json()["result"]
            assert refused["isError"]
            assert refused["content"][0]["text"] == "this key isn't for user 'mia'"
            found = asked(trusted, "mia").json()["result"]
            assert found["structuredContent"]["user"] == "mia"
            page = {"authorization": f"Bearer {own}", "origin": "https://pages.example"}
            assert posted(address, called(None), **page).status_code == 403
            rebound = {"authorization": f"Bearer {own}", "host": "pages.example"}
            assert posted(address, called(None), **rebound).status_code >= 400
            keys.revoke(bound.id)
            assert asked(own, None).status_code == 401
