"""Histories out of a store and into one, in open formats."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hydra_cli.core.errors import UsageError
from hydra_cli.store.archives import Manifest
from hydra_cli.store.exporting import Format
from hydra_cli.store.importing import Imported, import_archive
from hydra_cli.workflows.choosing import choose_user

if TYPE_CHECKING:
    from hydra_cli.store.contract import Store

FORMATS: tuple[Format, ...] = ("jsonl", "parquet")


def export_users(store: Store, target: Path, users: Sequence[str], format: str) -> Manifest:
    """Some users, or with none named the whole store."""
    chosen = next((known for known in FORMATS if known == format), None)
    if chosen is None:
        raise UsageError(f"--format can't be {format!r}", hint=f"one of: {', '.join(FORMATS)}")
    for user in users:
        choose_user(store, user)
    return store.export(target.expanduser(), users=users, format=chosen)


def import_users(path: Path, root: Path, *, restore: bool) -> Imported:
    """Everything of an archive that the store doesn't have yet."""
    return import_archive(path.expanduser(), root, restore=restore)
