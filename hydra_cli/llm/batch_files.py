"""Requests and answers as files, in the form of OpenAI's Batch API.

A line of a request file is ``{"custom_id", "method", "url", "body"}``, one of a file
of answers ``{"custom_id", "response": {"status_code", "body"}, "error"}``. The
``custom_id`` is the answer cache's key, with ``-START`` behind it where START answers
to the same request are there already.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra_cli.core.errors import DataError
from hydra_cli.core.files import write_json_lines

URL = "/v1/chat/completions"
NAMED = 5
"""Bad lines that are told one by one."""

_CUSTOM_ID = re.compile(r"([0-9a-f]{64})(?:-(\d{1,9}))?")


@dataclass(frozen=True, slots=True)
class Answered:
    """The answers of one line: (raw text, mean token log-probability or None) each.

    ``start`` is the place of the first one among all answers to the request; the
    token counts are None where the line has none.
    """

    start: int
    answers: tuple[tuple[str, float | None], ...]
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    finishes: tuple[str | None, ...] = ()
    """Why each answer ended, parallel to ``answers``."""


@dataclass(slots=True)
class AnswerFile:
    """What a file of answers holds, by cache key, and what is wrong with its other lines."""

    found: dict[str, list[Answered]] = field(default_factory=dict)
    bad: list[str] = field(default_factory=list)

    @property
    def lines(self) -> int:
        """Lines that can be used."""
        return sum(map(len, self.found.values()))


def custom_id(key: str, start: int) -> str:
    return f"{key}-{start}" if start else key


def write_requests(path: Path, bodies: Iterable[tuple[str, Mapping[str, Any]]]) -> None:
    """One line for each (custom_id, body); the whole file or none."""
    lines = (
        {"custom_id": name, "method": "POST", "url": URL, "body": body} for name, body in bodies
    )
    write_json_lines(path, lines)


def read_answers(path: Path) -> AnswerFile:
    """A file of answers; DataError where it can't be read or has no line of use.

    A line that can't be used spoils no other one: it is named in ``bad``. Where a
    ``custom_id`` comes twice, the first good line counts.
    """
    read, seen = AnswerFile(), set()
    for number, text in _lines(path):
        try:
            name, answered = _read_line(text)
        except ValueError as error:
            read.bad.append(f"line {number}: {error}")
            continue
        if (name, answered.start) in seen:
            read.bad.append(f"line {number}: its custom_id was answered before")
            continue
        seen.add((name, answered.start))
        read.found.setdefault(name, []).append(answered)
    if not read.found:
        why = f"; {read.bad[0]}" if read.bad else ", it is empty"
        raise DataError(
            f"{path} has no answer that can be used{why}",
            hint='each line is {"custom_id": ..., "response": {"status_code": 200, "body": ...}}',
        )
    return read


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    try:
        with path.open(encoding="utf-8-sig", errors="replace") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield number, line
    except OSError as error:
        raise DataError(f"can't read {path}: {error.strerror or error}") from error


def _read_line(text: str) -> tuple[str, Answered]:
    """A line's key and answers; ValueError says what is wrong with it."""
    try:
        line = json.loads(text)
    except (json.JSONDecodeError, RecursionError):
        raise ValueError("not valid JSON") from None
    if not isinstance(line, dict):
        raise ValueError("no JSON object")
    name = line.get("custom_id")
    match = _CUSTOM_ID.fullmatch(name) if isinstance(name, str) else None
    if match is None:
        raise ValueError(f"custom_id {name!r:.40} is none that hydra-pers wrote")
    key, start = match[1], int(match[2] or 0)
    if line.get("error"):
        raise ValueError(f"it failed: {_reason(line['error'])}")
    response = line.get("response")
    if not isinstance(response, dict):
        raise ValueError("no response in it")
    body, status = response.get("body"), response.get("status_code", 200)
    if status != 200:
        cause = body.get("error") if isinstance(body, dict) else None
        raise ValueError(f"it failed with status {status!r:.10}: {_reason(cause)}")
    choices = body.get("choices") if isinstance(body, dict) else None
    if not isinstance(body, dict) or not isinstance(choices, list) or not choices:
        raise ValueError("its response has no choices")
    ordered = sorted(choices, key=_place)
    answers = tuple(_answer(choice) for choice in ordered)
    usage = body["usage"] if isinstance(body.get("usage"), dict) else {}
    return key, Answered(
        start,
        answers,
        _count(usage, "prompt_tokens"),
        _count(usage, "completion_tokens"),
        tuple(_finish(choice) for choice in ordered),
    )


def _finish(choice: Mapping[str, Any]) -> str | None:
    reason = choice.get("finish_reason")
    return reason if isinstance(reason, str) and reason else None


def _place(choice: object) -> int:
    index = choice.get("index") if isinstance(choice, dict) else None
    return index if isinstance(index, int) else 0


def _answer(choice: object) -> tuple[str, float | None]:
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(choice, dict) or not isinstance(message, dict):
        raise ValueError("a choice has no message")
    text = message.get("content")
    if text is not None and not isinstance(text, str):
        raise ValueError("a choice's content is no text")
    return text or "", _mean_logprob(choice.get("logprobs"))


def _mean_logprob(logprobs: object) -> float | None:
    """The mean log-probability of the answer's tokens, where the line has them."""
    tokens = logprobs.get("content") if isinstance(logprobs, dict) else None
    values = [
        token.get("logprob") if isinstance(token, dict) else None
        for token in (tokens if isinstance(tokens, list) else ())
    ]
    known = [float(value) for value in values if isinstance(value, (int, float))]
    if not known or len(known) < len(values) or not all(map(math.isfinite, known)):
        return None
    return sum(known) / len(known)


def _count(usage: Mapping[str, Any], name: str) -> int | None:
    value = usage.get(name)
    return value if type(value) is int and value >= 0 else None


def _reason(error: object) -> str:
    """An error's own words, cut short."""
    said = error.get("message") or error.get("code") if isinstance(error, dict) else error
    return f"{said}"[:120] if said else "no reason given"
