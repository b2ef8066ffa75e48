"""``hydra-pers ingest``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hydra_cli.cli.options import JsonOption, StoreOption

if TYPE_CHECKING:
    from hydra_cli.workflows.ingest import FileReport, IngestReport


def ingest(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Files or folders; - is stdin. Default: piped stdin, else the config's sources.",
            show_default=False,
        ),
    ] = None,
    columns: Annotated[
        list[str] | None,
        typer.Option(
            "--map",
            help="Columns of a record's fields: input=...,output=...,user=...,time=... "
            "Given again, it adds to the first.",
        ),
    ] = None,
    task: Annotated[
        str | None, typer.Option("--task", "-t", help="The task of all records read.")
    ] = None,
    kind: Annotated[
        str | None, typer.Option("--kind", help="generation, classification or rating.")
    ] = None,
    user: Annotated[
        str | None, typer.Option("--user", "-u", help="The user, where no column names one.")
    ] = None,
    update: Annotated[
        bool, typer.Option("--update", help="Let corrected records replace stored ones.")
    ] = False,
    time_format: Annotated[
        str | None,
        typer.Option("--time-format", help='How times are written, for instance "%d/%m/%Y %H:%M".'),
    ] = None,
    encoding: Annotated[
        str | None, typer.Option("--encoding", help="The files' encoding. Default: detected.")
    ] = None,
    keep: Annotated[
        list[str] | None,
        typer.Option("--keep", help="Also keep this column, or all. Can be repeated."),
    ] = None,
    rejects: Annotated[
        Path | None,
        typer.Option(
            "--rejects", help="Keep rejected lines and reasons here, as JSON Lines; - prints them."
        ),
    ] = None,
    allow_rejects: Annotated[
        bool,
        typer.Option(
            "--allow-rejects", help="No error where more than 2 % of the lines were rejected."
        ),
    ] = False,
    restore: Annotated[
        bool, typer.Option("--restore", help="Also take records that were forgotten before.")
    ] = False,
    store: StoreOption = None,
    json: JsonOption = False,
) -> None:
    """Read users' past inputs and outputs into the store.

    JSON Lines, JSON arrays, CSV, TSV, Parquet and LaMP question files are told
    apart by their content. Reading a file twice adds nothing. Lines that can't be
    used are counted and left out; more than 2 % of them end with exit code 9.

    Example: hydra-pers ingest tickets.csv --map input=body,output=label,user=agent
    """
    from hydra_cli.api import Hydra
    from hydra_cli.cli.progress import OPENING, progress_bar
    from hydra_cli.cli.render import say
    from hydra_cli.wiring import load_settings
    from hydra_cli.workflows import ingest_setup

    options = ingest_setup.options(
        ",".join(columns or ()),
        task=task,
        user=user,
        restore=restore,
        update=update,
        encoding=encoding,
        time_format=time_format,
        keep=keep or (),
    )
    # Refused before the store is opened, or made.
    sources, stdin = ingest_setup.sources(paths, load_settings(store), sys.stdin.buffer)
    ingest_setup.given_kind(kind)
    with (
        ingest_setup.reject_log(rejects, sources, sys.stdout) as log,
        progress_bar(OPENING) as progress,
        Hydra.open(store, progress=progress) as hydra,
    ):
        report = hydra.ingest_sources(sources, stdin, options, kind=kind, rejects=log)
    for line in _talk(report):
        say(line)
    _print(report, as_json=json, after_rejects=rejects == Path("-"))
    if not allow_rejects and (error := report.incomplete()) is not None:
        raise error


def _print(report: IngestReport, *, as_json: bool, after_rejects: bool) -> None:
    """The report on stdout; where rejected lines are there, JSON is one more, a sentence isn't."""
    from json import dumps

    from hydra_cli.cli.render import print_json, print_line, say

    if as_json and after_rejects:
        print_line(dumps({"report": _as_json(report)}))
    elif as_json:
        print_json(_as_json(report))
    else:
        (say if after_rejects else print_line)(
            f"{report.added:,} added, {_replaced(report)}{report.present:,} already there, "
            f"{report.rejected:,} rejected"
        )


def _talk(report: IngestReport) -> list[str]:
    """What was guessed, and what became of each source."""
    said: list[str] = []
    for file in report.files:
        said.extend(_about(file))
    for spec in report.tasks:
        if spec.name in report.recognised:
            labels = f" ({_some(spec.labels)})" if spec.labels else ""
            said.append(f"task {spec.name!r} looks like {spec.kind}{labels}; --kind says otherwise")
    said.extend(report.shapes)
    return said


def _about(file: FileReport) -> list[str]:
    from hydra_cli.core.rows import NOT_UTF8

    counts = (
        f"{file.added:,} added, {_replaced(file)}{file.present:,} already there, "
        f"{file.rejected:,} rejected"
    )
    said = [f"{file.source}: {counts}"]
    if file.columns is not None:
        said.append(f"  read as {file.format}: {file.columns} (--map says otherwise)")
    if file.encoding not in (None, "utf-8", "utf-8-sig"):
        said.append(f"  encoding: read as {file.encoding} (--encoding says otherwise)")
    if file.times is not None:
        said.append(f"  time: read as {file.times} (--time-format says otherwise)")
    if file.dropped:
        said.append(f"  not kept: {_some(file.dropped)} (--keep NAME keeps one)")
    said.extend(f"  rejected {count:,}: {reason}" for reason, count in file.reasons.items())
    if NOT_UTF8 in file.reasons:
        said.append("  these bytes are no UTF-8: --encoding NAME says what the file is, cp1252 say")
    if file.first_rejected is not None:
        said.append(f"  first rejected: {file.first_rejected}")
    if file.error is not None:
        said.append(f"  {file.error}" + (f" ({file.hint})" if file.hint else ""))
    return said


def _replaced(report: FileReport | IngestReport) -> str:
    return f"{report.replaced:,} replaced, " if report.replaced else ""


def _some(labels: tuple[str, ...], most: int = 8) -> str:
    more = f", and {len(labels) - most} more" if len(labels) > most else ""
    return ", ".join(labels[:most]) + more


def _as_json(report: IngestReport) -> dict[str, Any]:
    return {
        "added": report.added,
        "present": report.present,
        "replaced": report.replaced,
        "rejected": report.rejected,
        "files": [
            {
                "source": file.source,
                "format": file.format,
                "encoding": file.encoding,
                "columns": file.columns,
                "times": file.times,
                "not_kept": list(file.dropped),
                "added": file.added,
                "present": file.present,
                "replaced": file.replaced,
                "rejected": file.rejected,
                "reasons": file.reasons,
                "error": file.error,
            }
            for file in report.files
        ],
        "tasks": [
            {
                "name": spec.name,
                "kind": spec.kind,
                "labels": list(spec.labels),
                "recognised": spec.name in report.recognised,
                "multiline": spec.multiline,
                "answer_tokens": spec.answer_tokens,
            }
            for spec in report.tasks
        ],
    }
