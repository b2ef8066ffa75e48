"""``hydra-pers ask``: one personalized answer."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hydra_cli.cli.options import (
    DryRunOption,
    EncoderOption,
    JsonOption,
    KOption,
    MaxCallsOption,
    MaxCostOption,
    MaxTokensOption,
    ModelOption,
    NOption,
    RetrieverOption,
    SeedOption,
    StoreOption,
    TaskOption,
    TemperatureOption,
    UserOption,
)

if TYPE_CHECKING:
    from hydra_cli.core.protocols import Progress
    from hydra_cli.core.records import Answer
    from hydra_cli.core.tasks import TaskSpec


def ask(
    text: Annotated[
        str | None,
        typer.Argument(help="The query; '-' or nothing reads stdin.", show_default=False),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(
            "--file",
            help='A JSON line for each query: {"query": ..., "user": ..., "task": ..., "id": ...}; '
            "- is stdin. A JSON line comes out for each, in order.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Where the answers to --file go. Goes on with what is there."),
    ] = None,
    user: UserOption = None,
    task: TaskOption = None,
    model: ModelOption = None,
    k: KOption = None,
    n: NOption = None,
    retriever: RetrieverOption = None,
    temperature: TemperatureOption = None,
    encoder: EncoderOption = None,
    recipe: Annotated[str, typer.Option(help="Which base and heads to use.")] = "hydra-pers",
    sequential: Annotated[
        bool, typer.Option("--sequential", help="Stop sampling when the winner is clear.")
    ] = False,
    explain: Annotated[
        bool, typer.Option("--explain", help="Show evidence, candidates, scores and heads.")
    ] = False,
    show_prompt: Annotated[
        bool, typer.Option("--show-prompt", help="Print what would be sent, and send nothing.")
    ] = False,
    dry_run: DryRunOption = False,
    max_cost: MaxCostOption = None,
    max_calls: MaxCallsOption = None,
    max_tokens: MaxTokensOption = None,
    seed: SeedOption = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Answer a query the way one user would.

    Example: hydra-pers ask "headline for: the council voted to close the pool" --user u42
    """
    start = time.perf_counter()
    from hydra_cli.api import Hydra
    from hydra_cli.cli.progress import OPENING, progress_bar
    from hydra_cli.cli.render import say
    from hydra_cli.cli.render_price import render_price
    from hydra_cli.workflows.pricing import price as price_of

    def opened(bar: Progress) -> Hydra:
        return Hydra.open(
            store,
            create=False,
            progress=bar,
            on_note=say,
            user=user,
            model=model,
            k=k,
            n=n,
            retriever=retriever,
            temperature=temperature,
            encoder=encoder,
            seed=seed,
            sequential=sequential or None,
        )

    options: dict[str, Any] = {"task": task, "recipe": recipe}
    limits: dict[str, Any] = {
        "max_cost": max_cost,
        "max_calls": max_calls,
        "max_tokens": max_tokens,
    }
    check_file_options(file, out, text, explain=explain, show_prompt=show_prompt)
    if file is not None:
        from hydra_cli.cli.ask_file import ask_file, price_file

        if dry_run:
            price_file(file, out, opened, as_json=as_json, **options)
        else:
            ask_file(file, out, opened, **options, **limits)
        return
    query = read_query(text)
    with progress_bar(OPENING) as bar, opened(bar) as hydra:
        bar.clear()
        if dry_run:
            request = hydra.draft(query, **options).request
            stages = {"answers": [request] if request else []}
            price = price_of(stages.items(), hydra.settings)
        elif show_prompt:
            request = hydra.draft(query, **options).request
            if request is None:
                say("no LLM is asked here: there is no prompt (`-n 1` asks it)")
            show_messages(request.messages if request else (), as_json)
            return
        else:
            answer = hydra.ask(query, **options, **limits)
    if dry_run:
        render_price(
            price, as_json=as_json, show_prompt=show_prompt, why_none="no answer is needed."
        )
        return
    spec = hydra.settings.spec(answer.query.task)
    render(answer, spec, explain=explain, as_json=as_json, seconds=time.perf_counter() - start)
    if hydra.settings.answers_days:
        say(f"id: {answer.id}")


def check_file_options(
    file: Path | None, out: Path | None, text: str | None, *, explain: bool, show_prompt: bool
) -> None:
    """UsageError for what makes no sense with or without --file."""
    from hydra_cli.core.errors import UsageError

    if file is None:
        if out is not None:
            raise UsageError("--out is for the answers to --file")
        return
    if text is not None:
        raise UsageError("a query on the command line and --file", hint="one of them alone")
    if explain or show_prompt:
        raise UsageError(
            f"--{'explain' if explain else 'show-prompt'} is for a single query",
            hint="the lines that --file gives hold evidence, candidates and scores",
        )


def read_query(text: str | None) -> str:
    """The argument, else stdin; UsageError where neither says anything."""
    from hydra_cli.core.errors import UsageError

    if text in (None, "-"):
        text = "" if sys.stdin.isatty() else sys.stdin.read()
    text = (text or "").replace("\0", " ").strip()
    if not text:
        raise UsageError("the query is empty", hint='`hydra-pers ask "TEXT"`, or pipe it in')
    return text


def show_messages(messages: Any, as_json: bool) -> None:
    from hydra_cli.cli.render import print_json, printable

    if as_json:
        print_json(list(messages))
        return
    for message in messages:
        typer.echo(f"[{message['role']}] {printable(message['content'])}")


def render(answer: Answer, task: TaskSpec, *, explain: bool, as_json: bool, seconds: float) -> None:
    from hydra_cli.cli.render import print_json, print_table, printable, say
    from hydra_cli.cli.render_usage import usage_line
    from hydra_cli.core.counting import counted
    from hydra_cli.shown import words
    from hydra_cli.shown.answer_json import as_mapping

    if as_json:
        print_json(as_mapping(answer, task, seconds))
        return
    if explain:
        print_table(
            "Evidence",
            ("score", "id", "input", "output"),
            [
                (f"{s.score:.3f}", s.item.id, s.item.input[:120], s.item.output)
                for s in answer.evidence
            ],
        )
        print_table(
            "Candidates",
            ("score", "sample", "text"),
            [
                (f"{s.score:.3f}", "-" if s.item.sample is None else s.item.sample, s.item.text)
                for s in answer.candidates
            ],
        )
    typer.echo(printable(answer.text))
    if answer.cut:
        say(words.cut_short(answer.query.task, answer.details["answer_tokens"]))
    if explain:
        for stage, used in words.explained(answer.standing, task).items():
            say(f"{words.name_of(stage)}: {used}")
        if heard := answer.details.get("heard"):
            say(f"feedback: that on {counted(heard, 'answer')} moves the adapter's weights")
        say(usage_line(answer.usage))
    else:
        say(f"{words.of_answer(answer)}; {usage_line(answer.usage)}")
