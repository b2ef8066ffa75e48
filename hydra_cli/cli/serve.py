"""``hydra-pers serve``: the store behind OpenAI's protocol."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from hydra_cli.cli.options import EncoderOption, JsonOption, ModelOption, StoreOption

if TYPE_CHECKING:
    from hydra_cli.api import Hydra
    from hydra_cli.serving.service import ServeOptions


def serve(
    host: Annotated[
        str,
        typer.Option("--host", help="Where to listen; other addresses than loopback need keys."),
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option("--port", "-p", min=0, max=65535, help="0: any port that is free.")
    ] = 8642,
    warm: Annotated[
        bool, typer.Option("--warm/--no-warm", help="Load encoder and LLM before listening.")
    ] = True,
    model: ModelOption = None,
    encoder: EncoderOption = None,
    store: StoreOption = None,
    json: JsonOption = False,
) -> None:
    """Answer every OpenAI client as its users would, from one warm store.

    Example: hydra-pers serve --model openai/gpt-4o-mini
    """
    import time

    start = time.perf_counter()
    check_extra()
    from hydra_cli.api import Hydra
    from hydra_cli.cli.progress import OPENING, progress_bar
    from hydra_cli.cli.render import print_json, say
    from hydra_cli.serving.run import bound, run
    from hydra_cli.serving.service import ServeOptions, Service

    options = ServeOptions(host=host, port=port)
    with bound(options) as listener:
        with progress_bar(OPENING) as bar:
            hydra = Hydra.open(
                store, create=False, progress=bar, on_note=say, model=model, encoder=encoder
            )
            bar.start("loading the models", None)
            hydra.warm_up(load=warm)
        base = base_url(host, listener.getsockname()[1])

        def ready() -> None:
            for line in about(hydra, options, base):
                say(line)
            say(f"ready in {time.perf_counter() - start:.1f} s; Ctrl-C ends it")
            if json:
                print_json({"base_url": base, "model": f"hydra/{hydra.settings.model}"})
                sys.stdout.flush()

        with hydra:
            stopped = run(Service(hydra, options), listener, on_ready=ready)
    end(stopped.signal, at_once=stopped.at_once)


def check_extra() -> None:
    """UsageError without the packages of a server."""
    from importlib.util import find_spec

    from hydra_cli.core.errors import UsageError

    if any(find_spec(name) is None for name in ("starlette", "uvicorn", "sse_starlette", "mcp")):
        raise UsageError("the server needs more packages", hint='pip install "hydra-pers[serve]"')


def base_url(host: str, port: int) -> str:
    """What a client is given; a wildcard is called by loopback's name."""
    named = {"0.0.0.0": "127.0.0.1", "::": "[::1]", "": "127.0.0.1"}.get(host)
    return f"http://{named or (f'[{host}]' if ':' in host else host)}:{port}/v1"


def about(hydra: Hydra, options: ServeOptions, base: str) -> list[str]:
    """What is served, to whom, and what a client is to be told."""
    users = hydra.users()
    records = sum(user.records for user in users)
    name = f"hydra/{hydra.settings.model}"
    return [
        f"store: {hydra.settings.store} ({records:,} records of {len(users):,} users)",
        f"model: {hydra.settings.model}, personal as {name}",
        "who may ask: this machine alone, and without a key",
        f"base URL: {base}",
        f"in a client: OPENAI_BASE_URL={base} OPENAI_API_KEY=any, model {name}, user=NAME",
    ]


def end(signal: int | None, *, at_once: bool) -> None:
    """A SIGTERM that was drained is a success; Ctrl-C ends as it does everywhere."""
    import os
    from signal import SIGINT

    if at_once:  # threads that still work would be waited for
        sys.stderr.flush()
        os._exit(130 if signal == SIGINT else 143)
    if signal == SIGINT:
        raise KeyboardInterrupt
