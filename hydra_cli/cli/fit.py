"""``hydra-pers fit``: train the base and the users' heads."""

from __future__ import annotations

from typing import Annotated

import typer

from hydra_cli.cli.options import (
    DryRunOption,
    EncoderOption,
    JsonOption,
    MaxCallsOption,
    MaxCostOption,
    MaxTokensOption,
    ModelOption,
    NOption,
    SeedOption,
    StoreOption,
    TaskOption,
)

SUPERVISIONS = ("history", "llm")


def fit(
    user: Annotated[
        list[str] | None,
        typer.Option("--user", "-u", help="Fit this user alone (repeatable); default: everyone."),
    ] = None,
    task: TaskOption = None,
    supervision: Annotated[
        str, typer.Option(help="Labels from the 'history' alone, or from the 'llm's answers.")
    ] = "history",
    model: ModelOption = None,
    recipe: Annotated[str, typer.Option(help="How scoring is factorized.")] = "hydra-pers",
    base: Annotated[
        bool, typer.Option("--base", help="Train the base anew, and the heads that stand on it.")
    ] = False,
    without: Annotated[
        list[str] | None,
        typer.Option("--without", help="Keep this user out of the new base (repeatable)."),
    ] = None,
    per_user: Annotated[int, typer.Option(min=1, help="Pseudo-queries a user.")] = 16,
    train_users: Annotated[
        int,
        typer.Option(
            min=1, help="Users that train the base; of three times as many the histories."
        ),
    ] = 100,
    held_out: Annotated[
        int, typer.Option(min=0, help="Newest records a user held out for the gate.")
    ] = 8,
    n: NOption = None,
    encoder: EncoderOption = None,
    dry_run: DryRunOption = False,
    show_prompt: Annotated[
        bool, typer.Option("--show-prompt", help="With --dry-run: print the first prompt.")
    ] = False,
    max_cost: MaxCostOption = None,
    max_calls: MaxCallsOption = None,
    max_tokens: MaxTokensOption = None,
    seed: SeedOption = None,
    verbose: Annotated[
        bool, typer.Option("--verbose", help="Show each user's figures as well.")
    ] = False,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Learn what one user, or everyone, would pick; judge whether it helps them.

    The newest records are held out: a stage that wins nothing on them is switched
    off for the user; one that they can't judge stays on, untested.
    """
    from hydra_cli.cli.progress import opened_store, progress_bar
    from hydra_cli.cli.render import say
    from hydra_cli.cli.render_fit import render
    from hydra_cli.cli.render_price import render_price
    from hydra_cli.core.errors import UsageError
    from hydra_cli.modeling.recipes import check_recipe
    from hydra_cli.wiring import load_settings

    if supervision not in SUPERVISIONS:
        raise UsageError(f"--supervision must be one of {', '.join(SUPERVISIONS)}")
    if without and not base:
        raise UsageError("--without needs --base", hint="a base is trained on everyone or not")
    settings = load_settings(store).override(model=model, encoder=encoder, seed=seed, n=n)
    check_recipe(recipe)
    histories = opened_store(settings)
    from hydra_cli.workflows.fit_many import choose_tasks

    tasks = [settings.spec(name) for name in choose_tasks(histories, user, task)]

    from hydra_cli.llm.budget import Limits
    from hydra_cli.modeling.recipes import recipe_named
    from hydra_cli.wiring import open_chat, open_encoder
    from hydra_cli.workflows.fit import FitPlan
    from hydra_cli.workflows.fit_many import fit_tasks, label_plan, price_of_fit

    plan = FitPlan(
        users=tuple(user) if user else None,
        without=tuple(without or ()),
        new_base=base,
        train_users=train_users,
        per_user=per_user,
        held_out=held_out,
    )
    chosen = recipe_named(recipe)
    labels = label_plan(settings, chosen, answers=supervision == "llm")
    texts = open_encoder(settings)
    limits = Limits(max_cost=max_cost, max_calls=max_calls, max_tokens=max_tokens)
    with progress_bar() as bar:
        if dry_run:
            price = price_of_fit(
                histories, settings, texts, chosen, tasks, plan=plan, labels=labels, progress=bar
            )
        else:
            chat = open_chat(settings, limits=limits, on_note=say) if labels.answers else None
            reports = fit_tasks(
                histories,
                settings,
                texts,
                chosen,
                tasks,
                plan=plan,
                labels=labels,
                chat=chat,
                progress=bar,
            )
    if dry_run:
        why_none = "labels and verdicts come from the records."
        render_price(price, as_json=as_json, show_prompt=show_prompt, why_none=why_none)
    else:
        render(reports, tasks, as_json=as_json, verbose=verbose)
