"""``hydra-pers users``."""

from __future__ import annotations

from hydra_cli.cli.options import JsonOption, StoreOption


def users(store: StoreOption = None, json: JsonOption = False) -> None:
    """List the store's users with their records.

    Example: hydra-pers users --json
    """
    from hydra_cli.cli.progress import opened
    from hydra_cli.cli.render import print_json, print_table, say
    from hydra_cli.core.counting import counted

    with opened(store) as hydra:
        found = hydra.users()
    if json:
        print_json(
            [
                {
                    "user": summary.user,
                    "records": summary.records,
                    "tasks": list(summary.tasks),
                    "first": summary.first and summary.first.isoformat(),
                    "last": summary.last and summary.last.isoformat(),
                }
                for summary in found
            ]
        )
        return
    rows = [
        (
            summary.user,
            summary.records,
            ", ".join(summary.tasks),
            summary.first.date() if summary.first else "",
            summary.last.date() if summary.last else "",
        )
        for summary in found
    ]
    print_table(None, ("user", "records", "tasks", "first", "last"), rows)
    records = sum(summary.records for summary in found)
    say(f"{counted(len(found), 'user')}, {counted(records, 'record')}")
