"""``POST /v1/feedback``: whose answer it is about, and what is said of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from hydra_cli import Hydra
from hydra_cli.store.api_keys import ApiKeys
from hydra_cli.store.folder import StoreFolder
from tests.serving.test_door import bearer

FEEDBACK = "/v1/feedback"


def answered(client: TestClient, hydra: Hydra, user: str, **headers: str) -> str:
    """The id of a fresh answer."""
    said = [{"role": "user", "content": "Is the mug safe?"}]
    body = {"model": f"hydra/{hydra.settings.model}", "messages": said, "user": user}
    answer = client.post("/v1/chat/completions", json=body, headers=headers)
    assert answer.json()["hydra"]["personal"]
    return answer.headers["x-hydra-answer-id"]


def test_what_is_said_of_an_answer_is_kept_and_taken_back(client: TestClient, hydra: Hydra) -> None:
    answer_id = answered(client, hydra, "mia")
    for said, kind in (({"accept": True}, "accept"), ({"choose": 2}, "choose")):
        given = client.post(FEEDBACK, json={"answer_id": answer_id, **said})
        assert given.json()["feedback"]["kind"] == kind, given.text
    assert given.json()["replaced"]["kind"] == "accept"
    edited = {"answer_id": answer_id, "edit": "It is, says Mia.", "user": "mia"}
    assert client.post(FEEDBACK, json=edited).json()["feedback"]["text"] == "It is, says Mia."
    assert [one.kind for one in hydra.feedbacks("mia")] == ["edit"]
    undone = client.post(FEEDBACK, json={"answer_id": answer_id, "undo": True})
    assert undone.json()["feedback"]["kind"] == "edit"
    last = client.post(FEEDBACK, json={"answer_id": "last", "reject": True, "user": "mia"})
    assert last.json()["feedback"]["answer"] == answer_id
    assert client.post(FEEDBACK, json={"answer_id": answer_id, "choose": 99}).status_code == 400


def test_another_users_answer_is_told_as_one_that_nobody_has(
    client: TestClient, hydra: Hydra, home: Path
) -> None:
    toms = answered(client, hydra, "tom")
    _, text = ApiKeys(StoreFolder(home)).add(user="mia")
    for said in ({"accept": True}, {"edit": "x"}, {"undo": True}):
        told = []
        for answer_id in (toms, "ans_" + "0" * 26):
            for named in ({}, {"user": "tom"}):
                body = {"answer_id": answer_id, **named, **said}
                answer = client.post(FEEDBACK, json=body, headers=bearer(text))
                assert answer.status_code == 404, answer.text
                told.append(answer.json()["error"]["message"].replace(answer_id, ""))
        assert len(set(told)) == 1
    body = {"answer_id": toms, "accept": True}
    header = {**bearer(text), "x-hydra-user": "tom"}
    assert client.post(FEEDBACK, json=body, headers=header).status_code == 403
    assert hydra.feedbacks() == []


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"accept": True},
        {"answer_id": 3, "accept": True},
        {"answer_id": "ans_x"},
        {"answer_id": "ans_x", "accept": True, "reject": True},
        {"answer_id": "ans_x", "accept": "yes"},
        {"answer_id": "ans_x", "choose": True},
        {"answer_id": "ans_x", "edit": ["a"]},
        {"answer_id": "last", "accept": True},
        {"answer_id": "ans_x", "accept": True, "colour": "red"},
        [],
        "text",
    ],
)
def test_feedback_that_makes_no_sense(client: TestClient, body: Any) -> None:
    assert client.post(FEEDBACK, json=body).status_code == 400
