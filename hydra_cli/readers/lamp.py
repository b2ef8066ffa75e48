"""Profiles of LaMP question files (arXiv 2304.11406) as rows, one a profile item."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import orjson

from hydra_cli.core.rows import BadRow, Row
from hydra_cli.core.tasks import TaskSpec

USER_FIELD = "user_id"


def is_question(fields: Mapping[str, Any]) -> bool:
    """Whether a row is a LaMP question: an id, an input and a list of past items."""
    profile = fields.get("profile")
    return (
        isinstance(profile, list)
        and "id" in fields
        and isinstance(fields.get("input"), str)
        and all(isinstance(item, dict) for item in profile)
    )


def match_task(question: Mapping[str, Any], tasks: Iterable[TaskSpec]) -> TaskSpec | None:
    """The task whose marker stands in the question and whose fields the profile has.

    Of several, the one that agrees with the question about being a choice
    among listed labels: LaMP_2N and LaMP_4 share everything else.
    """
    text = question["input"]
    items = question["profile"]
    found = [
        spec
        for spec in tasks
        if spec.marker
        and spec.marker in text
        and all(spec.input_field in item and spec.output_field in item for item in items[:1])
    ]
    if not found:
        return None
    return max(found, key=lambda spec: _lists_labels(spec, text) == (spec.kind == "classification"))


def _lists_labels(spec: TaskSpec, text: str) -> bool:
    return spec.split_question(text)[1] != spec.labels


def profile_rows(
    questions: Iterable[Row | BadRow], spec: TaskSpec | None, labels: set[str]
) -> Iterator[Row | BadRow]:
    """Every profile item once per user, with USER_FIELD set; ``line`` is the question's.

    A user's questions stand together and repeat their profile, so remembering
    one user's items keeps memory constant. An item that comes back changed is
    given again: the store tells the conflict. ``labels`` collects the labels
    that the questions offer.
    """
    user = None
    known: set[bytes] = set()
    for entry in questions:
        if isinstance(entry, BadRow):
            yield entry
            continue
        line, question = entry
        if not is_question(question):
            yield BadRow(line, "not a LaMP question (it needs id, input and profile)")
            continue
        if spec is not None and spec.kind == "classification":
            labels.update(spec.split_question(question["input"])[1])
        asked_by = question.get(USER_FIELD) or question["id"]
        if asked_by != user:
            user, known = asked_by, set()
        for item in question["profile"]:
            content = _content(item)
            if content in known:
                continue
            if content:
                known.add(content)
            yield Row(line, {**item, USER_FIELD: user})


def _content(item: Mapping[str, Any]) -> bytes:
    """The item as bytes, to be compared; empty where it is nested too deeply for that."""
    try:
        return orjson.dumps(item)
    except orjson.JSONEncodeError:
        return b""
