"""The keys of a declared task: their types, their bounds, and what is wrong with a value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from hydra_cli.core.errors import UsageError
from hydra_cli.core.recognition import number_of
from hydra_cli.core.tasks import KINDS, TaskSpec

TASK_KEYS = tuple(f.name for f in fields(TaskSpec) if f.name != "name")
BOUNDS = {"answer_tokens": (1, 32_000), "input_words": (1, 100_000)}
_TYPES = {f.name: str(f.type) for f in fields(TaskSpec)}


def checked_keys(name: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """A declared task's values as a TaskSpec takes them; UsageError where one makes no sense."""
    if unknown := set(values) - set(TASK_KEYS):
        raise UsageError(
            f"task {name!r}: unknown key {sorted(unknown)[0]!r}",
            hint=f"known: {', '.join(sorted(TASK_KEYS))}",
        )
    return {key: _checked(name, key, value) for key, value in values.items()}


def check_labels(spec: TaskSpec) -> None:
    """UsageError where a rating's scale holds what is no number."""
    if spec.kind == "rating":
        for label in spec.labels:
            if number_of(label) is None:
                raise UsageError(
                    f"task {spec.name!r}: {label!r} on a rating's scale is no number",
                    hint='declare the scale as labels = ["1", "2", "3"], ascending',
                )


def _checked(name: str, key: str, value: Any) -> Any:
    if key == "kind":
        if value not in KINDS:
            raise UsageError(f"task {name!r}: kind must be one of {', '.join(KINDS)}")
    elif key == "labels":
        plain = isinstance(value, (list, tuple)) and all(
            isinstance(item, (str, int, float)) and not isinstance(item, bool) for item in value
        )
        if not plain:
            raise _wrong(name, key, value, "a list of texts")
        return tuple(str(item) for item in value)
    elif key in BOUNDS:
        low, high = BOUNDS[key]
        whole = isinstance(value, int) and not isinstance(value, bool)
        if not whole or not low <= value <= high:
            raise _wrong(name, key, value, f"a whole number from {low:,} to {high:,}")
    elif _TYPES[key] == "bool":
        if not isinstance(value, bool):
            raise _wrong(name, key, value, "true or false")
    elif not isinstance(value, str) or not value.strip():
        raise _wrong(name, key, value, "a text")
    return value


def _wrong(name: str, key: str, value: Any, wanted: str) -> UsageError:
    return UsageError(f"task {name!r}: {key} can't be {value!r}", hint=f"it wants {wanted}")
