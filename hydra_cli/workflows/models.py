"""Models by name: which are known, which are on disk, and fetching one."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hydra_cli.core.errors import UsageError

if TYPE_CHECKING:
    from hydra_cli.models.files import ModelFolder


@dataclass(frozen=True, slots=True)
class ModelRow:
    """A model that has a name here. ``path`` and ``bytes`` are None until it is fetched."""

    name: str
    kind: str | None
    source: str
    path: Path | None
    bytes: int | None


def list_models() -> list[ModelRow]:
    """The catalog's models, then what else was fetched."""
    from hydra_cli.models.catalog import CATALOG
    from hydra_cli.models.files import fetched_models

    fetched = fetched_models()
    rows = []
    for entry in CATALOG.values():
        model = fetched.pop(entry.name, None)
        source = model.source if model else f"hub {entry.hub}, or wheel {entry.wheel}"
        rows.append(_row(entry.name, entry.kind, source, model))
    rows += [_row(name, None, model.source, model) for name, model in sorted(fetched.items())]
    return rows


def pull_model(name: str, *, force: bool = False) -> ModelRow:
    """Fetch a model where it isn't on disk yet, or anew with ``force``."""
    from hydra_cli.models.catalog import catalog_entry
    from hydra_cli.models.fetching import fetch_model
    from hydra_cli.models.files import find_model

    entry = catalog_entry(name)
    if force and entry is None and os.path.isdir(os.path.expanduser(name)):
        raise UsageError(f"{name} is a folder: there is nothing to fetch")
    model = None if force else find_model(name)
    model = model or fetch_model(name, force=force)
    return _row(entry.name if entry else name, entry.kind if entry else None, model.source, model)


def _row(name: str, kind: str | None, source: str, model: ModelFolder | None) -> ModelRow:
    if model is None:
        return ModelRow(name, kind, source, None, None)
    size = sum(file.stat().st_size for file in model.path.rglob("*") if file.is_file())
    return ModelRow(name, kind, source, model.path, size)
