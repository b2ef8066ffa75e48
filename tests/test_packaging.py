"""What is installed: pins, package data, and the contents of sdist and wheel."""

from __future__ import annotations

import os
import re
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# Read before the tests' own environment is cleaned.
DIST = os.environ.get("HYDRA_PERS_DIST")
CONSTRAINTS = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
PINS = [line for line in CONSTRAINTS if line and not line.startswith("#")]


def plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def requirements() -> list[str]:
    """Names required by pyproject.toml, those of the extra ``dev`` too."""
    text = (ROOT / "pyproject.toml").read_text("utf-8")
    lists = re.findall(r"^(?:dependencies|dev) = \[(.*?)\]$", text, re.MULTILINE | re.DOTALL)
    assert len(lists) == 2
    return [plain(name) for name in re.findall(r'"([A-Za-z][\w.-]*)', " ".join(lists))]


def test_every_requirement_is_pinned() -> None:
    pinned = {plain(pin.partition("==")[0]) for pin in PINS}
    assert set(requirements()) - pinned == set(), "run `nox -s lock`"


def test_pins_are_exact_and_name_no_place() -> None:
    for pin in PINS:
        assert re.fullmatch(r"[a-z0-9-]+==[0-9][0-9a-z.]*( ; .+)?", pin), pin
    assert "torch==2.13.0" in PINS
    assert "://" not in "\n".join(CONSTRAINTS)


def test_every_supported_python_gets_a_numpy() -> None:
    """The markers of one package cover 3.10 to 3.13, each version once."""
    markers = [pin.partition(" ; ")[2] for pin in PINS if pin.startswith("numpy==")]
    for version in ("3.10", "3.11", "3.12", "3.13"):
        assert sum(covers(marker, version) for marker in markers) == 1, version


def covers(marker: str, version: str) -> bool:
    from packaging.markers import Marker

    if not marker:
        return True
    return Marker(marker).evaluate({"python_full_version": f"{version}.1"})


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
    assert {"hydra_cli/demo/histories.jsonl", "hydra_cli/py.typed"} <= packaged
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_the_sdist_can_build_and_test_itself(dist: Path) -> None:
    with tarfile.open(one(dist, "*.tar.gz")) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    wanted = {"pyproject.toml", "noxfile.py", "constraints.txt", "README.md", "CHANGELOG.md"}
    assert wanted | {"LICENSE", "docs/index.md", "tests/conftest.py"} <= names
    assert sources() <= names
    assert not any(name.startswith((".nox", ".venv", "dist/")) for name in names)
