"""Files that are either whole or absent, readable by their owner alone."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from hydra_cli.core.errors import StoreError


def name_of(text: str) -> str:
    """A file name for any user or task id: hostile ids never reach a path."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def sha256_of(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def private_folder(path: Path) -> Path:
    """The folder, made with mode 0700 where it is missing, and so its parents."""
    with os_errors(path):
        # ``parents=True`` would make the parents with the process's own mode.
        for missing in reversed([p for p in (path, *path.parents) if not p.exists()]):
            missing.mkdir(mode=0o700, exist_ok=True)
    return path


def write_atomic(path: Path, data: bytes) -> None:
    """Write, sync, rename: a reader sees the old file or the new one, never a part."""
    private_folder(path.parent)
    with os_errors(path):
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as out:
                out.write(data)
                out.flush()
                os.fsync(out.fileno())
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
        sync_folder(path.parent)


def write_json_lines(path: Path, lines: Iterable[Mapping[str, object]]) -> None:
    """As ``write_atomic``, a JSON line for each; half of a character that is none becomes ``?``."""
    text = "".join(f"{json.dumps(line, ensure_ascii=False)}\n" for line in lines)
    write_atomic(path, text.encode("utf-8", "replace"))


def sync_folder(path: Path) -> None:
    """Make a rename or an unlink inside the folder durable."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def os_errors(path: Path) -> Iterator[None]:
    """Translate the file system's refusals into one clear line."""
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"can't write {path}: {error.strerror or error}",
            hint="check the folder's permissions and the free disk space, or name another --store",
        ) from error
