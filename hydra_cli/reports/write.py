"""A report's folder: report.html, report.md with its pictures, results.json."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from hydra_cli.core.files import write_atomic
from hydra_cli.evaluation.as_json import suite_mapping
from hydra_cli.evaluation.results import TaskResult
from hydra_cli.reports import html, markdown
from hydra_cli.reports.plots import all_plots, standalone


def write_report(results: Sequence[TaskResult], folder: Path) -> Path:
    """Write everything; returns the page to open."""
    folder.mkdir(parents=True, exist_ok=True)
    plots = all_plots(results)
    names = {title: f"plot-{number}.svg" for number, title in enumerate(plots, start=1)}
    for title, svg in plots.items():
        write_atomic(folder / names[title], standalone(svg).encode())
    write_atomic(folder / "report.md", markdown.page(results, names).encode())
    found = json.dumps(suite_mapping(results), ensure_ascii=False, indent=2, allow_nan=False)
    write_atomic(folder / "results.json", found.encode())
    page = folder / "report.html"
    write_atomic(page, html.page(results, plots).encode())
    return page
