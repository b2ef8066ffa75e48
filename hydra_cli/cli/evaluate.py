"""``hydra-pers eval``: which method is better, by how much, and at what price."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hydra_cli.cli.options import (
    AnswersOption,
    DryRunOption,
    EncoderOption,
    JsonOption,
    KOption,
    MaxCallsOption,
    MaxCostOption,
    MaxTokensOption,
    ModelOption,
    NOption,
    RequestsOption,
    RetrieverOption,
    StoreOption,
    TaskOption,
    TemperatureOption,
)

if TYPE_CHECKING:
    from hydra_cli.config import Settings
    from hydra_cli.core.protocols import ChatModel, TextEncoder
    from hydra_cli.evaluation.results import Provenance, TaskResult
    from hydra_cli.llm.offline import Offline

SPELLED_OUT = ("model", "encoder", "k", "n", "temperature", "retriever")
"""Settings that a command which makes the run again must name."""

SUPERVISIONS = ("history", "llm")


def evaluate(
    context: typer.Context,
    questions: Annotated[
        Path | None, typer.Option("--questions", help="LaMP questions.", show_default=False)
    ] = None,
    outputs: Annotated[
        Path | None, typer.Option("--outputs", help="LaMP references.", show_default=False)
    ] = None,
    train_questions: Annotated[
        Path | None, typer.Option(help="Questions of other users, to train on.", show_default=False)
    ] = None,
    train_outputs: Annotated[
        Path | None, typer.Option(help="References of the training questions.", show_default=False)
    ] = None,
    suite: Annotated[
        Path | None,
        typer.Option(
            help="A folder of tasks: TASK/dev_questions.json and so on, tasks.toml beside."
        ),
    ] = None,
    task: TaskOption = None,
    methods: Annotated[
        str,
        typer.Option(
            "--methods",
            help="'all', or names by comma; rag-bm25@k=1 overrides, @history=other exchanges.",
        ),
    ] = "all",
    model: ModelOption = None,
    seed: Annotated[
        list[int] | None, typer.Option("--seed", help="Seed of what chance decides (repeatable).")
    ] = None,
    seeds: Annotated[str | None, typer.Option(help="Several seeds: 0,1,2.")] = None,
    k: KOption = None,
    n: NOption = None,
    temperature: TemperatureOption = None,
    retriever: RetrieverOption = None,
    limit_users: Annotated[int | None, typer.Option(min=1, help="Evaluate so many users.")] = None,
    limit_queries: Annotated[
        int | None, typer.Option(min=1, help="Evaluate so many queries a task.")
    ] = None,
    hold_out: Annotated[
        int, typer.Option(min=1, help="On the store: latest records held out of each user.")
    ] = 5,
    train_limit: Annotated[
        int | None, typer.Option(min=1, help="Training examples a task at most (default: all).")
    ] = None,
    train_users: Annotated[int, typer.Option(min=1, help="Training users at most.")] = 100,
    fit_records: Annotated[
        int, typer.Option(min=0, help="Records of a user that their head is fitted on.")
    ] = 16,
    gate_records: Annotated[
        int, typer.Option(min=0, help="Newer records of a user that the gate judges by.")
    ] = 8,
    supervision: Annotated[
        str, typer.Option(help="Labels from the 'history' alone, or from the 'llm's answers.")
    ] = "history",
    encoder: EncoderOption = None,
    concurrency: Annotated[
        int | None, typer.Option(min=1, help="LLM calls at a time.", show_default=False)
    ] = None,
    dry_run: DryRunOption = False,
    max_cost: MaxCostOption = None,
    max_calls: MaxCallsOption = None,
    max_tokens: MaxTokensOption = None,
    requests: RequestsOption = None,
    answers: AnswersOption = None,
    draws: Annotated[int, typer.Option(min=100, help="Bootstrap draws.")] = 2000,
    report: Annotated[
        Path | None, typer.Option(help="Write Markdown, HTML and JSON into this folder.")
    ] = None,
    predictions: Annotated[
        Path | None, typer.Option(help="Write every scored answer as a JSON line.")
    ] = None,
    cache: Annotated[
        Path | None,
        typer.Option(help="Folder of kept answers (default: 'eval' in the store's folder)."),
    ] = None,
    simulate: Annotated[
        bool, typer.Option("--simulate", help="A user who edits every answer: what edits save.")
    ] = False,
    rounds: Annotated[
        int, typer.Option(min=5, help="With --simulate: each user's newest records are asked.")
    ] = 50,
    start: Annotated[
        int | None,
        typer.Option(min=1, help="With --simulate: older records known (default: all of them)."),
    ] = None,
    hostile: Annotated[
        float,
        typer.Option(min=0.0, max=1.0, help="With --simulate: share of hostile rounds, as 0.2."),
    ] = 0.0,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare methods on LaMP files, a folder of tasks, or the store's latest records.

    Run the same command again to resume: answers are kept, and no call is
    made twice. Exit code 7: the LLM failed midway and the table is incomplete.
    With --requests nobody is asked: have the file answered elsewhere and repeat
    the command with --answers, until it shows the table. With --simulate no methods
    are compared: a user edits every answer into what they really wrote, and the
    words that takes are counted, with and without learning from it.

    Example: hydra-pers eval --questions dev_questions.json --outputs dev_outputs.json
    --train-questions train_questions.json --train-outputs train_outputs.json --methods all
    """
    from dataclasses import replace

    from hydra_cli.cli.progress import opened_store, progress_bar
    from hydra_cli.cli.render import say
    from hydra_cli.core.errors import UsageError
    from hydra_cli.evaluation.engine import EvalPlan
    from hydra_cli.evaluation.methods import parse_methods
    from hydra_cli.evaluation.training import TrainingPlan
    from hydra_cli.wiring import load_settings

    if dry_run and (requests or answers):
        raise UsageError("--dry-run excludes --requests and --answers")
    if supervision not in SUPERVISIONS:
        raise UsageError(f"--supervision must be one of {', '.join(SUPERVISIONS)}")
    settings = load_settings(store).override(
        model=model,
        encoder=encoder,
        k=k,
        n=n,
        temperature=temperature,
        retriever=retriever,
        concurrency=concurrency,
    )
    plan = EvalPlan(
        methods=parse_methods(methods),
        seeds=parse_seeds(seed, seeds),
        answering=settings.plan,
        training=TrainingPlan(
            examples=train_limit,
            train_users=train_users,
            per_user=fit_records,
            held_out=gate_records,
            llm=supervision == "llm",
        ),
    )
    from hydra_cli.store.folder import StoreFolder
    from hydra_cli.workflows import evaluate as workflow

    if bool(questions) != bool(outputs) or bool(train_questions) != bool(train_outputs):
        raise UsageError("questions and outputs belong together", hint="name both files")
    if suite is not None and questions is not None:
        raise UsageError("--suite and --questions exclude each other")
    if train_questions is not None and questions is None:
        raise UsageError("--train-questions needs --questions and --outputs")
    source: workflow.Source
    folder = cache or StoreFolder(settings.store).evaluations
    if suite is not None:
        source = workflow.SuiteFolder(suite, tuple(task.split(",")) if task else ())
    elif questions is not None and outputs is not None:
        source = workflow.TaskFiles(questions, outputs, train_questions, train_outputs)
    else:
        # Answers about the store's users stay where `forget` finds them.
        folder = cache or settings.store
        source = workflow.StoreRecords(opened_store(settings), task, hold_out)
    made = provenance(context, settings)
    limits = workflow.DataLimits(limit_users, limit_queries)
    settings = replace(settings, store=folder)

    from hydra_cli.llm.budget import Limits
    from hydra_cli.wiring import open_chat, open_encoder, open_offline

    max_use = Limits(max_cost, max_calls, max_tokens)
    offline: Offline | None = None
    if requests or answers:
        offline = open_offline(
            settings, requests=requests, answers=answers or (), limits=max_use, on_note=say
        )

    def encoder_of() -> TextEncoder:
        # The store keeps its own vectors, where `forget` finds them.
        kept = None if isinstance(source, workflow.StoreRecords) else folder / "vectors.sqlite"
        return open_encoder(settings, kept=kept)

    def chat_of() -> ChatModel:
        return offline.chat if offline else open_chat(settings, limits=max_use, on_note=say)

    if simulate:
        from hydra_cli.cli.simulation import Outputs, check_options, simulated
        from hydra_cli.evaluation.simulation import SimulationPlan

        check_options(methods=methods, seeds=plan.seeds, supervision=supervision)
        simulated(
            source,
            SimulationPlan(
                rounds, start, hostile, replace(plan.answering, seed=plan.seeds[0]), plan.training
            ),
            settings,
            Outputs(report, predictions, as_json, made),
            open_encoder=encoder_of,
            open_chat=chat_of,
            offline=offline,
            limits=limits,
            draws=draws,
            dry_run=dry_run,
        )
        return
    from hydra_cli.cli.render_eval import render
    from hydra_cli.cli.render_offline import show_written
    from hydra_cli.cli.render_price import render_price

    results: list[TaskResult] = []
    with progress_bar() as bar:
        if dry_run:
            price = workflow.price_of_run(
                source, plan, settings, open_encoder=encoder_of, progress=bar, limits=limits
            )
        else:
            found = workflow.run(
                source,
                plan,
                settings,
                open_encoder=encoder_of,
                open_chat=chat_of,
                progress=bar,
                limits=limits,
                draws=draws,
                ahead=requests is not None,
            )
            for result in found:
                results.append(result)
                # After every task, so that a long run that is stopped leaves what it has.
                if not (offline and offline.missing):
                    keep(results, report, predictions, made)
    if dry_run:
        render_price(price, as_json=as_json, why_none="these methods ask no LLM.")
        return
    if offline and (written := offline.finish()):
        show_written(written, as_json=as_json)
        return
    render(results, made, as_json=as_json)
    if error := workflow.incomplete(results, cache=folder):
        raise error


def keep(
    results: Sequence[TaskResult],
    report: Path | None,
    predictions: Path | None,
    made: Provenance,
) -> None:
    """Write what was asked for into files."""
    from hydra_cli.cli.render import say
    from hydra_cli.workflows.evaluate import write_predictions

    if predictions is not None:
        write_predictions(results, predictions)
    if report is not None:
        from hydra_cli.reports.write import write_report

        page = write_report(results, report, made)
        say(f"{results[-1].task} is in the report: {page}")


def provenance(context: typer.Context, settings: Settings) -> Provenance:
    """Now, this version, and the command with every setting that decided the run."""
    from datetime import datetime

    from hydra_cli import __version__
    from hydra_cli.evaluation.results import Provenance

    return Provenance(command_line(context, settings), datetime.now(UTC), __version__)


def command_line(context: typer.Context, settings: Settings) -> str:
    """The command, settings from the environment and the config file spelled out."""
    import shlex

    words = ["hydra-pers", "eval"]
    for option in context.command.params:
        name = option.name or ""
        value = getattr(settings, name) if name in SPELLED_OUT else context.params.get(name)
        if value is None or value is False or (name not in SPELLED_OUT and value == option.default):
            continue
        flag = max(option.opts, key=len)
        if value is True:
            words.append(flag)
            continue
        for each in value if isinstance(value, (list, tuple)) else (value,):
            words += [flag, str(each)]
    return shlex.join(words)


def parse_seeds(seed: Sequence[int] | None, seeds: str | None) -> tuple[int, ...]:
    """``--seed 0 --seed 1`` or ``--seeds 0,1``; default 0."""
    from hydra_cli.core.errors import UsageError

    found = list(seed or ())
    try:
        found += [int(part) for part in (seeds or "").split(",") if part.strip()]
    except ValueError as error:
        raise UsageError(f"--seeds must be whole numbers, not {seeds!r}") from error
    return tuple(dict.fromkeys(found)) or (0,)
