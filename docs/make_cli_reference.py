"""docs/cli.md from the Typer app itself: what it says is what the program takes.

``--write`` makes the file anew, ``--check`` fails where it is out of date.
"""

from __future__ import annotations

import difflib
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from hydra_cli.cli.app import app

TARGET = Path(__file__).with_name("cli.md")
HEAD = """# Commands

Made from the program by `nox -s docs -- --write`; don't edit it by hand.

Data goes to stdout, everything else to stderr. Every command that prints data
takes `--json`. Exit codes are in [errors.md](errors.md). `python -m hydra_cli`
is the same as `hydra-pers`.
"""


def commands(command: Any, path: str = "hydra-pers") -> Iterator[tuple[str, Any]]:
    """Every command with its full name; groups give theirs, in the order of --help."""
    children = getattr(command, "commands", None)
    if children is None:
        yield path, command
        return
    for name, child in children.items():
        if not child.hidden:
            yield from commands(child, f"{path} {name}")


def reference() -> str:
    found = list(commands(typer.main.get_command(app)))
    toc = "\n".join(
        f"- [`{name}`](#{name.replace(' ', '-')}): {first_line(c)}" for name, c in found
    )
    return "\n\n".join([HEAD + "\n" + toc, *(section(name, c) for name, c in found)]) + "\n"


def first_line(command: Any) -> str:
    return inspect.cleandoc(command.help or "").split("\n\n")[0].replace("\n", " ")


def section(name: str, command: Any) -> str:
    help_text = inspect.cleandoc(command.help or "")
    paragraphs = [paragraph(text) for text in help_text.split("\n\n")]
    shown = [p for p in command.params if p.name != "help" and not getattr(p, "hidden", False)]
    arguments = [p for p in shown if p.param_type_name == "argument"]
    usage = " ".join(
        [
            name,
            *(["[OPTIONS]"] if len(shown) > len(arguments) else []),
            *(argument_name(p) for p in arguments),
        ]
    )
    parts = [f"## {name}", *paragraphs, f"```\n{usage}\n```"]
    if shown:
        rows = [f"| {cell(p)} | {text(p)} |" for p in shown]
        parts.append("\n".join(["| | |", "|---|---|", *rows]))
    return "\n\n".join(parts)


def paragraph(text: str) -> str:
    """Help text as Markdown; examples as commands."""
    if text.startswith("Example: "):
        example = " ".join(text.removeprefix("Example: ").split())
        return f"```console\n$ {example}\n```"
    return text


def argument_name(parameter: Any) -> str:
    name = (parameter.metavar or parameter.name.upper()).strip("[]").removesuffix("]...")
    name = name if parameter.required else f"[{name}]"
    return f"{name}..." if parameter.nargs == -1 else name


def cell(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return f"`{argument_name(parameter)}`"
    *others, last = (*parameter.opts, *parameter.secondary_opts)
    value = "" if parameter.is_flag else f" {parameter.metavar or parameter.name.upper()}"
    return ", ".join(f"`{name}`" for name in (*others, last + value))


def text(parameter: Any) -> str:
    said = (parameter.help or "").replace("|", "\\|").replace("[", "\\[")
    default = parameter.default
    plain = isinstance(default, (str, int, float)) and not isinstance(default, bool)
    if plain and "default" not in said.lower() and not getattr(parameter, "is_flag", False):
        said += f" Default: `{default}`."
    return said


def main(arguments: list[str]) -> int:
    fresh = reference()
    if arguments == ["--write"]:
        TARGET.write_text(fresh, "utf-8")
        return 0
    if arguments != ["--check"]:
        sys.stderr.write("usage: make_cli_reference.py --check|--write\n")
        return 2
    old = TARGET.read_text("utf-8") if TARGET.is_file() else ""
    changes = difflib.unified_diff(
        old.splitlines(), fresh.splitlines(), "docs/cli.md", "the program", lineterm=""
    )
    found = list(changes)
    if found:
        sys.stderr.write("\n".join([*found, "run `nox -s docs -- --write`", ""]))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
