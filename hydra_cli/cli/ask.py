"""``hydra-pers ask``: one personalized answer."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hydra_cli.cli.options import (
    EncoderOption,
    JsonOption,
    ModelOption,
    SeedOption,
    StoreOption,
    TaskOption,
    UserOption,
)

if TYPE_CHECKING:
    from hydra_cli.core.records import Answer
    from hydra_cli.core.tasks import TaskSpec


def ask(
    text: Annotated[
        str | None,
        typer.Argument(help="The query; '-' or nothing reads stdin.", show_default=False),
    ] = None,
    user: UserOption = None,
    task: TaskOption = None,
    model: ModelOption = None,
    k: Annotated[int | None, typer.Option("-k", min=0, help="Records in the prompt.")] = None,
    n: Annotated[int | None, typer.Option("-n", min=1, help="Answers to choose from.")] = None,
    retriever: Annotated[
        str | None, typer.Option(help="First stage: bm25, dense, fused or recency.")
    ] = None,
    temperature: Annotated[float | None, typer.Option(min=0.0, help="Of the n answers.")] = None,
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
    seed: SeedOption = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Answer a query the way one user would.

    Example: hydra-pers ask "headline for: the council voted to close the pool" --user u42
    """
    start = time.perf_counter()
    from hydra_cli.cli.render import progress_bar, say
    from hydra_cli.config import load_settings
    from hydra_cli.wiring import open_store
    from hydra_cli.workflows import ask as workflow
    from hydra_cli.workflows.choosing import choose_task, choose_user

    settings = load_settings(store).override(
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
    query_text = read_query(text)
    histories = open_store(settings)
    chosen_user = choose_user(histories, settings.user)
    chosen_task = choose_task(histories, chosen_user, task)
    spec = settings.spec(chosen_task)
    query = workflow.make_query(query_text, chosen_user, spec)

    from hydra_cli.modeling.recipes import recipe_named
    from hydra_cli.pipeline.personalization import personalization
    from hydra_cli.wiring import open_chat, open_encoder

    texts = open_encoder(settings)
    personal = personalization(settings.store, chosen_user, spec, recipe_named(recipe), texts)
    if show_prompt:
        show_messages(
            workflow.draft_query(
                query, spec, store=histories, encoder=texts, personal=personal, plan=settings.plan
            ).request.messages,
            as_json,
        )
        return
    chat = open_chat(settings, on_note=say)
    with progress_bar() as bar:
        answer = workflow.ask(
            query,
            spec,
            store=histories,
            encoder=texts,
            chat=chat,
            personal=personal,
            plan=settings.plan,
            progress=bar,
        )
    render(answer, spec, explain=explain, as_json=as_json, seconds=time.perf_counter() - start)


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
    from hydra_cli.cli import words
    from hydra_cli.cli.render import print_json, print_table, printable, say
    from hydra_cli.cli.render_usage import usage_line

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
    if explain:
        for stage, used in words.explained(answer.standing, task).items():
            say(f"{words.NAMES[stage]}: {used}")
        say(usage_line(answer.usage))
    else:
        say(f"{words.in_short(answer.standing)}; {usage_line(answer.usage)}")


def as_mapping(answer: Answer, task: TaskSpec, seconds: float) -> dict[str, Any]:
    """Everything about an answer, for machines."""
    from dataclasses import asdict

    from hydra_cli.cli import words

    query = answer.query
    return {
        "answer": answer.text,
        "user": query.user,
        "task": query.task,
        "query": query.text,
        "model": answer.details.get("model"),
        "evidence": [
            {"id": s.item.id, "input": s.item.input, "output": s.item.output, "score": s.score}
            for s in answer.evidence
        ],
        "candidates": [
            {
                "text": s.item.text,
                "score": s.score,
                "sample": s.item.sample,
                "logprob": s.item.logprob,
            }
            for s in answer.candidates
        ],
        "answers": answer.details.get("answers", []),
        "stages": words.explained(answer.standing, task),
        "gate": {"source": answer.standing.source, **answer.standing.gate.card},
        "usage": asdict(answer.usage),
        "cost": answer.usage.cost,
        "seconds": {**answer.seconds, "total": seconds},
    }
