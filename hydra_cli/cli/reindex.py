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

    from hydra_cli.cli.progress import progress_bar
    from hydra_cli.cli.render import print_json, say
    from hydra_cli.core.counting import counted
    from hydra_cli.wiring import load_settings, open_encoder, open_store
    from hydra_cli.workflows.reindex import reindex as run

    configured = load_settings(store)
    settings = configured.override(encoder=encoder)
    opened = open_store(settings)
    with progress_bar() as bar:
        done = run(
            opened,
            open_encoder(settings),
            closed=lambda task: settings.spec(task).closed,
            progress=bar,
        )
    if json:
        print_json(asdict(done))
    say(f"embedded {counted(done.records, 'record')} with {done.encoder}")
    if settings.encoder != configured.encoder:
        say(f"next: hydra-pers config set encoder {settings.encoder}")
    if done.changed and done.bases:
        say("next: hydra-pers fit --base (bases and heads were made for the old encoder)")
