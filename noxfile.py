"""Every check of the project. ``nox`` runs the default ones; ``nox -s slow`` the long ones.

Everything installed is pinned by constraints.txt. Sessions that need torch
share one environment, so that it is installed once.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import nox

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "venv"
nox.options.reuse_venv = "yes"
nox.options.sessions = ["lint", "types", "tests", "docs", "build"]

LOCKED_BY_HAND = ("torch==2.13.0", "litellm>=1.106")
"""What the lock may not choose freely. Without a floor, an ancient litellm fits best."""

EMBEDDED = ("all-minilm-l6-v2", "smollm2-135m-instruct", "qwen2.5-0.5b-instruct")


def install(session: nox.Session, *what: str) -> None:
    """pip install, never anything that constraints.txt doesn't pin."""
    session.install("--quiet", "-c", "constraints.txt", *what)


def full_python(session: nox.Session) -> str:
    """The Python of the environment with everything in it, which several sessions share."""
    folder = Path(".nox", "full")
    python = str(folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python"))
    if not Path(python).is_file():
        session.run(sys.executable, "-m", "venv", str(folder), external=True)
    pip = (python, "-m", "pip", "install", "--quiet", "-c", "constraints.txt")
    session.run(*pip, "-e", ".[dev,serve]", external=True)
    return python


def run_full(session: nox.Session, *module_and_options: str) -> None:
    session.run(full_python(session), "-m", *module_and_options, external=True)


def pull_models(session: nox.Session) -> None:
    for name in EMBEDDED:
        run_full(session, "hydra_cli", "models", "pull", name)


@nox.session
def lint(session: nox.Session) -> None:
    """Style and formatting."""
    install(session, "ruff")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session(venv_backend="none")
def types(session: nox.Session) -> None:
    """Strict mypy."""
    run_full(session, "mypy")


@nox.session(venv_backend="none")
def tests(session: nox.Session) -> None:
    """The fast tests, side by side; arguments go to pytest (``-- -n 0``: one after another)."""
    workers = ("-n", "auto", "--maxprocesses", "4")  # each may hold a gigabyte
    run_full(session, "pytest", "-q", "-m", "not slow", *workers, *session.posargs)


@nox.session(venv_backend="none")
def slow(session: nox.Session) -> None:
    """Real models, killed processes and fuzzed input; fetches the models once."""
    pull_models(session)
    run_full(session, "pytest", "-m", "slow", *session.posargs)


@nox.session
def docs(session: nox.Session) -> None:
    """The CLI reference is current, links work, every command shown exists.

    ``nox -s docs -- --write`` writes docs/cli.md anew.
    """
    install(session, "typer", "rich", "platformdirs", "tomlkit", "numpy", "pytest")
    install(session, "pytest-timeout")
    session.install("--quiet", "--no-deps", "-e", ".")
    session.run("python", "docs/make_cli_reference.py", *(session.posargs or ["--check"]))
    session.run("python", "-m", "pytest", "-q", "tests/test_docs.py")


@nox.session
def build(session: nox.Session) -> None:
    """sdist and wheel, with their contents checked."""
    install(session, "build", "pytest", "pytest-timeout", "numpy")
    dist = Path(session.create_tmp(), "dist").resolve()
    for old in dist.glob("*"):
        old.unlink()
    session.run("python", "-m", "build", "--outdir", str(dist), silent=True)
    session.install("--quiet", "--no-deps", "-e", ".")
    session.run(
        "python",
        "-m",
        "pytest",
        "-q",
        "tests/test_packaging.py",
        env={"HYDRA_PERS_DIST": str(dist)},
    )


@nox.session(venv_backend="none")
def bench(session: nox.Session) -> None:
    """The figures of docs/benchmarks.md; an argument picks scripts: ``-- ingest``."""
    python = full_python(session)
    for script in sorted(Path("tests", "benchmarks").glob("bench_*.py")):
        if not session.posargs or any(word in script.stem for word in session.posargs):
            session.run(python, "-m", f"tests.benchmarks.{script.stem}", external=True)


@nox.session(venv_backend="none")
def results(session: nox.Session) -> None:
    """The tables of docs/results.md: ``nox -s results -- FOLDER_OF_LAMP_FILES``."""
    if not session.posargs:
        session.error("name the folder with the data: nox -s results -- FOLDER")
    pull_models(session)
    run_full(session, "hydra_cli", "eval", "--suite", *session.posargs)


@nox.session
def lock(session: nox.Session) -> None:
    """Makes constraints.txt anew for every supported Python; ``-- --upgrade`` moves all pins."""
    session.install("--quiet", "uv")
    by_hand = Path(session.create_tmp(), "by-hand.txt").resolve()
    by_hand.write_text("\n".join(LOCKED_BY_HAND) + "\n", "utf-8")
    session.run(
        *("uv", "pip", "compile", "pyproject.toml", "--universal", "--python-version", "3.11"),
        *("--extra", "dev", "--extra", "serve"),
        *("--constraint", str(by_hand), "--no-annotate", "--quiet"),
        *("--custom-compile-command", "nox -s lock", "--output-file", "constraints.txt"),
        *session.posargs,
        external=False,
    )
