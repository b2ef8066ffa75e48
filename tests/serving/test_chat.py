"""Chat completions over HTTP: personal, plain and passed through."""

from __future__ import annotations

import httpx
import pytest

from hydra_cli import NotFound, UsageError
from hydra_cli.serving.asker import Asker
from hydra_cli.serving.errors import ApiError
from hydra_cli.serving.service import ServeOptions, Service
from hydra_cli.serving.whose import whose
from tests.llm.fault_server import Call, FaultServer, Reply, error, ignores_n
from tests.serving.serve_tools import MODEL, PATH, QUERY, Serve, as_user, body, rows


def content(got: httpx.Response, index: int = 0) -> str:
    assert got.status_code == 200, got.text
    return str(got.json()["choices"][index]["message"]["content"])


def test_a_personal_answer_is_asks(served: Serve) -> None:
    """One message, no system prompt: the prompt and the answer of ``Hydra.ask``."""
    with FaultServer() as provider:
        server = served(provider, cache=False)
        answer = server.hydra.ask(QUERY, user="mia")
        asked = [call.body for call in provider.calls]
        got = server.post(PATH, json=body(), headers=as_user("mia"))
    assert [call.body for call in provider.calls[len(asked) :]] == asked
    assert content(got) == answer.text
    told = got.json()
    assert told["choices"][0]["finish_reason"] == "stop"
    assert (told["object"], told["model"]) == ("chat.completion", f"hydra/{MODEL}")
    assert told["usage"] == {
        "prompt_tokens": 10,
        "completion_tokens": 24,
        "total_tokens": 34,
    }
    hydra = told["hydra"]
    assert (hydra["user"], hydra["task"], hydra["personal"]) == ("mia", "replies", True)
    assert hydra["stages"] == {"records": True, "rerank": False, "adapt": True}
    assert hydra["answers"] == 8
    assert hydra["answer_id"] == got.headers["x-hydra-answer-id"]
    assert "explain" not in hydra
    assert got.headers["cache-control"] == "private, no-store"
    assert server.hydra.answer(hydra["answer_id"], user="mia").text == answer.text


def test_a_model_without_hydra_passes_through(served: Serve) -> None:
    sent = body(model=MODEL, temperature=0.3, user="mia", colour="red")
    with FaultServer() as provider:
        got = served(provider).post(PATH, json=sent)
    assert content(got) == f"{QUERY} / 0"
    assert "hydra" not in got.json()
    assert got.json()["usage"]["total_tokens"] == 13
    (call,) = provider.calls
    assert call.body == {**sent, "model": "x"}


def test_an_explained_answer_shows_what_led_to_it(served: Serve) -> None:
    with FaultServer() as provider:
        got = served(provider).post(
            PATH, json=body(), headers={**as_user("tom"), "x-hydra-explain": "1"}
        )
    explain = got.json()["hydra"]["explain"]
    assert {record["output"].split()[0] for record in explain["records"]} == {"tom"}
    assert explain["candidates"][0]["text"] == content(got)
    assert len(explain["candidates"]) == 8
    assert explain["messages"] == provider.calls[0].body["messages"]
    assert set(explain["seconds"]) == {"retrieve", "rerank", "generate", "adapt"}
    assert explain["verdicts"]["source"] == "built-in"


def test_a_conversation_stays_whole_and_records_go_before_it(served: Serve) -> None:
    said = [
        ("developer", "Answer in one line."),
        ("user", "Hello!"),
        ("assistant", "Good day."),
        ("system", "The shop is closed."),
        ("user", [{"type": "text", "text": QUERY}, {"type": "text", "text": "Really?"}]),
    ]
    with FaultServer() as provider:
        got = served(provider).post(PATH, json=body(*said), headers=as_user("mia"))
    messages = provider.calls[0].body["messages"]
    assert content(got)
    assert messages[0] == {"role": "system", "content": "Answer in one line."}
    assert messages[-4:] == [
        {"role": "user", "content": "Hello!"},
        {"role": "assistant", "content": "Good day."},
        {"role": "system", "content": "The shop is closed."},
        {"role": "user", "content": f"{QUERY}\nReally?"},
    ]
    shown = messages[1:-4]
    assert [turn["role"] for turn in shown] == ["user", "assistant"] * 4
    assert all("mia says" in turn["content"] for turn in shown[1::2])


def test_what_the_client_asks_of_its_answers_is_kept(served: Serve) -> None:
    wishes = {"temperature": 0.9, "top_p": 0.8, "max_completion_tokens": 7, "seed": 5}
    more = {"stop": ["END"], "presence_penalty": 0.4, "metadata": {"a": "b"}, "colour": "red"}
    with FaultServer() as provider:
        got = served(provider).post(PATH, json=body(**wishes, **more), headers=as_user("mia"))
    assert content(got)
    sent = provider.calls[0].body
    assert (sent["temperature"], sent["top_p"], sent["max_tokens"]) == (0.9, 0.8, 7)
    assert (sent["seed"], sent["stop"]) == (5, ["\n", "END"])
    assert (sent["presence_penalty"], sent["colour"]) == (0.4, "red")
    assert sent["metadata"] == {"a": "b"}
    assert "user" not in sent


def test_several_choices_are_the_best_candidates(served: Serve) -> None:
    with FaultServer() as provider:
        headers = {**as_user("mia"), "x-hydra-explain": "1"}
        got = served(provider).post(PATH, json=body(n=3), headers=headers)
    told = got.json()
    best = [candidate["text"] for candidate in told["hydra"]["explain"]["candidates"][:3]]
    assert [content(got, index) for index in range(3)] == best
    assert [choice["index"] for choice in told["choices"]] == [0, 1, 2]


def test_several_choices_where_one_answer_would_do(served: Serve) -> None:
    with FaultServer() as provider:
        got = served(provider, n=1).post(PATH, json=body(n=2), headers=as_user("mia"))
    assert provider.calls[0].body["n"] == 2
    assert provider.calls[0].body["temperature"] > 0
    assert len(got.json()["choices"]) == 2


def test_n_answers_are_drawn_side_by_side(served: Serve) -> None:
    with FaultServer(ignores_n, delay=0.05) as provider:
        got = served(provider).post(PATH, json=body(), headers=as_user("mia"))
    assert content(got)
    assert len(provider.calls) == 8
    assert provider.most_at_once > 1
    assert got.json()["usage"]["prompt_tokens"] == 80
    assert got.json()["hydra"]["calls"] == {"made": 8, "cached": 0}


def test_equal_requests_at_once_are_paid_once(served: Serve) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with FaultServer(delay=0.1) as provider:
        server = served(provider)

        def ask(_: int) -> str:
            return content(server.post(PATH, json=body(), headers=as_user("mia")))

        with ThreadPoolExecutor(4) as pool:
            assert len(set(pool.map(ask, range(4)))) == 1
    assert len(provider.calls) == 1


def test_labels_are_found_without_the_llm(served: Serve) -> None:
    with FaultServer() as provider:
        server = served(provider, n=0)
        stars = [{**row, "output": str(i % 5 + 1)} for i, row in enumerate(rows("mia"))]
        server.hydra.ingest(*stars, task="stars")
        name = f"hydra/{MODEL}@stars"
        got = server.post(PATH, json=body(model=name), headers=as_user("mia"))
        streamed = server.post(PATH, json=body(model=name, stream=True), headers=as_user("mia"))
    assert content(got) in {"1", "2", "3", "4", "5"}
    assert got.json()["hydra"]["task"] == "stars"
    assert got.json()["hydra"]["stages"] == {"records": False, "rerank": False, "adapt": True}
    assert got.json()["usage"]["total_tokens"] == 0
    assert "[DONE]" in streamed.text
    assert provider.calls == []


@pytest.mark.parametrize("name", ["hydra", "hydra/", "hydra@replies", f"hydra/{MODEL}@replies"])
def test_short_names_of_the_personal_model(served: Serve, name: str) -> None:
    with FaultServer() as provider:
        got = served(provider).post(PATH, json=body(model=name), headers=as_user("mia"))
    assert content(got)
    assert got.json()["hydra"]["task"] == "replies"


def test_unknown_names(served: Serve) -> None:
    def missing(call: Call) -> Reply:
        return error(404, "The model `y` does not exist", code="model_not_found")

    with FaultServer(missing) as provider:
        server = served(provider)
        task = server.post(PATH, json=body(model="hydra@none"), headers=as_user("mia"))
        model = server.post(PATH, json=body(model="openai/y"))
        made_up = server.post(PATH, json=body(model="no-such-model"))
    assert task.status_code == 404
    assert "their tasks: replies" in task.json()["error"]["message"]
    assert (model.status_code, model.json()["error"]["code"]) == (404, "model_not_found")
    assert (made_up.status_code, made_up.json()["error"]["param"]) == (404, "model")


def test_an_unknown_user_gets_the_llms_own_answer(served: Serve) -> None:
    with FaultServer() as provider:
        got = served(provider).post(PATH, json=body(), headers=as_user("nobody"))
    assert content(got) == f"{QUERY} / 0"
    hydra = got.json()["hydra"]
    assert (hydra["personal"], hydra["why_not"]) == (False, "unknown user")
    assert provider.calls[0].body == body(model="x")


def test_an_unknown_user_is_refused_where_the_server_says_so(served: Serve) -> None:
    with FaultServer() as provider:
        server = served(provider, unknown="refuse")
        got = server.post(PATH, json=body(), headers=as_user("nobody"))
        nobody = server.post(PATH, json=body())
    assert got.status_code == 404
    assert "mia" not in got.text
    assert nobody.status_code == 400
    assert "x-hydra-user" in nobody.json()["error"]["message"]
    assert provider.calls == []


def test_who_is_nobody_on_loopback(served: Serve) -> None:
    """The only user, or the one of the settings; else the LLM's own answer."""
    with FaultServer() as provider:
        several = served(provider).post(PATH, json=body()).json()
        assert several["hydra"]["why_not"] == "no user was named"
        default = served(provider, user="tom").post(PATH, json=body()).json()
    assert default["hydra"]["user"] == "tom"


def test_the_user_is_decided_by_the_key(served: Serve) -> None:
    with FaultServer() as provider:
        hydra = served(provider, user="tom").hydra
    service = Service(hydra, ServeOptions())
    bound, trusted = Asker("k1", "mia"), Asker("k2")
    for named in ({}, {"user": "tom"}, {"safety_identifier": "tom"}):
        assert whose(service, bound, {}, named, None).user == "mia"
    with pytest.raises(ApiError) as refused:
        whose(service, bound, {"x-hydra-user": "tom"}, {}, None)
    assert refused.value.status == 403
    assert whose(service, trusted, {"x-hydra-user": "mia"}, {"user": "tom"}, None).user == "mia"
    assert whose(service, trusted, {}, {"safety_identifier": "mia", "user": "tom"}, None).user == (
        "mia"
    )
    # The settings' user is the owner of this machine, not of an application's visitors.
    assert whose(service, trusted, {}, {}, None).user is None
    refusing = Service(hydra, ServeOptions(unknown="refuse"))
    with pytest.raises(UsageError):
        whose(refusing, trusted, {}, {}, None)
    with pytest.raises(NotFound):
        whose(refusing, Asker("k3", "gone"), {}, {}, None)


def test_a_forgotten_user_is_gone_at_the_next_request(served: Serve) -> None:
    with FaultServer() as provider:
        server = served(provider)
        assert server.post(PATH, json=body(), headers=as_user("mia")).json()["hydra"]["personal"]
        server.hydra.forget("mia")
        got = server.post(PATH, json=body(), headers=as_user("mia"))
    assert got.json()["hydra"]["why_not"] == "unknown user"
    assert "mia says" not in str(provider.calls[-1].body)
