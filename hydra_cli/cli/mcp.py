"""``hydra-pers mcp``: the tools of a store for one MCP client."""

from __future__ import annotations

from typing import Annotated

import typer

from hydra_cli.cli.options import EncoderOption, StoreOption


def mcp(
    user: Annotated[
        str | None,
        typer.Option("--user", "-u", help="Serve this user alone (default: anybody)."),
    ] = None,
    encoder: EncoderOption = None,
    store: StoreOption = None,
) -> None:
    """Serve MCP on stdin and stdout: examples of a user, a choice among drafts, feedback.

    Example: hydra-pers mcp --user u42
    """
    from hydra_cli.cli.serve import check_extra

    check_extra()
    import signal

    import anyio

    from hydra_cli.api import Hydra
    from hydra_cli.cli.render import say
    from hydra_cli.serving.mcp import serve_stdio
    from hydra_cli.serving.service import ServeOptions, Service
    from hydra_cli.workflows.choosing import choose_user

    with Hydra.open(store, create=False, on_note=say, encoder=encoder) as hydra:
        if user is not None:
            choose_user(hydra.store, user)
        # A read of stdin can't be cancelled: Ctrl-C ends the process as it ends any other's.
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
        anyio.run(serve_stdio, Service(hydra, ServeOptions()), user)
