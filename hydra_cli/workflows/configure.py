"""The settings in a store's config file: shown, read, set, unset. Comments survive."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra_cli.config import Settings, check_values, declared_tasks, task_from_mapping
from hydra_cli.core.errors import NotFound, UsageError
from hydra_cli.core.files import write_atomic
from hydra_cli.core.task_keys import TASK_KEYS
from hydra_cli.core.tasks import PRESETS, TaskSpec
from hydra_cli.store.folder import StoreFolder
from hydra_cli.wiring import load_settings

if TYPE_CHECKING:
    from tomlkit import TOMLDocument

SETTABLE = tuple(f.name for f in fields(Settings) if f.name not in ("store", "tasks"))
_TRUE = ("true", "yes", "on", "1")
_FALSE = ("false", "no", "off", "0")


@dataclass(frozen=True, slots=True)
class ShownSetting:
    """One setting as it is in force. ``given``: the config file names it."""

    key: str
    value: Any
    given: bool


def show(settings: Settings) -> list[ShownSetting]:
    """Every setting in force, and the keys of every task that isn't just a preset."""
    document = _read(settings.store)
    found = [ShownSetting(key, getattr(settings, key), key in document) for key in SETTABLE]
    given = given_task_keys(settings.store)
    for name, spec in sorted(settings.tasks.items()):
        if spec != PRESETS.get(name):
            found += [
                ShownSetting(f"tasks.{name}.{key}", value, key in given.get(name, ()))
                for key in TASK_KEYS
                if (value := getattr(spec, key)) not in (None, ())
            ]
    return found


def get(settings: Settings, key: str) -> ShownSetting:
    """One setting in force; NotFound for a name that is none."""
    if (place := _task_key(key)) is not None:
        name, task_key = place
        value = getattr(_known_task(settings, name), task_key)
        return ShownSetting(key, value, task_key in given_task_keys(settings.store).get(name, ()))
    _check_key(key)
    return ShownSetting(key, getattr(settings, key), key in _read(settings.store))


def assign(store: Path, key: str, text: str) -> Any:
    """Write one setting, checked as if it were read; the value that was written.

    Lists are written with commas: ``local,ollama``. An empty text empties a list.
    ``tasks.NAME.KEY`` is a key of a task.
    """
    document = _read(store)
    if (place := _task_key(key)) is not None:
        name, task_key = place
        value = _parse(task_key, text, _kinds(TaskSpec))
        settings = load_settings(store)
        # A new task begins with its kind; any other key of an unknown one is a typing error.
        base = settings.tasks.get(name) if task_key == "kind" else _known_task(settings, name)
        checked = getattr(task_from_mapping(name, {task_key: value}, base=base), task_key)
        table = _table(document, "tasks", is_super_table=True)
        _table(table, name)[task_key] = value
    else:
        _check_key(key)
        value = _parse(key, text, _kinds(Settings))
        checked = check_values({key: value})[key]
        document[key] = value
    write_atomic(StoreFolder(store).settings, document.as_string().encode("utf-8"))
    return checked


def unset(store: Path, key: str) -> bool:
    """Take a setting out of the file, back to its default; False where it wasn't there."""
    document = _read(store)
    table: Any = document
    last = key
    if (place := _task_key(key)) is not None:
        name, last = place
        table = document.get("tasks", {}).get(name, {})
    else:
        _check_key(key)
    if last not in table:
        return False
    del table[last]
    if place is not None and not table:
        del document["tasks"][place[0]]
        if not document["tasks"]:
            del document["tasks"]
    write_atomic(StoreFolder(store).settings, document.as_string().encode("utf-8"))
    return True


def given_task_keys(store: Path) -> dict[str, frozenset[str]]:
    """The keys of each task that the config file holds."""
    tasks = declared_tasks(_read(store).get("tasks", {}))
    return {str(name): frozenset(map(str, keys)) for name, keys in tasks.items()}


def _task_key(key: str) -> tuple[str, str] | None:
    """``tasks.NAME.KEY`` as name and key, or None for a plain setting."""
    if key != "tasks" and not key.startswith("tasks."):
        return None
    name, dot, last = key.removeprefix("tasks").removeprefix(".").rpartition(".")
    if not dot or not name:
        raise UsageError(
            "a task's key is written tasks.NAME.KEY",
            hint="such as `hydra-pers config set tasks.replies.answer_tokens 400`",
        )
    if last not in TASK_KEYS:
        raise _no_such(f"a task has no key {last!r}", last, TASK_KEYS)
    return name, last


def _known_task(settings: Settings, name: str) -> TaskSpec:
    if name in settings.tasks:
        return settings.tasks[name]
    raise _no_such(
        f"there is no task {name!r}",
        name,
        tuple(settings.tasks),
        more=f"; `hydra-pers config set tasks.{name}.kind generation` declares it",
    )


def _check_key(key: str) -> None:
    if key not in SETTABLE:
        raise _no_such(f"there is no setting {key!r}", key, SETTABLE)


def _no_such(message: str, key: str, known: Sequence[str], more: str = "") -> NotFound:
    import difflib

    close = difflib.get_close_matches(key, known, n=1)
    hint = f"did you mean {close[0]}?" if close else f"known: {', '.join(known)}"
    return NotFound(message, hint=hint + more)


def _table(parent: Any, name: str, *, is_super_table: bool = False) -> Any:
    """The table of that name, made where there is none."""
    import tomlkit

    if name not in parent:
        parent[name] = tomlkit.table(is_super_table or None)
    return parent[name]


def _kinds(model: type[Settings | TaskSpec]) -> dict[str, str]:
    return {item.name: str(item.type) for item in fields(model)}


def _parse(key: str, text: str, kinds: Mapping[str, str]) -> Any:
    """The text as TOML would hold it, by the setting's type."""
    kind = kinds[key]
    if kind.startswith("tuple"):
        return [part.strip() for part in text.split(",") if part.strip()]
    if kind.startswith("bool"):
        if text.lower() in (*_TRUE, *_FALSE):
            return text.lower() in _TRUE
    elif kind.startswith("int"):
        if text.strip().lstrip("+-").isdecimal():
            return int(text)
    elif kind.startswith("float"):
        import math

        try:
            value = float(text)
        except ValueError:
            return text
        # check_values refuses the text, and says which type is wanted.
        return value if math.isfinite(value) else text
    return text


def _read(store: Path) -> TOMLDocument:
    import tomlkit
    from tomlkit.exceptions import ParseError

    path = StoreFolder(store).settings
    if not path.is_file():
        return tomlkit.document()
    try:
        return tomlkit.parse(path.read_text("utf-8"))
    except (ParseError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not valid TOML: {error}") from error
