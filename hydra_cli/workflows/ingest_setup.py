"""What the command line says about an ingest, checked before anything is read."""

from __future__ import annotations

import glob
import io
import os
import stat
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TextIO

from hydra_cli.config import Settings
from hydra_cli.core.errors import UsageError
from hydra_cli.core.recognition import FIELDS
from hydra_cli.core.record_building import Rejected, checked_id
from hydra_cli.core.tasks import KINDS, Kind
from hydra_cli.core.time_rules import given_rule
from hydra_cli.readers import find_files
from hydra_cli.readers.reject_file import RejectFile, RejectStream
from hydra_cli.readers.streams import known_encoding, unless_empty
from hydra_cli.store.folder import StoreFolder
from hydra_cli.workflows.configure import given_task_keys
from hydra_cli.workflows.ingest import IngestOptions
from hydra_cli.workflows.task_learning import TaskLearner

if TYPE_CHECKING:
    from hydra_cli.store.contract import Store


def options(
    columns: str | None,
    *,
    task: str | None,
    user: str | None,
    restore: bool = False,
    update: bool = False,
    encoding: str | None = None,
    time_format: str | None = None,
    keep: Sequence[str] = (),
) -> IngestOptions:
    """The options with their texts checked. ``keep``: column names, or ``all``."""
    return IngestOptions(
        columns=parse_map(columns or ""),
        task=_name(task, "--task"),
        user=_name(user, "--user"),
        restore=restore,
        update=update,
        encoding=None if encoding is None else _encoding(encoding),
        times=None if time_format is None else given_rule(time_format),
        keep=None if "all" in keep else frozenset(keep),
    )


def _encoding(name: str) -> str:
    try:
        return known_encoding(name)
    except LookupError as error:
        raise UsageError(
            f"--encoding can't be {name!r}", hint="for instance utf-8, utf-16-le, cp1252 or cp1251"
        ) from error


def parse_map(text: str) -> Mapping[str, str]:
    """``input=a,output=b`` as {"input": "a", "output": "b"}."""
    found: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, column = (piece.strip() for piece in part.partition("="))
        if not equals or not column or name not in FIELDS:
            raise UsageError(
                f"--map can't read {part!r}",
                hint=f"write FIELD=COLUMN, with a field of {', '.join(FIELDS)}",
            )
        if name in found or column in found.values():
            raise UsageError(f"--map names {name if name in found else column!r} twice")
        found[name] = column
    return found


def _name(text: str | None, option: str) -> str | None:
    if text is None:
        return None
    try:
        name = checked_id(text, option)
    except Rejected as refusal:
        raise UsageError(str(refusal)) from refusal
    if not name:
        raise UsageError(f"{option} is empty")
    return name


def sources(
    paths: Sequence[Path] | None, settings: Settings, stdin: BinaryIO
) -> tuple[list[Path | None], BinaryIO]:
    """What to read, stdin as None, and the stream to read stdin from.

    Without paths: stdin where something is piped in, else the config's
    sources. UsageError where there is neither.
    """
    if paths:
        found: list[Path | None] = []
        if Path("-") in paths:
            found.append(None)
        found += find_files([p for p in paths if p != Path("-")], skip=settings.store)
        if not found:
            raise UsageError(f"no file to read in {', '.join(map(str, paths))}")
        return found, stdin
    if _piped(stdin) and (filled := unless_empty(stdin)) is not None:
        return [None], filled
    if not settings.sources:
        raise UsageError(
            "nothing to ingest",
            hint="name files or folders, pipe records in, or set sources in config.toml",
        )
    matches = [
        Path(match)
        for pattern in settings.sources
        for match in sorted(glob.glob(os.path.expanduser(pattern), recursive=True))
    ]
    files = find_files(matches, skip=settings.store)
    if not files:
        raise UsageError(
            f"the config's sources match no file: {', '.join(settings.sources)}",
            hint=f"see {StoreFolder(settings.store).settings}",
        )
    return list(files), stdin


def _piped(stdin: BinaryIO) -> bool:
    """Whether stdin is a pipe, socket or file, rather than a terminal or the null device."""
    try:
        mode = os.fstat(stdin.fileno()).st_mode
    except (OSError, io.UnsupportedOperation):
        return not stdin.closed
    return stat.S_ISFIFO(mode) or stat.S_ISREG(mode) or stat.S_ISSOCK(mode)


def given_kind(kind: str | None) -> Kind | None:
    """The kind that was named; UsageError where there is no such kind."""
    known = next((k for k in KINDS if k == kind), None)
    if kind is not None and known is None:
        raise UsageError(f"--kind can't be {kind!r}", hint=f"it is one of {', '.join(KINDS)}")
    return known


def learner(settings: Settings, store: Store, kind: Kind | None) -> TaskLearner:
    """Tasks of the settings and those that the store learned earlier."""
    return TaskLearner(
        settings.tasks,
        store.tasks(),
        store.save_task,
        kind=kind,
        given=given_task_keys(settings.store),
    )


def reject_log(
    path: Path | None, sources: Sequence[Path | None], stdout: TextIO
) -> AbstractContextManager[RejectFile | RejectStream | None]:
    """Where --rejects go, - being ``stdout``; UsageError where it would overwrite a source."""
    if path is None:
        return nullcontext()
    if path == Path("-"):
        return nullcontext(RejectStream(stdout))
    if path.resolve() in {source.resolve() for source in sources if source is not None}:
        raise UsageError(f"--rejects would overwrite the source {path}")
    if path.is_dir():
        raise UsageError(f"--rejects wants a file, and {path} is a folder")
    return RejectFile(path)
