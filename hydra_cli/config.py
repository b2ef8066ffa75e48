"""Settings: command-line flags over environment over the store's config file over defaults.

The config file is ``config.toml`` in the store's folder::

    user = "u42"
    model = "openai/gpt-4o-mini"
    providers = ["local", "openai"]     # anything else is refused before a request
    sources = ["~/notes/*.jsonl"]

    [tasks.tickets]
    kind = "classification"
    labels = ["bug", "question", "praise"]
    instruction = "Name the kind of the ticket."

API keys come from the environment alone and are never read from this file.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from hydra_cli.core.errors import UsageError
from hydra_cli.core.plan import AnswerPlan, check_bounds
from hydra_cli.core.task_keys import check_labels, checked_keys
from hydra_cli.core.tasks import PRESETS, TaskSpec

_WANTED = {
    "tuple": "a list of texts",
    "float": "a number",
    "int": "a whole number",
    "bool": "true or false",
    "str": "a text",
}
DEFAULT_ENCODER = "all-minilm-l6-v2"
DEFAULT_MODEL = "local/qwen2.5-0.5b-instruct"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(AnswerPlan):
    """Everything a command may want to know, resolved once; the pipeline's plan is part of it."""

    store: Path
    encoder: str = DEFAULT_ENCODER
    model: str = DEFAULT_MODEL
    user: str | None = None
    cache: bool = True
    providers: tuple[str, ...] = ()
    """Allowed litellm providers; empty allows any."""
    fallbacks: tuple[str, ...] = ()
    concurrency: int = 8
    timeout: float = 60.0
    sources: tuple[str, ...] = ()
    answers_days: int = 30
    """Days that answers are kept for feedback on them; 0 keeps none."""
    accepted_records: bool = False
    """Whether an answer that its user accepts becomes a record of theirs."""
    tasks: Mapping[str, TaskSpec] = field(default_factory=lambda: dict(PRESETS))

    @property
    def plan(self) -> AnswerPlan:
        """How queries are answered, and nothing else."""
        return AnswerPlan(**{item.name: getattr(self, item.name) for item in fields(AnswerPlan)})

    def spec(self, task: str) -> TaskSpec:
        """The task as declared, recognised or preset; free generation where it is unknown."""
        return self.tasks.get(task) or free_generation(task)

    def override(self, **flags: Any) -> Settings:
        """The settings with every flag that was given."""
        return replace(self, **{key: value for key, value in flags.items() if value is not None})


def store_folder(flag: Path | None = None) -> Path:
    """``--store``, else HYDRA_PERS_HOME, else the platform's user data folder."""
    if flag is not None:
        return flag.expanduser()
    if home := os.environ.get("HYDRA_PERS_HOME"):
        return Path(home).expanduser()
    from platformdirs import user_data_path

    return user_data_path("hydra-pers")


def resolved(folder: Path, recognised: Mapping[str, TaskSpec], file: Path) -> Settings:
    """The environment over the config ``file`` over the tasks recognised in the store's folder."""
    settings = Settings(store=folder, tasks={**PRESETS, **recognised})
    if file.is_file():
        settings = _from_file(settings, file)
    from_environment = {
        name: os.environ.get(f"HYDRA_PERS_{name.upper()}") for name in ("model", "encoder", "user")
    }
    return settings.override(**{key: value or None for key, value in from_environment.items()})


def read_tasks(path: Path, known: Mapping[str, TaskSpec]) -> dict[str, TaskSpec]:
    """The ``[tasks.NAME]`` tables of a file on top of known tasks; UsageError names the file."""
    values = _parsed(path)
    try:
        declared = declared_tasks(values.pop("tasks", {}))
        made = {
            name: task_from_mapping(name, v, base=known.get(name)) for name, v in declared.items()
        }
    except UsageError as error:
        raise UsageError(f"{path}: {error.message}", hint=error.hint) from error
    if values:
        raise UsageError(f"{path}: unknown key {sorted(values)[0]!r}", hint="known: [tasks.NAME]")
    return {**known, **made}


def given_keys(path: Path) -> dict[str, frozenset[str]]:
    """The keys of each ``[tasks.NAME]`` table that the file holds."""
    declared = declared_tasks(_parsed(path).get("tasks", {}))
    return {str(name): frozenset(map(str, keys)) for name, keys in declared.items()}


def _parsed(path: Path) -> dict[str, Any]:
    import tomlkit
    from tomlkit.exceptions import ParseError

    try:
        return tomlkit.parse(path.read_text("utf-8")).unwrap()
    except (ParseError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not valid TOML: {error}") from error
    except OSError as error:
        raise UsageError(f"can't read {path}: {error.strerror or error}") from error


def _from_file(settings: Settings, path: Path) -> Settings:
    values = _parsed(path)
    tasks = dict(settings.tasks)
    for name, declared in declared_tasks(values.pop("tasks", {})).items():
        tasks[name] = task_from_mapping(name, declared, base=tasks.get(name))
    return replace(settings, tasks=tasks, **check_values(values, where=str(path)))


def declared_tasks(values: Any) -> Mapping[str, Mapping[str, Any]]:
    """The ``tasks`` of a config file; UsageError where they are no tables."""
    if isinstance(values, Mapping) and all(isinstance(v, Mapping) for v in values.values()):
        return values
    raise UsageError(
        "tasks in the config file are tables", hint="write [tasks.NAME] and its keys below it"
    )


def check_values(values: Mapping[str, Any], *, where: str = "") -> dict[str, Any]:
    """Plain settings with types and bounds checked; UsageError says ``where`` one is wrong."""
    prefix = f"{where}: " if where else ""
    kinds = {f.name: f.type for f in fields(Settings) if f.name not in ("store", "tasks")}
    checked: dict[str, Any] = {}
    for key, value in values.items():
        if key not in kinds:
            known = ", ".join(sorted(kinds))
            raise UsageError(f"{prefix}unknown setting {key!r}", hint=f"known: {known}, tasks")
        checked[key] = _typed(key, value, str(kinds[key]), prefix)
    bounded = {item.name for item in fields(AnswerPlan)}
    for key in bounded & checked.keys():
        check_bounds(key, checked[key], where=prefix)
    if not checked.get("timeout", 1.0) > 0:
        raise UsageError(f"{prefix}timeout can't be {checked['timeout']!r}: it must be positive")
    if not checked.get("concurrency", 1) >= 1:
        raise UsageError(
            f"{prefix}concurrency can't be {checked['concurrency']!r}: it must be at least 1"
        )
    if not checked.get("answers_days", 0) >= 0:
        raise UsageError(
            f"{prefix}answers_days can't be {checked['answers_days']!r}: it must be at least 0"
        )
    return checked


def _typed(key: str, value: Any, kind: str, prefix: str) -> Any:
    if kind.startswith("tuple"):
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            return tuple(value)
    elif kind.startswith("float"):
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return float(value)
    elif kind.startswith("int"):
        if isinstance(value, int) and not isinstance(value, bool):
            return value
    elif kind.startswith("bool"):
        if isinstance(value, bool):
            return value
    elif isinstance(value, str):
        return value
    wanted = next(words for name, words in _WANTED.items() if kind.startswith(name))
    raise UsageError(f"{prefix}{key} can't be {value!r}: it wants {wanted}")


def free_generation(name: str) -> TaskSpec:
    """What a task is while nothing is known about it."""
    return TaskSpec(name=name, kind="generation", instruction="Answer as the user would.")


def task_from_mapping(
    name: str, values: Mapping[str, Any], *, base: TaskSpec | None = None
) -> TaskSpec:
    """A task declared in a config file, on top of a preset of the same name."""
    spec = replace(base or free_generation(name), **checked_keys(name, values))
    check_labels(spec)
    return spec
