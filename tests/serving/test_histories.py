"""Users and records over HTTP: whose they are is the path's and the key's business alone."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from starlette.testclient import TestClient

from hydra_cli import Hydra
from hydra_cli.serving.app import endpoints
from hydra_cli.store.api_keys import ApiKeys
from hydra_cli.store.folder import StoreFolder
from tests.serving.test_door import bearer, code_of
from tests.test_api import THINGS

MIA = "/v1/users/mia/records"


def inputs(answer: Any) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [record["input"] for record in answer.json()["data"]]


def test_users_are_listed_by_name(client: TestClient) -> None:
    found = client.get("/v1/users").json()
    assert [(u["id"], u["records"], u["tasks"]) for u in found["data"]] == [
        ("mia", 8, ["replies"]),
        ("tom", 8, ["replies"]),
    ]
    assert not found["has_more"]
    first = client.get("/v1/users?limit=1").json()
    assert [u["id"] for u in first["data"]] == ["mia"]
    assert first["has_more"]
    assert [u["id"] for u in client.get("/v1/users?after=mia").json()["data"]] == ["tom"]


def test_records_come_newest_first_in_pages(client: TestClient) -> None:
    expected = [f"Is the {thing} safe?" for thing in reversed(THINGS)]
    assert inputs(client.get(MIA)) == expected
    seen: list[str] = []
    after = ""
    for _ in range(4):
        page = client.get(MIA, params={"limit": 3, **({"after": after} if after else {})})
        seen += inputs(page)
        assert page.json()["total"] == 8
        if not page.json()["has_more"]:
            break
        after = page.json()["data"][-1]["id"]
    assert seen == expected
    record = client.get(MIA).json()["data"][0]
    assert record["output"] == "mia says the chair is."
    assert record["time"].startswith("2026-01-08T00:00:00")


def test_records_are_found_by_words_of_both_sides(client: TestClient) -> None:
    assert inputs(client.get(MIA, params={"q": "LAMP safe"})) == ["Is the lamp safe?"]
    assert inputs(client.get(MIA, params={"q": "mia says vase"})) == ["Is the vase safe?"]
    assert inputs(client.get(MIA, params={"q": "tom says"})) == []


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=x", "limit=-1", "limit=٣", "limit=9999999999999", "after=nothing"]
)
def test_parameters_that_make_no_sense(client: TestClient, query: str) -> None:
    answer = client.get(f"{MIA}?{query}")
    assert code_of(answer) == (400, "invalid_value")
    assert answer.json()["error"]["param"] == query.partition("=")[0]


@pytest.mark.parametrize("form", ["list", "object", "lines"])
def test_records_are_added_once_and_seen_at_once(
    client: TestClient, hydra: Hydra, form: str
) -> None:
    new = [
        {"input": "Is the spoon safe?", "output": "Quite.", "time": "2026-02-01", "id": "s1"},
        {"input": "Is the fork safe?", "output": "No.", "user": "mia", "metadata": {"by": "app"}},
    ]
    if form == "lines":
        body = "\n".join(map(json.dumps, new))
        headers = {"Content-Type": "application/x-ndjson"}
    else:
        body = json.dumps(new if form == "list" else {"records": new})
        headers = {"Content-Type": "application/json"}
    added = client.post(f"{MIA}?task=replies", content=body, headers=headers).json()
    assert (added["added"], added["present"], added["rejected"]) == (2, 0, 0)
    again = client.post(f"{MIA}?task=replies", content=body, headers=headers).json()
    assert (again["added"], again["present"]) == (0, 2)
    assert inputs(client.get(f"{MIA}?q=spoon")) == ["Is the spoon safe?"]
    draft = hydra.draft("Is the spoon safe?", user="mia")
    assert "Quite." in str(draft.request)
    assert len(hydra.history("tom")) == 8


def test_a_corrected_record_replaces_the_old_one(client: TestClient) -> None:
    url = f"{MIA}?task=replies"
    client.post(url, json=[{"id": "s1", "input": "spoon?", "output": "Yes."}])
    changed = [{"id": "s1", "input": "spoon?", "output": "No."}]
    refused = client.post(url, json=changed)
    assert refused.status_code == 400
    assert client.post(f"{url}&update=true", json=changed).json()["replaced"] == 1
    assert client.get(f"{MIA}?q=spoon").json()["data"][0]["output"] == "No."


def test_what_is_no_record_is_told_with_its_line(client: TestClient) -> None:
    rows = [
        {"input": "a", "output": "b"},
        "text",
        {"input": "a"},
        {"input": "a", "output": "c", "user": "tom"},
        {"input": "\x00", "output": "c"},
        {"input": {"a": 1}, "output": "c"},
    ]
    added = client.post(MIA, json=rows).json()
    assert (added["added"], added["rejected"]) == (1, 5)
    assert [one["line"] for one in added["rejects"]] == [2, 3, 4, 5, 6]
    lines = client.post(
        MIA,
        content=b'{"input": "x", "output": "y"}\n{\n',
        headers={"Content-Type": "application/jsonl"},
    ).json()
    assert (lines["added"], lines["rejected"]) == (1, 1)


HOSTILE = [
    [{"input": "x", "output": "y", "user": "tom"}],
    [{"input": "x", "output": "y", "user_id": "tom", "author": "tom", "User": "tom"}],
    [{"id": "tom", "input": "x", "profile": [{"id": "1", "text": "x", "title": "y"}]}],
    [
        {
            "id": "1",
            "user_id": "tom",
            "input": "x",
            "output": "z",
            "profile": [{"id": "1", "text": "x", "title": "y", "user": "tom"}],
        }
    ],
    [{"input": "x", "output": "y", "metadata": {"user": "tom"}}],
    [{"input": "x", "output": "y", "user": ["tom"]}],
    [{"input": "x", "output": "y"}, {"input": "x", "output": "y", "user": "tom "}],
]


@pytest.mark.parametrize("rows", HOSTILE, ids=range(len(HOSTILE)))
def test_no_shape_of_a_body_reaches_another_history(
    client: TestClient, hydra: Hydra, rows: list[Any]
) -> None:
    before = hydra.history("tom")
    for sent in (rows, {"records": rows, "user": "tom"}):
        client.post(MIA, json=sent)
    assert hydra.history("tom") == before
    assert {summary.user for summary in hydra.users()} == {"mia", "tom"}


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"null", b"3", b'"x"', b"[]", b"{}", b'{"records": 3}', b"[" * 100_000, b"\xff"],
)
def test_a_body_that_holds_no_records(client: TestClient, body: bytes) -> None:
    answer = client.post(MIA, content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 400, answer.text
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}


def test_no_body_at_all(client: TestClient) -> None:
    assert code_of(client.post(MIA)) == (400, "invalid_json")


# The test client reads paths twice: a percent sign before two digits is for the real server.
USERS = ["a/b", "50%", "../x", "ü ß", "a?b=c#d", "x/records", "🦑", "a+b", "'; --", "\\"]


@pytest.mark.parametrize("user", USERS)
def test_any_id_can_be_a_path(client: TestClient, hydra: Hydra, user: str) -> None:
    url = f"/v1/users/{quote(user, safe='')}"
    added = client.post(f"{url}/records", json=[{"input": "x", "output": "y"}])
    assert added.json()["user"] == user
    assert hydra.history(user)[0].output == "y"
    assert inputs(client.get(f"{url}/records")) == ["x"]
    assert client.delete(url).json()["records"] == 1
    assert client.get(f"{url}/records").status_code == 404


@pytest.mark.parametrize("user", ["%00", "a%0Ab", "x" * 10_000, "%1b[2J", "%20", "%C2%85"])
def test_ids_that_no_user_can_have(client: TestClient, user: str) -> None:
    for answer in (
        client.get(f"/v1/users/{user}/records"),
        client.post(f"/v1/users/{user}/records", json=[{"input": "x", "output": "y"}]),
        client.delete(f"/v1/users/{user}"),
    ):
        # A line break is in no path of ours; the rest is refused as an id.
        assert code_of(answer) in ((400, "invalid_value"), (404, "unknown_url"))


def test_forgetting_takes_it_all_or_a_part(client: TestClient, hydra: Hydra) -> None:
    record = client.get(MIA).json()["data"][0]["id"]
    gone = client.delete(f"/v1/users/mia?task=replies&record={record}").json()
    assert (gone["user"], gone["records"]) == ("mia", 1)
    assert client.delete("/v1/users/mia").json()["records"] == 7
    for answer in (client.get(MIA), client.delete("/v1/users/mia")):
        assert answer.status_code == 404
    again = client.post(MIA, json=[{"input": "x", "output": "y"}])
    assert "forgotten" in again.json()["error"]["message"]
    assert len(hydra.history("tom")) == 8


def test_a_key_of_one_user_reaches_nothing_of_another(
    client: TestClient, hydra: Hydra, home: Path
) -> None:
    """Through the whole table of routes: none answers with, or changes, what is another's."""
    hydra.ingest({"user": "zoë", "input": "zoë's", "output": "zoë's secret"}, task="secrets")
    before = {summary.user: hydra.history(summary.user) for summary in hydra.users()}
    _, text = ApiKeys(StoreFolder(home)).add(user="mia")
    tried = 0
    for endpoint in endpoints():
        for user in ("tom", "zoë", "tom%20", "%74om", "mia/../tom"):
            path = endpoint.path.replace("{user:path}", quote(user, safe="%"))
            path = path.replace("{model:path}", "hydra/x@secrets").replace("{name}", "page.js")
            for headers in ({}, {"x-hydra-user": "tom"}, {"x-hydra-user": "zoë".encode()}):
                body = {
                    "POST": {
                        "user": "tom",
                        "safety_identifier": "zoë",
                        "model": "hydra/x",
                        "messages": [{"role": "user", "content": "Is the mug safe?"}],
                        "records": [{"input": "x", "output": "y", "user": "tom"}],
                        "answer_id": "last",
                        "accept": True,
                    }
                }.get(endpoint.method)
                answer = client.request(
                    endpoint.method, path, json=body, headers={**bearer(text), **headers}
                )
                tried += 1
                assert answer.status_code < 500 or answer.status_code == 501, answer.text
                if not endpoint.open:
                    assert "tom says" not in answer.text
                    assert "secret" not in answer.text.replace("x@secrets", "")
                    assert '"tom"' not in answer.text
                if "{user" in endpoint.path:
                    assert answer.status_code == 403, answer.text
    assert tried > 50
    assert {summary.user: hydra.history(summary.user) for summary in hydra.users()} == before
    assert [u["id"] for u in client.get("/v1/users", headers=bearer(text)).json()["data"]] == [
        "mia"
    ]
    own = client.get(MIA, headers=bearer(text))
    assert len(own.json()["data"]) == 8
    assert client.get("/metrics", headers=bearer(text)).status_code == 403


def test_a_user_who_forgets_themselves_takes_their_key_along(
    client: TestClient, home: Path
) -> None:
    _, text = ApiKeys(StoreFolder(home)).add(user="mia")
    assert client.delete("/v1/users/mia", headers=bearer(text)).json()["api_keys"] == 1
    assert client.get(MIA, headers=bearer(text)).status_code == 401


@pytest.mark.parametrize("command", ["forget", "ingest"])
def test_what_another_process_does_is_seen_by_the_next_request(
    client: TestClient, home: Path, tmp_path: Path, command: str
) -> None:
    assert len(inputs(client.get(MIA))) == 8
    file = tmp_path / "new.jsonl"
    file.write_text('{"user": "mia", "input": "Is the pan safe?", "output": "Yes."}\n')
    arguments = ["forget", "mia", "--yes"] if command == "forget" else ["ingest", str(file)]
    subprocess.run([sys.executable, "-m", "hydra_cli", *arguments], check=True)
    after = client.get(MIA)
    if command == "forget":
        assert after.status_code == 404
    else:
        assert len(inputs(after)) == 9
