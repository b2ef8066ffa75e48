"""``ask --file``: a line of JSON for each line of queries."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from hydra_cli.api import Hydra
    from hydra_cli.core.errors import HydraError
    from hydra_cli.core.protocols import Progress
    from hydra_cli.core.records import Answer
    from hydra_cli.pipeline.answering import Draft
    from hydra_cli.workflows.query_file import QueryLine

STDIN = Path("-")


class Lines(Protocol):
    """Where the lines go. ``kept`` of them are there already, ``failed`` with an error."""

    kept: int
    failed: int

    def write(self, line: str) -> None: ...


def ask_file(
    path: Path,
    out: Path | None,
    open_hydra: Callable[[Progress], AbstractContextManager[Hydra]],
    **options: Any,
) -> None:
    """Every query's answer as a line, on stdout or at the end of ``out``.

    Incomplete where some could not be answered; their lines hold the error.
    """
    from hydra_cli.cli.progress import OPENING, progress_bar
    from hydra_cli.cli.render import say
    from hydra_cli.core.errors import Incomplete, UsageError
    from hydra_cli.workflows.query_file import answer_file, read_queries

    if out is not None and path != STDIN and out.resolve() == path.resolve():
        raise UsageError(f"--out would overwrite the queries in {path}")
    queries = read_queries(None if path == STDIN else path, sys.stdin.buffer)
    opened: AbstractContextManager[Lines] = (
        nullcontext(_Stdout()) if out is None else answer_file(out, queries)
    )
    with opened as lines:
        rest = queries[lines.kept :]
        if lines.kept:
            say(f"{out}: {lines.kept:,} of {len(queries):,} lines are there already and stay")
        failed = lines.failed
        if rest:
            with progress_bar(OPENING) as bar, open_hydra(bar) as hydra:
                bar.start("answering", len(rest))
                failed += _answer(hydra, rest, lines, bar, options)
    if failed:
        raise Incomplete(
            f"{failed:,} of {len(queries):,} lines could not be answered",
            hint='their "error" says why; the others are answered',
        )


def price_file(
    path: Path,
    out: Path | None,
    open_hydra: Callable[[Progress], AbstractContextManager[Hydra]],
    *,
    as_json: bool,
    **options: Any,
) -> None:
    """What the lines that aren't in ``out`` yet would use; nothing is sent or written."""
    from hydra_cli.cli.progress import OPENING, progress_bar
    from hydra_cli.cli.render import say
    from hydra_cli.cli.render_price import render_price
    from hydra_cli.workflows.pricing import price
    from hydra_cli.workflows.query_file import kept_lines, read_queries

    queries = read_queries(None if path == STDIN else path, sys.stdin.buffer)
    rest = queries if out is None else queries[kept_lines(out, queries).number :]
    with progress_bar(OPENING) as bar, open_hydra(bar) as hydra:
        bar.start("reading the histories", len(rest))
        requests, failed = [], 0
        for query in rest:
            draft = _draft(hydra, query, options)
            failed += draft is None
            if draft is not None and draft.request is not None:
                requests.append(draft.request)
            bar.advance()
        found = price({"answers": requests}.items(), hydra.settings)
    if failed:
        say(f"{failed:,} of {len(rest):,} lines can't be answered")
    render_price(found, as_json=as_json, why_none="no line needs an answer.")


def _draft(hydra: Hydra, query: QueryLine, options: dict[str, Any]) -> Draft | None:
    from hydra_cli.workflows.ask_many import OF_THE_QUERY, asked_of

    if query.error is not None:
        return None
    try:
        asked = asked_of(query.fields)
        task = asked.task or options["task"]
        return hydra.draft(asked.text, user=asked.user, **{**options, "task": task})
    except OF_THE_QUERY:
        return None


def _answer(
    hydra: Hydra,
    queries: Sequence[QueryLine],
    lines: Lines,
    bar: Progress,
    options: dict[str, Any],
) -> int:
    """Write the queries' lines as they come; how many of them hold an error."""
    from hydra_cli.cli.render_usage import usage_line
    from hydra_cli.core.errors import HydraError
    from hydra_cli.core.records import Usage
    from hydra_cli.shown.answer_json import as_mapping
    from hydra_cli.workflows.query_file import as_line, error_fields

    done = failed = 0
    usage = Usage()
    try:
        for query, outcome in _outcomes(hydra, queries, options):
            if isinstance(outcome, HydraError):
                fields: dict[str, Any] = {"error": error_fields(outcome)}
                failed += 1
            else:
                task = hydra.settings.spec(outcome.query.task)
                fields = as_mapping(outcome, task, sum(outcome.seconds.values()))
                usage += outcome.usage
            lines.write(as_line({**query.head, **fields}))
            done += 1
            bar.advance()
    finally:
        bar.note(f"{done - failed:,} of {len(queries):,} answered; {usage_line(usage)}")
    return failed


def _outcomes(
    hydra: Hydra, queries: Sequence[QueryLine], options: dict[str, Any]
) -> Iterator[tuple[QueryLine, Answer | HydraError]]:
    readable = (query.fields for query in queries if query.error is None)
    outcomes = hydra.ask_many(readable, keep_errors=True, **options)
    for query in queries:
        yield query, query.error or next(outcomes)


class _Stdout:
    """stdout as it was before a progress bar puts itself in its place."""

    kept = failed = 0

    def __init__(self) -> None:
        self._out = sys.stdout

    def write(self, line: str) -> None:
        self._out.write(line)
        self._out.flush()
