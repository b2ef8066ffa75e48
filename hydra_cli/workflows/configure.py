"""The settings in a store's config file: shown, read, set, unset. Comments survive."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra_cli.config import Settings, check_values
from hydra_cli.core.errors import NotFound, UsageError
from hydra_cli.core.files import write_atomic

if TYPE_CHECKING:
    from tomlkit import TOMLDocument

SETTABLE = tuple(f.name for f in fields(Settings) if f.name not in ("store", "tasks"))
_TRUE = ("true", "yes", "on", "1")
_FALSE = ("false", "no", "off", "0")


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting as it is in force. ``given``: the config file names it."""

    key: str
    value: Any
    given: bool


def config_path(store: Path) -> Path:
    return store / "config.toml"


def show(settings: Settings) -> list[Setting]:
    """Every setting in force, the store's tasks left out."""
    given = _read(settings.store)
    return [Setting(key, getattr(settings, key), key in given) for key in SETTABLE]


def get(settings: Settings, key: str) -> Setting:
    """One setting in force; NotFound for a name that is none."""
    _check_key(key)
    return Setting(key, getattr(settings, key), key in _read(settings.store))


def assign(store: Path, key: str, text: str) -> Any:
    """Write one setting, checked as if it were read; the value that was written.

    Lists are written with commas: ``local,ollama``. An empty text empties a list.
    """
    _check_key(key)
    value = _parse(key, text)
    checked = check_values({key: value}, where=f"config set {key}")[key]
    document = _read(store)
    document[key] = value
    write_atomic(config_path(store), document.as_string().encode("utf-8"))
    return checked


def unset(store: Path, key: str) -> bool:
    """Take a setting out of the file, back to its default; False where it wasn't there."""
    _check_key(key)
    document = _read(store)
    if key not in document:
        return False
    del document[key]
    write_atomic(config_path(store), document.as_string().encode("utf-8"))
    return True


def _check_key(key: str) -> None:
    if key == "tasks" or key.startswith("tasks."):
        raise UsageError(
            "tasks are declared in the config file itself",
            hint="add a [tasks.NAME] table with kind, labels and instruction",
        )
    if key not in SETTABLE:
        import difflib

        close = difflib.get_close_matches(key, SETTABLE, n=1)
        known = f"known: {', '.join(SETTABLE)}"
        raise NotFound(
            f"there is no setting {key!r}", hint=f"did you mean {close[0]}?" if close else known
        )


def _parse(key: str, text: str) -> Any:
    """The text as TOML would hold it, by the setting's type."""
    kind = next(str(f.type) for f in fields(Settings) if f.name == key)
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

    path = config_path(store)
    if not path.is_file():
        return tomlkit.document()
    try:
        return tomlkit.parse(path.read_text("utf-8"))
    except (ParseError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not valid TOML: {error}") from error
