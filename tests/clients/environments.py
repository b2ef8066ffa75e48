"""Environments that hold one client each, made once and kept in a folder.

The folder is ``HYDRA_PERS_CLIENTS``, else in pytest's cache. Where a registry can't be
reached and nothing was kept, the test is skipped.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# Read before the tests' own environment is cleaned.
FOLDER = os.environ.get("HYDRA_PERS_CLIENTS")
SCRIPTS = "Scripts" if os.name == "nt" else "bin"


def folder(config: pytest.Config) -> Path:
    if FOLDER:
        return Path(FOLDER).expanduser()
    assert config.cache is not None
    return Path(config.cache.mkdir("clients"))


def python_with(where: Path, *requirements: str, ours: bool = False) -> Path:
    """The scripts' folder of a venv with these packages; ``ours`` adds this repository.

    What hydra-pers needs besides is then borrowed from the environment of the tests.
    """
    made = where / _name("py", requirements)
    scripts = made / SCRIPTS
    if not (made / "done").is_file():
        shutil.rmtree(made, ignore_errors=True)
        venv.create(made, with_pip=True)
        pip = [str(scripts / "python"), "-m", "pip", "install", "--quiet"]
        _fetch([*pip, *requirements])
        if ours:
            _fetch([*pip, "--no-deps", "--editable", str(ROOT)])
            _borrow(made)
        (made / "done").touch()
    return scripts


def node_with(where: Path, *packages: str) -> Path:
    """A folder with these npm packages."""
    if shutil.which("npm") is None:
        pytest.skip("there is no npm here")
    made = where / _name("js", packages)
    if not (made / "done").is_file():
        shutil.rmtree(made, ignore_errors=True)
        made.mkdir(parents=True)
        _fetch(["npm", "install", "--no-fund", "--no-audit", "--silent", *packages], cwd=made)
        (made / "done").touch()
    return made


def _name(kind: str, wanted: Sequence[str]) -> str:
    version = f"{sys.version_info.major}.{sys.version_info.minor} {ROOT}"
    return f"{kind}-{hashlib.sha256(repr((version, wanted)).encode()).hexdigest()[:12]}"


def _borrow(made: Path) -> None:
    """The packages of this environment come after those of the new one."""
    own = {"base": str(made), "platbase": str(made)}
    site = Path(sysconfig.get_path("purelib", vars=own))
    (site / "zz_borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")


def _fetch(command: list[str], cwd: Path | None = None) -> None:
    try:
        done = subprocess.run(
            command, cwd=cwd, capture_output=True, text=True, timeout=600, check=False
        )
    except subprocess.TimeoutExpired:
        pytest.skip("the registry is too slow")
    if done.returncode:
        pytest.skip(f"the registry can't be reached: {done.stderr.strip()[-300:]}")
