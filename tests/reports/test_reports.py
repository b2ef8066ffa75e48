"""Reports: complete, self-contained, well-formed, and legible on any ground."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser
from pathlib import Path

import pytest

from hydra_cli.evaluation.results import TaskResult
from hydra_cli.reports import html, markdown, plots
from hydra_cli.reports.write import write_report
from tests.evaluation.helpers import material, run
from tests.evaluation.test_engine import Failing

METHODS = "zero-shot,rag-bm25,hydra-pers,consensus,oracle,majority"


@pytest.fixture(scope="module")
def results() -> list[TaskResult]:
    return [run("LaMP_2N", METHODS), run("LaMP_4", METHODS)]


def test_the_folder_holds_everything(results: list[TaskResult], tmp_path: Path) -> None:
    page = write_report(results, tmp_path / "new" / "report")
    names = {path.name for path in page.parent.iterdir()}
    assert {"report.html", "report.md", "results.json", "plot-1.svg", "plot-4.svg"} <= names
    found = json.loads((page.parent / "results.json").read_text("utf-8"))
    assert set(found["tasks"]) == {"LaMP_2N", "LaMP_4"}
    for picture in re.findall(r"\]\((.*?)\)", (page.parent / "report.md").read_text("utf-8")):
        assert (page.parent / picture).is_file()


@pytest.fixture(scope="module")
def made(results: list[TaskResult]) -> dict[str, str]:
    return plots.all_plots(results)


def test_plots_are_well_formed_and_take_the_pages_colour(made: dict[str, str]) -> None:
    assert len(made) == 4
    for svg in made.values():
        for text in (svg, plots.standalone(svg)):
            ElementTree.fromstring(text)
        assert plots.INK not in svg
        assert svg.count("currentColor") > 10
        assert "#000000" not in svg.replace("stroke: #000000; stroke-width: 0", "")
        assert "LaMP_4" in svg
    gains = next(iter(made.values()))
    assert "average over tasks" in gains
    assert "hydra-pers" in gains


def test_the_same_results_give_the_same_plots(
    results: list[TaskResult], made: dict[str, str]
) -> None:
    assert plots.all_plots(results) == made


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.attributes: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "br"):
            self.open.append(tag)
        self.attributes += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_balanced_and_asks_nobody(
    results: list[TaskResult], made: dict[str, str]
) -> None:
    page = html.page(results, made)
    tags = Tags()
    tags.feed(page)
    assert tags.open == []
    assert all(value.startswith("#") for value in tags.attributes)
    assert "<script" not in page
    assert "prefers-color-scheme: dark" in page
    assert "LaMP_2N" in page


def test_every_figure_of_the_json_stands_in_the_table(results: list[TaskResult]) -> None:
    text = markdown.page(results, {})
    for result in results:
        for method in result.methods.values():
            for value in method.metrics.values():
                assert f"{value:.3f} [" in text
    assert "11/11" in text
    assert "oracle (bound)" in text
    assert "Not averaged" in text  # majority has no place in a generation task


def test_an_incomplete_run_says_so() -> None:
    data = material("LaMP_4")
    poison = " ".join(data.questions.items[0].query.text.split())
    results = [run("LaMP_4", "zero-shot,rag-bm25", chat=Failing(poison=poison), data=data)]
    text = markdown.page(results, plots.all_plots(results))
    assert "10/11 incomplete" in text
    assert "**Incomplete" in text


def test_names_from_outside_are_escaped() -> None:
    assert "<b>" not in html._blocks(["<b>x</b>", "| <b> | y |", "| --- | --- |", "| <b> | z |"])
    assert markdown.row(["a|b"]) == "| a\\|b |"


def test_a_single_task_has_no_average(results: list[TaskResult]) -> None:
    assert "Average over tasks" not in markdown.page(results[:1], {})
