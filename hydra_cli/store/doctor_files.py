"""Checks of everything beside the tables: heads, settings, permissions, disk, work."""

from __future__ import annotations

import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from hydra_cli.core.errors import ModelError
from hydra_cli.core.files import name_of
from hydra_cli.store import journal
from hydra_cli.store.findings import Finding, note, ok, problem
from hydra_cli.store.folder import StoreFolder
from hydra_cli.store.forgetting import OPERATION as FORGET
from hydra_cli.store.updating import OPERATION as UPDATE

if TYPE_CHECKING:
    from hydra_cli.core.weights import Weights

_PACKAGES = ("hydra-pers", "lancedb", "pylance", "pyarrow", "torch", "transformers", "litellm")
_LITTLE_DISK = 200 * 1024**2
_SOME_DISK = 2 * 1024**3
_TEMPORARY_SECONDS = 3600.0


def check_versions() -> list[Finding]:
    found = []
    for package in _PACKAGES:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            return [
                problem("versions", f"{package} isn't installed", hint="pip install hydra-pers")
            ]
    return [ok("versions", ", ".join(found))]


def check_permissions(folder: StoreFolder) -> list[Finding]:
    """Folders are 0700, files 0600: histories are nobody else's business."""
    open_to_others = [path for path in _everything(folder) if path.stat().st_mode & 0o077]
    if not open_to_others:
        return [ok("permissions", "only the owner can read the store")]
    text = f"others may read {len(open_to_others)} files or folders, such as {open_to_others[0]}"
    return [problem("permissions", text, repair=partial(_close, open_to_others))]


def _close(paths: list[Path]) -> None:
    for path in paths:
        path.chmod(0o700 if path.is_dir() else 0o600)


def check_disk(folder: StoreFolder) -> list[Finding]:
    free = shutil.disk_usage(folder.root).free
    text = f"{free / 1024**3:.1f} GiB free"
    if free < _LITTLE_DISK:
        return [problem("disk", text, hint="free some space: writing will fail soon")]
    if free < _SOME_DISK:
        return [note("disk", text, hint="a large ingest may not fit")]
    return [ok("disk", text)]


def check_work(folder: StoreFolder) -> list[Finding]:
    """Unfinished work, and temporary files of killed writers."""
    found = []
    for entry in journal.unfinished(folder.work):
        found.append(_interrupted(entry))
    old = time.time() - _TEMPORARY_SECONDS
    stray = [
        path
        for path in _everything(folder)
        if path.is_file()
        and path.name.startswith(".")
        and path.name.count(".") > 2
        and folder.db not in path.parents
        and path.stat().st_mtime < old
    ]
    if stray:
        text = f"{len(stray)} temporary files of killed processes"
        found.append(problem("work", text, repair=partial(_remove, stray)))
    return found or [ok("work", "nothing is unfinished")]


def _interrupted(entry: journal.Unfinished) -> Finding:
    if entry.operation in (FORGET, UPDATE):
        hint = "any next command finishes it, `hydra-pers doctor --fix` too"
        return problem("work", entry.described, hint=hint)
    hint = "`hydra-pers doctor --fix` drops the note"
    if not entry.operation:
        return problem("work", entry.described, hint=hint, repair=partial(journal.drop, entry))
    text = f"{entry.described}; run it again to go on"
    hint += " if it needn't be finished"
    return problem("work", text, hint=hint, repair=partial(journal.drop, entry))


def check_answers(folder: StoreFolder) -> list[Finding]:
    """The cache of LLM answers is a whole SQLite file."""
    if not folder.answers.is_file():
        return []
    try:
        address = f"{folder.answers.resolve().as_uri()}?mode=ro"
        with closing(sqlite3.connect(address, uri=True)) as db:
            verdict = str(db.execute("PRAGMA quick_check").fetchone()[0])
    except sqlite3.Error as error:
        verdict = str(error)
    if verdict != "ok":
        hint = f"delete {folder.answers}; its answers will be asked for again"
        return [problem("answers", f"the answer cache is damaged: {verdict[:80]}", hint=hint)]
    return [ok("answers", "the answer cache is whole")]


def check_weights(folder: StoreFolder, users: set[str], encoder: str | None) -> list[Finding]:
    """Bases and heads load, belong together, and heads belong to users with records."""
    bases: dict[tuple[str, str], Weights] = {}
    found: list[Finding] = []
    for path in sorted(folder.base_files()):
        try:
            base = _load(path)
        except ModelError as error:
            hint = "`hydra-pers fit --base` trains a new one"
            found.append(problem("base", error.message, hint=hint))
            continue
        bases[path.parent.name, base.card.recipe] = base
        if encoder is not None and base.card.encoder != encoder:
            hint = "`hydra-pers fit --base` trains it on the present encoder"
            found.append(problem("base", f"{path.name} is of another encoder", hint=hint))
    known = {name_of(user) for user in users}
    heads = 0
    for path in folder.every_head():
        heads += 1
        fault = _fault(path, bases, known)
        if fault is not None:
            text = f"head {path.parent.name[:8]}/{path.name[:8]}… {fault}"
            hint = "`hydra-pers doctor --fix` removes it, the next fit makes a new one"
            found.append(problem("heads", text, hint=hint, repair=partial(_remove, [path])))
    return found or [ok("heads", f"{heads} heads and {len(bases)} bases, all whole and matching")]


def _load(path: Path) -> Weights:
    from hydra_cli.core.weights import Weights

    try:
        return Weights.load(path)
    except TypeError as error:
        raise ModelError(f"{path.name} has a card that makes no sense") from error


def _fault(path: Path, bases: dict[tuple[str, str], Weights], known: set[str]) -> str | None:
    if path.parent.name not in known:
        return "is of a user without records"
    try:
        head = _load(path)
    except ModelError:
        return "is damaged"
    card = head.card
    if card.user is None or name_of(card.user) != path.parent.name:
        return "lies in another user's folder"
    if path.name != f"{name_of(card.task)}.{card.recipe}.safetensors":
        return "has a card that doesn't fit its name"
    base = bases.get((name_of(card.task), card.recipe))
    if base is None:
        return "has no base"
    if card.base != base.fingerprint:
        return "was made for another base"
    return None


def _everything(folder: StoreFolder) -> Iterator[Path]:
    yield folder.root
    for path in sorted(folder.root.rglob("*")):
        # A link is as open as what it leads to, and a file may vanish meanwhile.
        if not path.is_symlink() and path.exists():
            yield path


def _remove(paths: list[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)
