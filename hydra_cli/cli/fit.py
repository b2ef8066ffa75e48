"""``hydra-pers fit``: train the base and the users' heads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hydra_cli.cli.options import (
    EncoderOption,
    JsonOption,
    ModelOption,
    SeedOption,
    StoreOption,
    TaskOption,
)

if TYPE_CHECKING:
    from hydra_cli.workflows.fit import FitReport

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
    train_users: Annotated[int, typer.Option(min=1, help="Users that train the base.")] = 100,
    held_out: Annotated[
        int, typer.Option(min=0, help="Newest records a user held out for the gate.")
    ] = 8,
    n: Annotated[int | None, typer.Option("-n", min=1, help="Answers a query.")] = None,
    encoder: EncoderOption = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Tell calls, tokens and dollars; call nothing.")
    ] = False,
    show_prompt: Annotated[
        bool, typer.Option("--show-prompt", help="With --dry-run: print the first prompt.")
    ] = False,
    max_cost: Annotated[float | None, typer.Option(help="Stop at this many dollars.")] = None,
    max_calls: Annotated[int | None, typer.Option(help="Stop at this many LLM calls.")] = None,
    max_tokens: Annotated[int | None, typer.Option(help="Stop at this many tokens.")] = None,
    seed: SeedOption = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Learn what one user, or everyone, would pick; judge whether it helps them.

    The newest records are held out: a stage stays on for a user only where it
    wins on them.
    """
    from hydra_cli.cli.render import progress_bar, say
    from hydra_cli.config import load_settings
    from hydra_cli.core.errors import UsageError
    from hydra_cli.wiring import open_store

    if supervision not in SUPERVISIONS:
        raise UsageError(f"--supervision must be one of {', '.join(SUPERVISIONS)}")
    if without and not base:
        raise UsageError("--without needs --base", hint="a base is trained on everyone or not")
    settings = load_settings(store).override(model=model, encoder=encoder, seed=seed, n=n)
    histories = open_store(settings)
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
            stages, prompt = price_of_fit(
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
        render_price(stages, prompt if show_prompt else None, as_json)
    else:
        render(reports, as_json)


def render(reports: Sequence[FitReport], as_json: bool) -> None:
    from dataclasses import asdict

    from hydra_cli.cli.render import print_json, print_table, say
    from hydra_cli.cli.render_usage import usage_line

    if as_json:
        print_json([asdict(report) for report in reports])
        return
    for report in reports:
        if report.base_users:
            say(f"{report.task}: base trained on {report.base_users} users")
            for line in report.base_lines:
                say(f"  population: {line}")
        if report.supervision == "history":
            say("  no LLM was asked: 'records' are the shown records' own outputs")
        shown = report.fitted if len(report.fitted) <= 20 else report.fitted[:20]
        print_table(
            f"{report.task}: {len(report.fitted)} heads ({report.recipe}, {report.supervision})",
            ("user", "records", "pseudo-queries", "reranker", "adapter", "bytes"),
            [
                (
                    f.user,
                    f.records,
                    f.examples,
                    *(["off", "on"][on] for on in (f.rerank, f.adapt)),
                    f.bytes,
                )
                for f in shown
            ],
        )
        if len(shown) == 1:
            for line in shown[0].lines:
                say(f"  {line}")
        elif len(report.fitted) > len(shown):
            say(f"... and {len(report.fitted) - len(shown)} more")
        if report.usage.calls or report.usage.cached_calls:
            say(usage_line(report.usage))


def render_price(stages: dict[str, Any], prompt: Any, as_json: bool) -> None:
    from hydra_cli.cli.render import print_json, print_table

    if as_json:
        print_json({"stages": stages, "prompt": prompt})
        return
    print_table(
        "What this fit would use",
        ("stage", "calls", "prompt tokens", "answer tokens (at most)", "dollars"),
        [
            (
                name,
                s["calls"],
                s["prompt_tokens"],
                s["completion_tokens"],
                "unknown" if s["cost"] is None else f"{s['cost']:.4f}",
            )
            for name, s in stages.items()
        ],
    )
    for message in prompt or ():
        typer.echo(f"[{message['role']}] {message['content']}")
