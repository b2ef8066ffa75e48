"""What is installed: pins, package data, and the contents of sdist and wheel."""

from __future__ import annotations

import os
import re
import tarfile
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
# Read before the tests' own environment is cleaned.
DIST = os.environ.get("HYDRA_PERS_DIST")
CONSTRAINTS = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
PINS = [line for line in CONSTRAINTS if line and not line.startswith("#")]


PYTHONS = ("3.11", "3.12", "3.13")


def requirements() -> list[Requirement]:
    """What pyproject.toml requires, its extras included."""
    text = (ROOT / "pyproject.toml").read_text("utf-8")
    lists = re.findall(r"^(?:dependencies|dev|serve) = \[(.*?)\]$", text, re.MULTILINE | re.DOTALL)
    assert len(lists) == 3
    return [Requirement(line) for line in re.findall(r'"([^"]+)"', " ".join(lists))]


def pinned(python: str) -> dict[str, str]:
    """The pins in force for one Python; fails where a package has two."""
    found: dict[str, str] = {}
    for requirement in map(Requirement, PINS):
        marker = requirement.marker
        if marker is None or marker.evaluate({"python_full_version": f"{python}.1"}):
            assert requirement.name not in found, f"{requirement.name} is pinned twice"
            found[requirement.name] = next(iter(requirement.specifier)).version
    return found


@pytest.mark.parametrize("python", PYTHONS)
def test_every_requirement_has_a_pin_that_it_allows(python: str) -> None:
    pins = pinned(python)
    for requirement in requirements():
        name = canonicalize_name(requirement.name)
        assert name in pins, f"{name}: run `nox -s lock`"
        assert requirement.specifier.contains(pins[name]), f"{requirement} but {pins[name]}"


def test_pins_are_exact_and_name_no_place() -> None:
    for pin in PINS:
        assert re.fullmatch(r"[a-z0-9-]+==[0-9][0-9a-z.]*( ; .+)?", pin), pin
    assert "torch==2.13.0" in PINS
    assert "://" not in "\n".join(CONSTRAINTS)


@pytest.fixture
def dist() -> Path:
    if DIST is None:
        pytest.skip("`nox -s build` makes the archives")
    return Path(DIST)


def one(folder: Path, pattern: str) -> Path:
    (found,) = folder.glob(pattern)
    return found


def sources() -> set[str]:
    return {
        str(path.relative_to(ROOT))
        for path in (ROOT / "hydra_cli").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_the_wheel_holds_the_package_and_nothing_else(dist: Path) -> None:
    with zipfile.ZipFile(one(dist, "*.whl")) as wheel:
        names = set(wheel.namelist())
        metadata = next(name for name in names if name.endswith(".dist-info/METADATA"))
        entry_points = metadata.replace("METADATA", "entry_points.txt")
        assert b"hydra-pers = hydra_cli.cli.app:main" in wheel.read(entry_points)
        assert b"License-Expression: Apache-2.0" in wheel.read(metadata)
    packaged = {name for name in names if ".dist-info/" not in name}
    assert packaged == sources()
    demo = {
        f"hydra_cli/demo/{name}" for name in ("histories.jsonl", "replies.jsonl", "config.toml")
    }
    assert demo | {"hydra_cli/py.typed"} <= packaged
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_the_sdist_can_build_and_test_itself(dist: Path) -> None:
    with tarfile.open(one(dist, "*.tar.gz")) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    wanted = {"pyproject.toml", "noxfile.py", "constraints.txt", "README.md", "CHANGELOG.md"}
    assert wanted | {"LICENSE", "docs/index.md", "tests/conftest.py"} <= names
    assert sources() <= names
    assert not any(name.startswith((".nox", ".venv", "dist/")) for name in names)
