"""``hydra-pers doctor``."""

from __future__ import annotations

from typing import Annotated

import typer

from hydra_cli.cli.options import JsonOption, StoreOption


def doctor(
    fix: Annotated[bool, typer.Option("--fix", help="Repair what is safe to repair.")] = False,
    store: StoreOption = None,
    json: JsonOption = False,
) -> None:
    """Examine the store: rows, vectors, heads, hashes, permissions, disk, unfinished work.

    Exit code 0: all is well; 4: there are problems.

    Example: hydra-pers doctor --fix
    """
    from hydra_cli.cli.render import print_json, print_table, say
    from hydra_cli.config import store_folder
    from hydra_cli.core.errors import StoreError
    from hydra_cli.workflows.doctor import examine, repair

    folder = store_folder(store)
    found = repair(folder) if fix else examine(folder)
    for finding in found.repaired:
        say(f"repaired: {finding.text}")
    if json:
        print_json(
            {
                "store": str(folder),
                "healthy": found.healthy,
                "findings": [
                    {
                        "check": finding.check,
                        "level": finding.level,
                        "text": finding.text,
                        "hint": finding.hint,
                        "fixable": finding.repair is not None,
                    }
                    for finding in found.findings
                ],
                "repaired": [finding.text for finding in found.repaired],
            }
        )
    else:
        rows = [(finding.level, finding.check, finding.text) for finding in found.findings]
        print_table(None, ("", "check", "found"), rows)
    problems = [finding for finding in found.findings if finding.level == "problem"]
    for finding in problems:
        if finding.hint:
            say(f"{finding.check}: {finding.hint}")
    if problems:
        raise StoreError(f"{len(problems)} problems in the store at {folder}")
