"""``hydra-pers keys``: who may ask a server of the store."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hydra_cli.cli.options import JsonOption, StoreOption

if TYPE_CHECKING:
    from hydra_cli.store.api_keys import ApiKey, ApiKeys

keys = typer.Typer(
    help="Make, list and revoke the keys that a server of the store asks for.",
    no_args_is_help=True,
)


@keys.command()
def add(
    user: Annotated[
        str | None,
        typer.Option("--user", "-u", help="The one user that the key can ask for and change."),
    ] = None,
    trusted: Annotated[
        bool, typer.Option("--trusted", help="For an application, which names users itself.")
    ] = False,
    name: Annotated[str, typer.Option("--name", help="What the list is to call it.")] = "",
    store: StoreOption = None,
    json: JsonOption = False,
) -> None:
    """Make a key and show it, once: only a hash of it is kept.

    Example: hydra-pers keys add --user mia --name "Mia's editor"
    """
    from hydra_cli.cli.render import print_json, print_line, say
    from hydra_cli.workflows.api_keys import make_key

    opened, where = _opened(store)
    key, text = make_key(opened, user, trusted=trusted, name=name)
    say(f"a key to {where}, for {_holder(key)}; it isn't shown again")
    if json:
        print_json({"key": text, **_shown(key)})
    else:
        print_line(text)


@keys.command("list")
def list_(store: StoreOption = None, json: JsonOption = False) -> None:
    """List the keys that work.

    Example: hydra-pers keys list
    """
    from hydra_cli.cli.render import print_json, print_table, say

    opened, _ = _opened(store)
    found = opened.all()
    if json:
        print_json([_shown(key) for key in found])
        return
    if not found:
        say(_nobody(opened))
        return
    rows = [(key.id, key.name, _holder(key), key.created[:16].replace("T", " ")) for key in found]
    print_table(None, ("id", "name", "for", "made (UTC)"), rows, names_first=True)


@keys.command()
def revoke(
    id_: Annotated[
        str, typer.Argument(metavar="ID", help="The key's id, as `keys list` shows it.")
    ],
    store: StoreOption = None,
    json: JsonOption = False,
) -> None:
    """Make a key worthless; a running server refuses it from its next request on.

    Example: hydra-pers keys revoke 5a1f0c9b7d3e
    """
    from hydra_cli.cli.render import print_json, say

    opened, _ = _opened(store)
    key = opened.revoke(id_)
    say(f"revoked: {key.id}, for {_holder(key)}")
    if not opened.all():
        say(_nobody(opened))
    if json:
        print_json(_shown(key))


def _opened(store: Path | None) -> tuple[ApiKeys, str]:
    from hydra_cli.wiring import load_settings, open_api_keys

    settings = load_settings(store)
    return open_api_keys(settings), str(settings.store)


def _holder(key: ApiKey) -> str:
    return "any user, trusted" if key.user is None else key.user


def _nobody(opened: ApiKeys) -> str:
    if opened.any_made:
        return "no key is left: a server of this store answers nobody until one is added"
    return "no keys: a server of this store answers its own machine alone"


def _shown(key: ApiKey) -> dict[str, Any]:
    return {"id": key.id, "name": key.name, "user": key.user, "created": key.created}
