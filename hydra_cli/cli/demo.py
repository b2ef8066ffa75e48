"""``hydra-pers demo``: the whole job on a sample, each step as its command."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hydra_cli.cli.options import JsonOption, ModelOption

if TYPE_CHECKING:
    from hydra_cli.workflows.demo import Comparison, DemoQuery


def demo(
    context: typer.Context,
    model: ModelOption = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave the store in place, to go on with it.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Ingest, fit and ask on a small sample, in a store that is removed afterwards.

    Six made-up editors wrote headlines for the same stories, each in their own
    way, and sorted the same support tickets; two agents of a shop answered the
    same customers. Nothing but the models is fetched, and nothing leaves this
    machine unless --model names a remote LLM.

    Example: hydra-pers demo --keep
    """
    from hydra_cli.cli.render import print_json
    from hydra_cli.config import DEFAULT_ENCODER, DEFAULT_MODEL
    from hydra_cli.workflows.demo import QUESTIONS, SAMPLE

    start = time.perf_counter()
    with throw_away_store(keep) as store, quiet_stdout(as_json):
        tour = Tour(context.obj, store, model or DEFAULT_MODEL)
        tour.run("models", "pull", DEFAULT_ENCODER)
        if tour.model == DEFAULT_MODEL:
            tour.run("models", "pull", DEFAULT_MODEL.removeprefix("local/"))
        tour.copy_config(SAMPLE / "config.toml")
        tour.step("ingest", str(SAMPLE / "histories.jsonl"), str(SAMPLE / "replies.jsonl"))
        tour.step("users")
        tour.step("history", QUESTIONS[0].user, "--task", QUESTIONS[0].task, "--limit", "3")
        tour.step("fit")
        tour.step("fit", "--user", QUESTIONS[0].user, "--task", QUESTIONS[0].task)
        tour.ask(QUESTIONS[0])
        comparisons = compare_all(store, tour.model)
        seconds = time.perf_counter() - start
        show(comparisons)
        where = f"the store is {store}" if keep else "the store is removed (--keep leaves it)"
        typer.echo(f"{seconds:.0f} s in all; {where}.")
    if as_json:
        print_json(
            {
                "steps": [{"command": command, "seconds": s} for command, s in tour.done],
                "answers": [asdict(comparison) for comparison in comparisons],
                "seconds": seconds,
                "store": str(store) if keep else None,
            }
        )


@contextmanager
def throw_away_store(keep: bool) -> Iterator[Path]:
    """An empty folder for a store, removed at the end unless ``keep``."""
    import shutil
    import tempfile

    folder = Path(tempfile.mkdtemp(prefix="hydra-pers-demo-"))
    try:
        yield folder
    finally:
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def quiet_stdout(wanted: bool) -> Iterator[None]:
    """With ``wanted``, what the steps print goes to stderr: stdout is for the JSON."""
    if wanted:
        with redirect_stdout(sys.stderr):
            yield
    else:
        yield


@dataclass(slots=True)
class Tour:
    """Runs commands as a user would type them, and shows each with its time."""

    app: typer.Typer
    store: Path
    model: str
    done: list[tuple[str, float]] = field(default_factory=list)

    def step(self, *words: str) -> None:
        self.run(*words, "--store", str(self.store))

    def run(self, *arguments: str) -> None:
        command = shlex.join(["hydra-pers", *arguments])
        typer.echo(f"$ {command}")
        start = time.perf_counter()
        self.app(list(arguments), prog_name="hydra-pers", standalone_mode=False)
        sys.stdout.flush()
        seconds = time.perf_counter() - start
        self.done.append((command, seconds))
        typer.echo(f"  [{seconds:.1f} s]\n")

    def ask(self, question: DemoQuery) -> None:
        from hydra_cli.wiring import load_settings

        words = ["ask", question.text, "--user", question.user, "--task", question.task]
        usual = load_settings(self.store).model == self.model
        self.step(*words, *([] if usual else ["--model", self.model]))

    def copy_config(self, source: Path) -> None:
        """The tasks are declared before the first record, so that they are sorted right."""
        from hydra_cli.store.folder import StoreFolder

        text = source.read_text("utf-8")
        StoreFolder(self.store).settings.write_text(text, "utf-8")
        typer.echo(f"$ {shlex.join(['cp', str(source), str(self.store)])}\n{text}")


def compare_all(store: Path, model: str) -> list[Comparison]:
    """Every question in the three ways, nothing taken from the answer cache."""
    from hydra_cli.cli.render import say
    from hydra_cli.modeling.recipes import recipe_named
    from hydra_cli.pipeline.personalization import personalization
    from hydra_cli.wiring import load_settings, open_chat, open_encoder, open_store
    from hydra_cli.workflows.demo import QUESTIONS, compare

    settings = load_settings(store).override(model=model, cache=False)
    histories, encoder = open_store(settings), open_encoder(settings)
    chat = open_chat(settings, on_note=say)
    recipe = recipe_named("hydra-pers")
    found = []
    for question in QUESTIONS:
        spec = settings.spec(question.task)
        personal = personalization(histories.weights, question.user, spec, recipe, encoder)
        found.append(
            compare(
                question,
                spec,
                store=histories,
                encoder=encoder,
                chat=chat,
                personal=personal,
                plan=settings.plan,
            )
        )
    return found


def show(comparisons: Sequence[Comparison]) -> None:
    """Each query with its answers and the user's own below; then what helped."""
    from hydra_cli.cli.render import printable
    from hydra_cli.shown import words
    from hydra_cli.workflows.demo import verdict

    typer.echo("Queries that no history holds, answered in three ways:\n")
    for comparison in comparisons:
        if "\n" in comparison.question.own:
            show_letters(comparison)
        else:
            show_lines(comparison)
        typer.echo(printable(f"  {words.in_short(comparison.standing)}"))
        typer.echo()
    for line in verdict(comparisons):
        typer.echo(line)
    typer.echo(
        f"{len(comparisons)} queries prove nothing, and the embedded LLM is small: it is there so "
        "that a first\nrun needs no key. --model takes any other; docs/results.md holds measured "
        "comparisons."
    )


def show_lines(comparison: Comparison) -> None:
    """Answers of one line, one below the other."""
    from hydra_cli.cli.render import print_table

    question = comparison.question
    rows: list[Sequence[Any]] = [
        (way.name, way.text, f"{way.closeness:.2f}", f"{way.seconds:.1f} s")
        for way in comparison.ways
    ]
    rows.append((f"{question.user}'s own", question.own, "", ""))
    title = f"{question.user}, {question.task}: {question.text}"
    print_table(title, ("way", "answer", "closeness", "time"), rows)


def show_letters(comparison: Comparison) -> None:
    """Answers of several lines, each under its heading."""
    from textwrap import indent

    from hydra_cli.cli.render import printable

    question = comparison.question
    blocks = [(f"{question.user}, {question.task}", question.text)]
    blocks += [
        (f"{way.name} (closeness {way.closeness:.2f}, {way.seconds:.1f} s)", way.text)
        for way in comparison.ways
    ]
    blocks.append((f"{question.user}'s own", question.own))
    for heading, text in blocks:
        typer.echo(f"{heading}:\n{indent(printable(text), '    ')}\n")
