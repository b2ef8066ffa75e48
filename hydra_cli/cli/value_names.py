"""What an option takes, as a word in ``--help``: N, FILE, DOLLARS in place of types."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from typer.core import TyperGroup

_FILE, _FOLDER, _NAME, _NAMES, _N = "FILE", "FOLDER", "NAME", "NAMES", "N"

WORDS = {
    "answers": _FILE,
    "cache": _FOLDER,
    "columns": "FIELD=COLUMN,...",
    "concurrency": _N,
    "draws": _N,
    "encoder": _NAME,
    "encoding": _NAME,
    "file": _FILE,
    "fit_records": _N,
    "format": "FORMAT",
    "gate_records": _N,
    "hold_out": _N,
    "k": _N,
    "keep": "COLUMN",
    "kind": "KIND",
    "limit": _N,
    "limit_queries": _N,
    "limit_users": _N,
    "max_calls": _N,
    "max_cost": "DOLLARS",
    "max_tokens": _N,
    "methods": _NAMES,
    "model": _NAME,
    "n": _N,
    "out": _FILE,
    "outputs": _FILE,
    "per_user": _N,
    "predictions": _FILE,
    "questions": _FILE,
    "recipe": _NAME,
    "record": "ID",
    "rejects": _FILE,
    "report": _FOLDER,
    "requests": _FILE,
    "retriever": _NAME,
    "seed": _N,
    "seeds": "N,N,...",
    "store": _FOLDER,
    "suite": _FOLDER,
    "supervision": "SOURCE",
    "task": _NAME,
    "temperature": "NUMBER",
    "time_format": "FORMAT",
    "to": "PATH",
    "train_limit": _N,
    "train_outputs": _FILE,
    "train_questions": _FILE,
    "train_users": _N,
    "user": _NAME,
    "users": _NAME,
    "without": _NAME,
}
"""The word for each option's value, by the name of its parameter."""


ARGUMENTS = {"text": "QUERY", "paths": "PATH", "users": "USER"}
"""The same for arguments whose parameter says it less well."""


class NamedValues(TyperGroup):
    """The root of all commands; their options get their words here, in one place."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        _name_commands(self)

    def get_params(self, ctx: Any) -> Any:
        """Its own, among them those that are added once it is made."""
        found = super().get_params(ctx)
        _name_values(found)
        return found


def _name_commands(command: Any) -> None:
    _name_values(command.params)
    _name_help(command)
    for child in getattr(command, "commands", {}).values():
        _name_commands(child)


def _name_values(parameters: Iterable[Any]) -> None:
    for parameter in parameters:
        name = str(parameter.name)
        if parameter.param_type_name == "argument":
            parameter.metavar = ARGUMENTS.get(name, name.upper())
            parameter.display_type_rich = lambda ctx: None  # its word says it already
        elif parameter.metavar is None:
            # A flag takes nothing, and says so.
            parameter.metavar = "" if parameter.is_flag else WORDS.get(name, name.upper())


def _name_help(command: Any) -> None:
    """``--help`` is made when it is asked for, and is a flag, too."""
    made = command.get_help_option

    def named(ctx: Any) -> Any:
        option = made(ctx)
        if option is not None:
            option.metavar = ""
        return option

    command.get_help_option = named
