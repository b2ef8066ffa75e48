"""``hydra-pers fit``: train the base and the users' heads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from hydra_cli.cli.options import (
    AnswersOption,
    DryRunOption,
    EncoderOption,
    JsonOption,
    MaxCallsOption,
    MaxCostOption,
    MaxTokensOption,
    ModelOption,
    NOption,
    RequestsOption,
    SeedOption,
    StoreOption,
    TaskOption,
)

if TYPE_CHECKING:
    from hydra_cli.llm.offline import Written


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
    per_user: Annotated[int, typer.Option(min=1, help="Pseudo-queries per user.")] = 16,
    train_users: Annotated[
        int,
        typer.Option(
            min=1, help="Users that train the base; three times as many give their histories."
        ),
    ] = 100,
    held_out: Annotated[
        int, typer.Option(min=0, help="Newest records of each user, held out for the gate.")
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
    requests: RequestsOption = None,
    answers: AnswersOption = None,
    seed: SeedOption = None,
    verbose: Annotated[
        bool, typer.Option("--verbose", help="Show each user's figures as well.")
    ] = False,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Learn what one user, or everyone, would pick; judge whether it helps them.

    The newest records are held out: a stage that wins nothing on them is switched
    off for the user; one that they can't judge is untested.
    With --requests nobody is asked: have the file answered elsewhere and repeat
    the command with --answers, until it has fitted.
    """
    from hydra_cli.api import Hydra
    from hydra_cli.cli.progress import OPENING, progress_bar
    from hydra_cli.cli.render import say
    from hydra_cli.cli.render_fit import render
    from hydra_cli.cli.render_price import render_price
    from hydra_cli.core.errors import NotAnswered, UsageError
    from hydra_cli.modeling.recipes import check_recipe
    from hydra_cli.workflows.fit_many import check_supervision, fit_plan

    plan: dict[str, Any] = {
        "without": tuple(without or ()),
        "new_base": base,
        "train_users": train_users,
        "per_user": per_user,
        "held_out": held_out,
    }
    if requests or answers:
        if dry_run:
            raise UsageError("--dry-run excludes --requests and --answers")
        if supervision != "llm":
            raise UsageError("--requests and --answers need --supervision llm")
    # Refused before the store is opened, which takes seconds.
    check_supervision(supervision)
    check_recipe(recipe)
    fit_plan(user, plan)
    how = {"task": task, "recipe": recipe, "supervision": supervision, **plan}
    limits: dict[str, Any] = {
        "max_cost": max_cost,
        "max_calls": max_calls,
        "max_tokens": max_tokens,
    }
    written: Written | None = None
    with (
        progress_bar(OPENING) as bar,
        Hydra.open(
            store,
            create=False,
            progress=bar,
            on_note=say,
            model=model,
            encoder=encoder,
            seed=seed,
            n=n,
        ) as hydra,
    ):
        if dry_run:
            price = hydra.price_of_fit(user, **how)
        elif requests or answers:
            from hydra_cli.llm.budget import Limits
            from hydra_cli.wiring import open_offline

            offline = open_offline(
                hydra.settings,
                requests=requests,
                answers=answers or (),
                limits=Limits(**limits),
                on_note=say,
            )
            try:
                reports = hydra.fit(user, **how, chat=offline.chat)
            except NotAnswered:
                written = offline.finish()
            else:
                offline.finish()
        else:
            reports = hydra.fit(user, **how, **limits)
    if written is not None:
        from hydra_cli.cli.render_offline import show_written

        show_written(written, as_json=as_json)
    elif dry_run:
        why_none = "labels and verdicts come from the records."
        render_price(price, as_json=as_json, show_prompt=show_prompt, why_none=why_none)
    else:
        tasks = [hydra.settings.spec(report.task) for report in reports]
        render(reports, tasks, as_json=as_json, verbose=verbose)
