"""``hydra-pers reindex``."""

from __future__ import annotations

from hydra_cli.cli.options import EncoderOption, JsonOption, StoreOption


def reindex(
    encoder: EncoderOption = None, store: StoreOption = None, json: JsonOption = False
) -> None:
    """Embed every record from its text, with the same encoder or another.

    Example: hydra-pers reindex --encoder BAAI/bge-small-en-v1.5
    """
    from dataclasses import asdict

    from hydra_cli.api import Hydra
    from hydra_cli.cli.progress import OPENING, progress_bar
    from hydra_cli.cli.render import print_json, say
    from hydra_cli.core.counting import counted
    from hydra_cli.wiring import load_settings

    configured = load_settings(store)
    with (
        progress_bar(OPENING) as bar,
        Hydra.open(store, create=False, progress=bar, encoder=encoder) as hydra,
    ):
        done, settings = hydra.reindex(), hydra.settings
    if json:
        print_json(asdict(done))
    say(f"embedded {counted(done.records, 'record')} with {done.encoder}")
    if settings.encoder != configured.encoder:
        say(f"next: hydra-pers config set encoder {settings.encoder}")
    if done.changed and done.bases:
        say("next: hydra-pers fit --base (bases and heads were made for the old encoder)")
