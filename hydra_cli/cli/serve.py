"""``hydra-pers serve``: the store behind OpenAI's protocol."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from hydra_cli.cli.options import EncoderOption, JsonOption, ModelOption, StoreOption

if TYPE_CHECKING:
    from hydra_cli.api import Hydra
    from hydra_cli.serving.service import Unknown
    from hydra_cli.store.api_keys import ApiKeys


def serve(
    host: Annotated[
        str,
        typer.Option("--host", help="Where to listen; other addresses than loopback need keys."),
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option("--port", "-p", min=0, max=65535, help="0: any port that is free.")
    ] = 8642,
    unknown: Annotated[
        str,
        typer.Option(
            "--unknown", help="What users without records get: plain (an answer) or refuse (404)."
        ),
    ] = "plain",
    rate: Annotated[
        int, typer.Option("--rate", min=0, help="Requests a minute for each key; 0: no limit.")
    ] = 600,
    origin: Annotated[
        list[str] | None,
        typer.Option(
            "--origin", help="A web page that may call, https://chat.example. Repeatable."
        ),
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(
            "--allow-host", help="A name that the server is called by, behind a proxy. Repeatable."
        ),
    ] = None,
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
    from signal import SIGINT

    start = time.perf_counter()
    check_extra()
    from hydra_cli.api import Hydra
    from hydra_cli.cli.progress import OPENING, progress_bar
    from hydra_cli.cli.render import print_json, say
    from hydra_cli.serving.run import bound, run
    from hydra_cli.serving.service import ServeOptions, Service
    from hydra_cli.wiring import open_api_keys

    options = ServeOptions(
        host=host,
        port=port,
        unknown=given_unknown(unknown),
        per_minute=rate,
        origins=tuple(given_origin(page) for page in origin or ()),
        hosts=tuple(given_host(name) for name in allow_host or ()),
    )
    with bound(options) as listener:
        with progress_bar(OPENING) as bar:
            hydra = Hydra.open(
                store, create=False, progress=bar, on_note=say, model=model, encoder=encoder
            )
            keys = open_api_keys(hydra.settings)
            check_reach(listener.getsockname()[0], options.hosts, keys)
            hydra.async_chat()  # an unknown model or a missing key is told before all else
            bar.clear()
            base = base_url(host, listener.getsockname()[1])
            for line in about(hydra, keys, base):
                say(line)
            if warm:
                bar.start("loading the models", None)
                hydra.warm_up()

        def ready() -> None:
            say(f"ready in {time.perf_counter() - start:.1f} s; Ctrl-C ends it")
            if json:
                print_json({"base_url": base, "model": f"hydra/{hydra.settings.model}"})
                sys.stdout.flush()

        with hydra:
            stopped_by = run(Service(hydra, options), listener, on_ready=ready)
    if stopped_by == SIGINT:  # a SIGTERM that was heeded is a success
        raise KeyboardInterrupt


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


def given_unknown(text: str) -> Unknown:
    """UsageError for what isn't one of the two."""
    from hydra_cli.core.errors import UsageError

    if text == "plain":
        return "plain"
    if text == "refuse":
        return "refuse"
    raise UsageError(f"--unknown can't be {text!r}", hint="it is plain or refuse")


def given_origin(text: str) -> str:
    """A page's scheme, host and port, as browsers name it; UsageError for anything else."""
    from urllib.parse import urlsplit

    from hydra_cli.core.errors import UsageError

    try:
        parts = urlsplit(text.rstrip("/"))
        whole = parts.scheme in ("http", "https") and parts.netloc and not parts.path
    except ValueError:
        whole = False
    if not whole:
        raise UsageError(
            f"--origin can't be {text!r}", hint="scheme and host, for instance https://chat.example"
        )
    return text.rstrip("/").lower()


def given_host(text: str) -> str:
    """A name without a port; UsageError for what no Host header can hold."""
    import re

    from hydra_cli.core.errors import UsageError

    if not re.fullmatch(r"[^\s/@:\[\]]+|\[[0-9a-fA-F:.]+\]", text):
        raise UsageError(
            f"--allow-host can't be {text!r}", hint="a name without port: hydra.example"
        )
    return text


def check_reach(address: str, hosts: tuple[str, ...], keys: ApiKeys) -> None:
    """UsageError where others could reach a server that asks nobody for a key."""
    from hydra_cli.core.errors import UsageError
    from hydra_cli.serving.access import is_loopback

    if keys.any_made or (is_loopback(address) and not hosts):
        return
    where = f"at {address}" if not is_loopback(address) else f"as {hosts[0]}"
    raise UsageError(
        f"{where} others can reach the server, and the store has no keys",
        hint="`hydra-pers keys add --trusted` makes one for an application, "
        "--user NAME for a person",
    )


def about(hydra: Hydra, keys: ApiKeys, base: str) -> list[str]:
    """What is served, to whom, and what a client is to be told."""
    from hydra_cli.core.counting import counted

    users = hydra.users()
    records = sum(user.records for user in users)
    name = f"hydra/{hydra.settings.model}"
    if keys.any_made:
        who = f"holders of a key; {counted(len(keys.all()), 'key')} (`hydra-pers keys list`)"
        key, user = "hp_...", ", user=NAME where the key is trusted"
    else:
        who = "this machine alone, without a key (`hydra-pers keys add` makes one)"
        key, user = "any", ", user=NAME"
    return [
        f"store: {hydra.settings.store} ({records:,} records of {len(users):,} users)",
        f"model: {hydra.settings.model}, personal as {name}",
        f"who may ask: {who}",
        f"base URL: {base}",
        f"in a client: OPENAI_BASE_URL={base} OPENAI_API_KEY={key}, model {name}{user}",
    ]
