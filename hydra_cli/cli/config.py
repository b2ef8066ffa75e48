"""``hydra-pers config``: the settings of a store."""

from __future__ import annotations

import re
from typing import Annotated, Any

import typer

from hydra_cli.cli.options import JsonOption, StoreOption

config = typer.Typer(invoke_without_command=True)


@config.callback()
def root(context: typer.Context) -> None:
    """Show and change the settings of a store; without a subcommand, show them."""
    if context.invoked_subcommand is None:
        show()


KeyArgument = Annotated[
    str,
    typer.Argument(help="The setting's name; tasks.NAME.KEY for a task's.", show_default=False),
]


@config.command("show")
def show(store: StoreOption = None, json: JsonOption = False) -> None:
    """Show every setting in force, and which of them the config file names."""
    from hydra_cli.cli.render import print_json, print_table
    from hydra_cli.wiring import load_settings
    from hydra_cli.workflows import configure

    found = configure.show(load_settings(store))
    if json:
        print_json({item.key: item.value for item in found})
        return
    rows = [(item.key, as_text(item.value), "config" if item.given else "") for item in found]
    print_table(None, ("setting", "value", "from"), rows)


@config.command("get")
def get(key: KeyArgument, store: StoreOption = None, json: JsonOption = False) -> None:
    """Print one setting."""
    from hydra_cli.cli.render import print_json, printable
    from hydra_cli.wiring import load_settings
    from hydra_cli.workflows import configure

    found = configure.get(load_settings(store), key)
    if json:
        print_json({found.key: found.value})
    else:
        typer.echo(printable(as_text(found.value)))


_OPTION = re.compile(r"--?[A-Za-z][\w-]*")


# A value may begin with a dash: what it can't be is said by the setting, not by the options.
@config.command("set", context_settings={"ignore_unknown_options": True})
def set_(
    key: KeyArgument,
    value: Annotated[
        str, typer.Argument(help="Its value; lists with commas: local,ollama.", show_default=False)
    ],
    store: StoreOption = None,
) -> None:
    """Write one setting to the store's config file; comments in it are kept.

    hydra-pers config set providers local,ollama
    hydra-pers config set tasks.replies.answer_tokens 400
    """
    from hydra_cli.cli.render import say
    from hydra_cli.config import store_folder
    from hydra_cli.core.errors import UsageError
    from hydra_cli.workflows import configure

    for text in (key, value):
        if _OPTION.fullmatch(text):
            raise UsageError(
                f"No such option: {text}", hint="`hydra-pers config set --help` shows how"
            )
    written = configure.assign(store_folder(store), key, value)
    say(f"{key} = {as_text(written)}")


@config.command("unset")
def unset(key: KeyArgument, store: StoreOption = None) -> None:
    """Take one setting out of the config file, back to its default."""
    from hydra_cli.cli.render import say
    from hydra_cli.config import store_folder
    from hydra_cli.workflows import configure

    gone = configure.unset(store_folder(store), key)
    say(f"{key} is back to its default" if gone else f"{key} was not set")


def as_text(value: Any) -> str:
    """A setting as ``config set`` would take it."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(value) if isinstance(value, tuple) else str(value)
