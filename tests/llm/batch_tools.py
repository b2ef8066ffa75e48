"""A batch service in a function: a file of requests to a file of answers."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tests.llm.fault_server import Call, Reply


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def answer_batch(requests: Path, answers: Path, plan: Callable[[Call], Reply]) -> None:
    """Answers as a fault server of the same plan would give them, last request first."""
    made = []
    for number, line in enumerate(lines_of(requests)):
        assert (line["method"], line["url"]) == ("POST", "/v1/chat/completions")
        reply = plan(Call(number, line["body"], {}))
        made.append(answered(line["custom_id"], json.loads(reply.body), status=reply.status))
    text = "".join(json.dumps(line) + "\n" for line in reversed(made))
    answers.write_text(text, "utf-8")


def answered(custom_id: str, body: Mapping[str, Any], *, status: int = 200) -> dict[str, Any]:
    return {
        "id": "batch_req_1",
        "custom_id": custom_id,
        "response": {"status_code": status, "request_id": "r", "body": body},
        "error": None,
    }
