"""Export archives: what may be in one, and a reader that trusts nothing.

An archive is a folder, a tar or a zip with a ``manifest.json`` that lists every
file with its size and sha256. Nothing is ever unpacked to disk: files are read
in place, and only names of a fixed shape are known at all.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from hydra_cli.core.encoders import EncoderInfo
from hydra_cli.core.errors import DataError, NotFound, UsageError

MANIFEST = "manifest.json"
ANSWERS = "answers.jsonl"
FORMAT = 2
"""1 knows no answers."""
_MANIFEST_BYTES = 64 * 1024 * 1024
_CHUNK = 1 << 20
_UNPACKING = (tarfile.TarError, zipfile.BadZipFile, zlib.error, gzip.BadGzipFile, EOFError)
_HEX = "[0-9a-f]{32}"
_RECIPE = r"[A-Za-z0-9_-]{1,64}"
KNOWN = re.compile(
    rf"records\.jsonl|records\.parquet|vectors\.parquet|tasks\.json|{re.escape(ANSWERS)}"
    rf"|heads/{_HEX}/{_HEX}\.{_RECIPE}\.safetensors"
    rf"|models/{_HEX}/base\.{_RECIPE}\.safetensors"
)
"""Every name that an archive may hold beside its manifest."""


@dataclass(frozen=True, slots=True)
class ArchivedFile:
    path: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """What an archive holds. ``whole``: the whole store, not some users of it."""

    created_by: str
    created: str
    whole: bool
    records: int
    vectors: int
    encoder: EncoderInfo | None
    files: tuple[ArchivedFile, ...]
    format: int = FORMAT

    def to_json(self) -> bytes:
        return (json.dumps(asdict(self), indent=2) + "\n").encode()

    @classmethod
    def from_json(cls, data: bytes) -> Manifest:
        """DataError for anything but a manifest that this release understands."""
        try:
            values: dict[str, Any] = json.loads(data)
            if int(values["format"]) > FORMAT:
                raise DataError(
                    "the archive was written by a newer release", hint="upgrade hydra-pers"
                )
            encoder = values["encoder"]
            files = tuple(
                ArchivedFile(str(f["path"]), int(f["size"]), str(f["sha256"]))
                for f in values["files"]
            )
            return cls(
                created_by=str(values["created_by"]),
                created=str(values["created"]),
                whole=bool(values["whole"]),
                records=int(values["records"]),
                vectors=int(values["vectors"]),
                encoder=None
                if encoder is None
                else EncoderInfo(
                    str(encoder["fingerprint"]),
                    int(encoder["dimension"]),
                    None if encoder["name"] is None else str(encoder["name"]),
                ),
                files=files,
            )
        except (ValueError, KeyError, TypeError, RecursionError, OverflowError) as error:
            raise _damaged("its manifest can't be read") from error


class Archive:
    """Files of an archive by name, read in place."""

    def __init__(self, source: Path | tarfile.TarFile | zipfile.ZipFile) -> None:
        self._source = source
        self.names = sorted(_names(source))
        if len(self.names) != len(set(self.names)):
            raise _damaged("a file stands in it twice")

    def open(self, name: str) -> IO[bytes]:
        source = self._source
        if isinstance(source, Path):
            return (source / name).open("rb")
        if isinstance(source, zipfile.ZipFile):
            return source.open(name)
        stream = source.extractfile(name)
        if stream is None:
            raise _damaged(f"{name} is no plain file")
        return stream

    def read(self, name: str, limit: int) -> bytes:
        with self.open(name) as stream:
            data = stream.read(limit + 1)
        if len(data) > limit:
            raise _damaged(f"{name} is larger than it may be")
        return data

    def verified(self) -> Manifest:
        """The manifest, once every file was found to be as it says; DataError else."""
        if MANIFEST not in self.names:
            raise DataError(
                "that is no archive of hydra-pers: it has no manifest.json",
                hint="make one with `hydra-pers export --to FILE.tar`",
            )
        manifest = Manifest.from_json(self.read(MANIFEST, _MANIFEST_BYTES))
        listed = [file.path for file in manifest.files]
        for path in listed:
            if not KNOWN.fullmatch(path):
                raise _damaged(f"it names a file that no archive holds: {path[:80]!r}")
        if sorted([*listed, MANIFEST]) != self.names:
            odd = sorted({*listed, MANIFEST} ^ set(self.names))
            what = odd[0] if odd else "a file named twice"
            raise _damaged(f"manifest and files differ: {what[:80]!r}")
        for file in manifest.files:
            self._check(file)
        return manifest

    def _check(self, file: ArchivedFile) -> None:
        digest, size = hashlib.sha256(), 0
        with self.open(file.path) as stream:
            while size <= file.size and (chunk := stream.read(_CHUNK)):
                size += len(chunk)
                digest.update(chunk)
        if size != file.size or digest.hexdigest() != file.sha256:
            raise _damaged(f"{file.path} isn't what the manifest says")


@contextmanager
def open_archive(path: Path) -> Iterator[Archive]:
    """The archive at ``path``; DataError where it can't be read, while the block runs too."""
    if not path.exists():
        raise NotFound(f"there is no {path}", hint="name an archive made by `hydra-pers export`")
    try:
        if path.is_dir():
            yield Archive(path)
        elif zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as zipped:
                yield Archive(zipped)
        else:
            with tarfile.open(path) as tarred:
                yield Archive(tarred)
    except (*_UNPACKING, RuntimeError) as error:
        raise _damaged("it is no readable tar or zip") from error
    except OSError as error:
        raise DataError(f"can't read {path}: {error.strerror or error}") from error


def write_tar(folder: Path, target: Path, names: list[str], *, gzipped: bool) -> None:
    """The named files of a folder as a tar."""
    with tarfile.open(target, "w:gz" if gzipped else "w") as tar:
        for name in names:
            tar.add(folder / name, arcname=name, recursive=False, filter=_anonymous)


def write_zip(folder: Path, target: Path, names: list[str]) -> None:
    """The folder's files as a zip that its owner alone may read."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as zipped:
        for name in names:
            zipped.write(folder / name, name)
    target.chmod(0o600)


def describe_file(folder: Path, name: str) -> ArchivedFile:
    digest, size = hashlib.sha256(), 0
    with (folder / name).open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            size += len(chunk)
            digest.update(chunk)
    return ArchivedFile(name, size, digest.hexdigest())


def check_target(target: Path) -> None:
    """UsageError where something is at the target already."""
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UsageError(f"{target} exists already", hint="name another --to")


def _anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    member.mode = 0o600
    return member


def _names(source: Path | tarfile.TarFile | zipfile.ZipFile) -> list[str]:
    if isinstance(source, zipfile.ZipFile):
        return [info.filename for info in source.infolist() if not info.is_dir()]
    if isinstance(source, tarfile.TarFile):
        members = source.getmembers()
        if odd := next((m for m in members if not (m.isfile() or m.isdir())), None):
            raise _damaged(f"it holds a link or device: {odd.name[:80]!r}")
        return [member.name for member in members if member.isfile()]
    found = []
    for path in source.rglob("*"):
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise _damaged(f"it holds a link or device: {path.name[:80]!r}")
        if path.is_file():
            found.append(path.relative_to(source).as_posix())
    return found


def _damaged(what: str) -> DataError:
    return DataError(
        f"the archive is damaged: {what}", hint="nothing was imported; export it again"
    )
