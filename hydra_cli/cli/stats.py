"""``hydra-pers stats``."""

from __future__ import annotations

from typing import Annotated

import typer

from hydra_cli.cli.options import JsonOption, StoreOption


def stats(
    user: Annotated[
        str | None,
        typer.Argument(help="One user, week by week (default: everyone).", show_default=False),
    ] = None,
    store: StoreOption = None,
    json: JsonOption = False,
) -> None:
    """How answers fared: how many were accepted, changed and rejected, by how many words.

    Example: hydra-pers stats u42
    """
    from hydra_cli.cli.progress import opened
    from hydra_cli.cli.render import print_json, print_table, say
    from hydra_cli.core.counting import counted

    with opened(store) as hydra:
        found = hydra.stats(user)
    if json:
        print_json([fared.as_mapping() for fared in found])
        return
    rows = [
        (
            fared.name,
            fared.answers,
            fared.accepted,
            fared.chosen,
            fared.edited,
            fared.rejected,
            "" if fared.acceptance is None else f"{fared.acceptance:.0%}",
            "" if fared.change is None else f"{100 * fared.change:.0f}",
        )
        for fared in found
    ]
    columns = ("answers", "accepted", "chosen", "edited", "rejected", "acceptance")
    first = "user" if user is None else "week of"
    print_table(None, (first, *columns, "words changed of 100"), rows)
    heard = sum(fared.heard for fared in found)
    answers = sum(fared.answers for fared in found)
    say(f"{counted(answers, 'answer')}, feedback on {heard:,}")
