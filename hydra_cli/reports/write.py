"""A report's folder: report.html, report.md with its pictures, results.json."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra_cli.core.files import write_atomic
from hydra_cli.evaluation.as_json import suite_mapping
from hydra_cli.evaluation.results import Provenance, TaskResult
from hydra_cli.reports import html, markdown
from hydra_cli.reports.content import Block, Plots, report
from hydra_cli.reports.plots import standalone


def write_report(results: Sequence[TaskResult], folder: Path, made: Provenance) -> Path:
    """Write everything; returns the page to open."""
    return write_pages(report(results, made), suite_mapping(results, made), folder)


def write_pages(blocks: Sequence[Block], found: Mapping[str, Any], folder: Path) -> Path:
    """The blocks as both pages, their pictures, and the figures; returns the page to open."""
    folder.mkdir(parents=True, exist_ok=True)
    for block in blocks:
        if isinstance(block, Plots):
            for plot in block.items:
                write_atomic(folder / f"{plot.name}.svg", standalone(plot.svg).encode())
    write_atomic(folder / "report.md", markdown.page(blocks).encode())
    text = json.dumps(found, ensure_ascii=False, indent=2, allow_nan=False)
    write_atomic(folder / "results.json", text.encode())
    page = folder / "report.html"
    write_atomic(page, html.page(blocks).encode("utf-8", "replace"))
    return page
