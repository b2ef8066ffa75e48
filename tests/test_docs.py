"""The documentation says what is true: commands, options, links, codes, versions."""

from __future__ import annotations

import importlib.util
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import typer

import hydra_cli
from hydra_cli.cli.app import app
from hydra_cli.core import errors

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *ROOT.glob("docs/**/*.md")])
COMMAND = typer.main.get_command(app)

FENCE = re.compile(r"^ *```(\w*)\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")

pages = pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_cli_reference_is_what_the_program_says() -> None:
    reference = load(ROOT / "docs" / "make_cli_reference.py").reference()
    written = (ROOT / "docs" / "cli.md").read_text("utf-8")
    assert written == reference, "run `nox -s docs -- --write`"


@pages
def test_links_lead_somewhere(page: Path) -> None:
    for link in LINK.findall(FENCE.sub("", page.read_text("utf-8"))):
        if link.startswith(("http://", "https://", "mailto:")):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), f"{link} in {page.name}"
        assert ROOT in target.parents, f"{link} in {page.name} leaves the repository"
        if anchor:
            assert anchor in anchors(target), f"{link} in {page.name}"


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}


def commands_in(text: str) -> Iterator[list[str]]:
    """Every hydra-pers command in code blocks, and in code within the text, as its words."""
    lines = re.findall(r"(?<!`)`([^`\n]+)`(?!`)", FENCE.sub("", text))
    for language, block in FENCE.findall(text):
        shown = block.replace("\\\n", " ").splitlines()
        if language == "console":
            shown = [line for line in shown if line.lstrip().startswith("$ ")]
        if language in ("", "sh", "bash", "console", "shell", "text"):
            lines += shown
    for line in lines:
        if "hydra-pers " in line:
            yield from split_commands(line.strip().removeprefix("$ "))


def split_commands(line: str) -> Iterator[list[str]]:
    """The commands of a line with pipes and &&, those of hydra-pers alone."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;<>")
    lexer.commenters = "#"
    words: list[str] = []
    for word in [*lexer, "|"]:
        if word[0] not in "|&;<>":
            words.append(word)
            continue
        if words and Path(words[0]).name == "hydra-pers":
            yield words[1:]
        words = []


def check_command(words: list[str]) -> None:
    command: Any = COMMAND
    rest = list(words)
    while rest and getattr(command, "commands", None) is not None:
        if not re.fullmatch(r"[a-z][a-z-]*", rest[0]):
            break
        assert rest[0] in command.commands, f"no command {rest[0]!r}: {words}"
        command = command.commands[rest.pop(0)]
    known = {name for p in command.params for name in (*p.opts, *p.secondary_opts)} | {"--help"}
    for word in rest:
        option = word.partition("=")[0]
        if re.fullmatch(r"--?[a-z][a-z-]*", option):
            assert option in known, f"no option {option!r}: {words}"


@pages
def test_commands_and_options_exist(page: Path) -> None:
    for words in commands_in(page.read_text("utf-8")):
        check_command(words)


@pytest.mark.parametrize(
    "line", ["hydra-pers aks", "cat x | hydra-pers ask --usr y | head", "hydra-pers -x && ls"]
)
def test_a_command_that_does_not_exist_is_found(line: str) -> None:
    (words,) = commands_in(f"Type `{line}`.")
    with pytest.raises(AssertionError):
        check_command(words)


@pages
def test_nox_sessions_exist(page: Path) -> None:
    noxfile = (ROOT / "noxfile.py").read_text("utf-8")
    sessions = set(re.findall(r"^def (\w+)\(session", noxfile, re.MULTILINE))
    for name in re.findall(r"nox -s (\w+)", page.read_text("utf-8")):
        assert name in sessions, f"no session {name!r} in {page.name}"


def test_exit_codes_are_documented() -> None:
    page = (ROOT / "docs" / "errors.md").read_text("utf-8")
    rows = re.findall(r"^\| (\d+) \| (\w+) \| (.+?) \|$", page, re.MULTILINE)
    documented = {name: (int(code), meaning) for code, name, meaning in rows}
    tree = re.findall(r"(\w+) +(\d+)  (.+)$", errors.__doc__ or "", re.MULTILINE)
    assert documented == {name: (int(code), meaning) for name, code, meaning in tree}
    for name, (code, _) in documented.items():
        assert getattr(errors, name).exit_code == code


def test_every_page_can_be_reached_from_the_index() -> None:
    reached: set[Path] = set()
    waiting = [ROOT / "docs" / "index.md"]
    while waiting:
        page = waiting.pop()
        reached.add(page)
        links = LINK.findall(page.read_text("utf-8"))
        found = [(page.parent / link.partition("#")[0]).resolve() for link in links]
        found += [inner for folder in found if folder.is_dir() for inner in folder.glob("*.md")]
        waiting += [p for p in found if p.suffix == ".md" and p.is_file() and p not in reached]
    assert set(ROOT.glob("docs/**/*.md")) <= reached


def test_the_changelog_begins_with_this_version() -> None:
    versions = re.findall(
        r"^## (\d+\.\d+\.\d+)", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE
    )
    assert versions[0] == hydra_cli.__version__


def test_ci_runs_the_command_of_the_readme() -> None:
    lines = FENCE.findall((ROOT / "README.md").read_text("utf-8"))
    command = next(block.strip() for _, block in lines if block.strip().endswith("nox"))
    assert command in (ROOT / ".ci" / "run").read_text("utf-8").splitlines()
