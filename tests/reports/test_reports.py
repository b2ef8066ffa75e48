"""Reports: complete, self-contained, well-formed, and legible on any ground."""

from __future__ import annotations

import json
import math
import re
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from datetime import UTC, datetime
from html import escape
from html.parser import HTMLParser
from pathlib import Path

import pytest

from hydra_cli.evaluation.results import Provenance, TaskResult
from hydra_cli.evaluation.verdict import verdict_on
from hydra_cli.reports import html, markdown, plots, words
from hydra_cli.reports.content import Block, Plots, Table, report
from hydra_cli.reports.examples import Answered, Example, examples
from hydra_cli.reports.plots import Plot
from hydra_cli.reports.write import write_report
from tests.evaluation.helpers import material, run
from tests.evaluation.test_engine import Failing

METHODS = "zero-shot,rag-bm25,hydra-pers,consensus,oracle,majority"


@pytest.fixture(scope="module")
def results() -> list[TaskResult]:
    return [run("LaMP_2N", METHODS), run("LaMP_4", METHODS)]


MADE = Provenance(
    "hydra-pers eval --suite 'a <b>'", datetime(2026, 11, 25, 9, 5, tzinfo=UTC), "9.9"
)


@pytest.fixture(scope="module")
def blocks(results: list[TaskResult]) -> list[Block]:
    return report(results, MADE)


@pytest.fixture(scope="module")
def made(blocks: list[Block]) -> list[Plot]:
    return [plot for block in blocks if isinstance(block, Plots) for plot in block.items]


def test_the_folder_holds_everything(results: list[TaskResult], tmp_path: Path) -> None:
    page = write_report(results, tmp_path / "new" / "report", MADE)
    names = {path.name for path in page.parent.iterdir()}
    assert {"report.html", "report.md", "results.json", "LaMP_4-gain.svg"} <= names
    found = json.loads((page.parent / "results.json").read_text("utf-8"))
    assert set(found["tasks"]) == {"LaMP_2N", "LaMP_4"}
    assert found["command"] == MADE.command
    assert found["date"] == "2026-11-25T09:05:00+00:00"
    pictures = re.findall(r"\]\((.*?)\)", (page.parent / "report.md").read_text("utf-8"))
    assert len(pictures) > 4
    for picture in pictures:
        assert (page.parent / picture).is_file()


def test_plots_are_well_formed_and_take_the_pages_colour(made: list[Plot]) -> None:
    assert {"average-gain", "LaMP_4-gain", "LaMP_4-users", "LaMP_4-calls"} <= {p.name for p in made}
    for plot in made:
        for text in (plot.svg, plots.standalone(plot.svg)):
            root = ElementTree.fromstring(text)
        assert root.attrib["role"] == "img"
        assert root.attrib["aria-label"] == plot.description
        assert plots.INK not in plot.svg
        assert plot.svg.count("currentColor") > 10
        assert "#000000" not in plot.svg.replace("stroke: #000000; stroke-width: 0", "")
        # Drawn for a phone's width: a letter is never shrunk below what can be read.
        assert float(root.attrib["viewBox"].split()[2]) <= 330


def test_the_same_results_give_the_same_plots(
    results: list[TaskResult], blocks: list[Block]
) -> None:
    assert html.page(report(results, MADE)) == html.page(blocks)


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.attributes: list[str] = []
        self.ids: list[str] = []
        self.heads_without_scope = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "br"):
            self.open.append(tag)
        self._note(tag, attrs)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._note(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def _note(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [v or "" for n, v in attrs if n in ("src", "href", "xlink:href")]
        self.ids += [v or "" for n, v in attrs if n == "id"]
        self.heads_without_scope += tag == "th" and "scope" not in dict(attrs)


def test_the_page_is_balanced_and_asks_nobody(blocks: list[Block]) -> None:
    page = html.page(blocks)
    tags = Tags()
    tags.feed(page)
    assert tags.open == []
    assert all(value.startswith("#") for value in tags.attributes)
    assert len(tags.ids) == len(set(tags.ids))
    assert tags.heads_without_scope == 0
    assert page.count("<table>") == page.count("<caption>")
    assert "<script" not in page
    assert "prefers-color-scheme: dark" in page


def test_both_pages_begin_with_the_verdict_and_say_the_same(
    results: list[TaskResult], blocks: list[Block]
) -> None:
    page, text = html.page(blocks), markdown.page(blocks)
    told = words.headline(results)
    assert page.index("<h1>") < page.index(escape(told)) < page.index("<table>")
    assert text.index(told) < text.index("| method")
    for found in (page, text):
        assert "25 November 2026, 09:05 UTC, hydra-pers 9.9" in found
        assert found.count("are few") == len(results)
        assert "Example answers" in found
    assert "--suite &#x27;a &lt;b&gt;&#x27;" in page
    assert MADE.command in text


def test_every_figure_of_the_json_stands_in_the_table(
    results: list[TaskResult], blocks: list[Block]
) -> None:
    text = markdown.page(blocks)
    for result in results:
        for method in result.methods.values():
            for value in method.metrics.values():
                assert f"{value:.3f} [" in text
    assert "11/11" in text
    assert "oracle (upper bound)" in text
    assert "Without an average" in text  # majority has no place in a generation task


def test_an_incomplete_run_says_so() -> None:
    data = material("LaMP_4")
    poison = " ".join(data.questions.items[0].query.text.split())
    results = [run("LaMP_4", "zero-shot,rag-bm25", chat=Failing(poison=poison), data=data)]
    text = markdown.page(report(results, MADE))
    assert "10/11 incomplete" in text
    assert "**Incomplete" in text
    assert "There is no verdict" in text


EXAMPLE = Example(
    True,
    "<b>q</b>",
    "Dear mia,\r\n\r\n- one\n- two",
    (Answered("best", "```\n</dd><script>alert(1)</script>\x1b[31m", "match 1%"),),
)


def test_text_from_outside_is_escaped_and_keeps_its_lines() -> None:
    page = html.page([EXAMPLE])
    assert "<b>" not in page
    assert "<script" not in page
    assert "\x1b" not in page
    assert "Dear mia,\n\n- one\n- two" in page
    assert "white-space: pre-wrap" in page
    text = markdown.page([EXAMPLE])
    assert "\n````text\n```\n" in text  # a fence longer than the one inside
    assert markdown.row(["a|b"]) == "| a\\|b |"


def test_examples_are_the_largest_differences_both_ways(results: list[TaskResult]) -> None:
    result = results[1]
    rule, found = examples(result)
    ours, best = result.methods["hydra-pers"], result.methods[result.best_prompt_based or ""]
    assert ours.name in rule
    assert best.name in rule
    differences = sorted(
        a.quality - b.quality for a, b in zip(ours.predictions, best.predictions, strict=True)
    )
    assert sum(e.won for e in found) == min(3, sum(d > 0 for d in differences))
    assert sum(not e.won for e in found) == min(3, sum(d < 0 for d in differences))
    assert {e.reference for e in found} <= set(result.references.values())


def test_the_verdict_compares_means_and_rules_out_chance_only_on_enough_users(
    results: list[TaskResult],
) -> None:
    result = results[0]
    found = verdict_on(result)
    assert found is not None
    grades = [p.quality for p in result.methods["hydra-pers"].predictions]
    assert math.isclose(found.ours, sum(grades) / len(grades))
    assert math.isclose(found.difference.value, found.ours - found.theirs, abs_tol=1e-12)
    # Better for every user: on six a sign test can rule out chance, on five it can't.
    ours = result.methods["hydra-pers"]
    best = result.methods[result.best["either"]]
    sure = replace(ours, better=replace(found.difference, low=0.1, high=0.9))
    for differ, beyond in ((6, True), (5, False)):
        users = sorted({p.key[0] for p in ours.predictions})[:differ]
        worse = [replace(p, quality=p.quality - (p.key[0] in users)) for p in ours.predictions]
        methods = {best.name: replace(best, predictions=worse), "hydra-pers": sure}
        judged = verdict_on(replace(result, methods=methods))
        assert judged is not None
        assert judged.beyond_chance is beyond


@pytest.mark.parametrize(
    ("kind", "ours", "theirs", "told"),
    [
        ("classification", 0.7, 0.5, "right 7 times out of 10, the best prompt (rag) 5; "),
        ("classification", 0.61, 0.58, "right 61 times out of 100, the best prompt (rag) 58; "),
        ("rating", 0.9, 0.8, "0.40 points off on average, those of the best prompt (rag) 0.80; "),
        (
            "generation",
            0.31,
            0.28,
            "references to 31%, those of the best prompt (rag) to 28%",
        ),
    ],
)
def test_the_verdict_in_words(
    kind: str, ours: float, theirs: float, told: str, results: list[TaskResult]
) -> None:
    result = results[0]
    found = verdict_on(result)
    assert found is not None
    found = replace(found, against="rag", needs_llm=True, ours=ours, theirs=theirs)
    assert told in words.sentence(replace(result, kind=kind, scale=4.0), found)
    without = words.sentence(result, replace(found, against="knn", needs_llm=False))
    assert "the best answer without an LLM (knn)" in without


def test_the_verdict_is_against_a_control_where_that_is_better() -> None:
    """A prompt that never knows the label, and a control that always does."""
    result = run("LaMP_2N", "zero-shot,majority,hydra-pers")
    zero, usual = result.methods["zero-shot"], result.methods["majority"]
    found = verdict_on(result)
    assert found is not None
    assert found.against == max((zero, usual), key=lambda m: m.quality).name
    assert found.needs_llm is (found.against == "zero-shot")
    assert math.isclose(found.theirs, max(zero.quality, usual.quality))


def test_a_single_task_has_no_average(results: list[TaskResult]) -> None:
    assert "Average over tasks" not in markdown.page(report(results[:1], MADE))


def test_learning_curves_and_what_a_history_is_worth_are_shown() -> None:
    names = [f"{m}{v}" for m in ("rag-bm25", "hydra-pers") for v in ("", "@newest=1", "@newest=3")]
    result = run("LaMP_4", ",".join([*names, "hydra-pers@history=other", "lead"]))
    plot = plots.learning_curve(result)
    assert plot is not None
    ElementTree.fromstring(plot.svg)
    for name in names:
        assert f"{result.methods[name].quality:.3f}" in plot.description
    found = report([result], MADE)
    shown = " ".join(block.caption for block in found if isinstance(block, Table))
    for words_of in (
        "one thing changed",
        "three measures of a text",
        "answer without an LLM (lead)",
    ):
        assert words_of in shown
    assert any("own texts" in str(block) for block in found)
    # One length alone is no curve.
    assert plots.learning_curve(run("LaMP_4", "rag-bm25,rag-bm25@newest=1")) is None
