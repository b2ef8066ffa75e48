"""Plots of an evaluation as SVG, legible on light and on dark ground.

Text and lines take the colour of the page around them (``currentColor``);
series colours are of middle lightness.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from hydra_cli.core.statistics import Estimate
from hydra_cli.evaluation.results import MethodResult, TaskResult, average_gains

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK = "#010203"
"""Stands for the page's text colour until the SVG is written."""

COLOURS = {
    "prompt": "#4c8bd6",
    "personalized": "#d9632b",
    "best-of-n": "#7d9a2f",
    "no LLM": "#9a6fc9",
    "bound": "#8a8a8a",
}
LINES = ("#d9632b", "#4c8bd6", "#7d9a2f", "#9a6fc9", "#c99a1e", "#2fa39a")
FOCUS = ("hydra-pers", "hydra-pers-zero", "hydra", "mof", "consensus")
COLUMNS = 3
WIDEST = 150.0
"""Gains in percent beyond this, either way, stand at the edge as arrowheads."""
BINS = 4
LABELS_HIGH = 18
"""How many labels stand above each other in a panel."""


def all_plots(results: Sequence[TaskResult]) -> dict[str, str]:
    """Every plot that the results can fill: its title to its SVG."""
    made = {
        "Gain over the best prompt-based method, with 95 % intervals over users": gains(results),
        "Gain of each user": user_gains(results),
        "Quality against LLM calls": quality_against_calls(results),
        "Quality against history length": quality_against_history(results),
    }
    return {title: svg for title, svg in made.items() if svg}


def gains(results: Sequence[TaskResult]) -> str:
    """A panel a task, and one for the average: relative gain with its interval."""
    panels: list[tuple[str, list[tuple[str, str, Estimate]]]] = []
    for result in results:
        rows = [(m.name, m.family, m.gain) for m in result.methods.values() if m.gain is not None]
        panels.append((result.task, rows))
    if len(results) > 1:
        families = {m.name: m.family for m in results[0].methods.values()}
        average = average_gains(results)
        panels.append(
            ("average over tasks", [(name, families[name], g) for name, g in average.items()])
        )
    panels = [panel for panel in panels if panel[1]]
    longest = max((len(rows) for _, rows in panels), default=0)

    def draw(axes: Axes, panel: tuple[str, list[tuple[str, str, Estimate]]]) -> None:
        title, rows = panel
        for place, (_, family, gain) in enumerate(rows):
            if not math.isfinite(gain.value):
                continue
            ends = [x for x in (gain.low, gain.value, gain.high) if not math.isnan(x)]
            low, value, high = (
                max(-WIDEST, min(WIDEST, 100 * x)) for x in (min(ends), gain.value, max(ends))
            )
            colour = COLOURS[family]
            axes.plot([low, high], [place, place], linewidth=1.4, color=colour)
            marker = "o" if abs(100 * gain.value) <= WIDEST else "<" if value < 0 else ">"
            axes.plot([value], [place], marker, markersize=4, color=colour)
        axes.axvline(0, color=INK, linewidth=0.7, alpha=0.6)
        axes.set_yticks(range(len(rows)), [name for name, _, _ in rows], fontsize=8)
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.set_xlabel("gain in %", fontsize=8)
        axes.set_title(title, fontsize=10)

    return _grid(panels, draw, height=0.8 + 0.2 * longest)


def user_gains(results: Sequence[TaskResult]) -> str:
    """Our quality minus the best prompt-based method's, user by user, sorted."""
    panels = []
    for result in results:
        ours = result.methods.get("hydra-pers")
        best = result.methods.get(result.best_prompt_based or "")
        if ours is not None and best is not None and ours.complete and best.complete:
            mine, theirs = _user_means(ours), _user_means(best)
            panels.append((result, sorted(mine[user] - theirs[user] for user in mine)))

    def draw(axes: Axes, panel: tuple[TaskResult, list[float]]) -> None:
        result, found = panel
        colours = [LINES[0] if value > 0 else LINES[1] for value in found]
        axes.bar(range(len(found)), found, color=colours, width=0.9)
        axes.axhline(0, color=INK, linewidth=0.7)
        won = sum(value > 0 for value in found)
        lost = sum(value < 0 for value in found)
        axes.set_title(f"{result.task}: {won} users better, {lost} worse", fontsize=10)
        axes.set_xlabel(f"users, against {result.best_prompt_based}", fontsize=8)
        axes.set_ylabel("difference in quality", fontsize=8)
        axes.set_xticks([])

    return _grid(panels, draw, height=2.4)


def quality_against_calls(results: Sequence[TaskResult]) -> str:
    """Each method's mean quality over the LLM calls that a query took, fits included."""
    panels = [result for result in results if any(m.answers for m in result.methods.values())]

    def draw(axes: Axes, result: TaskResult) -> None:
        names: dict[tuple[float, int], list[str]] = {}
        grades = [m.quality for m in result.methods.values() if m.complete]
        step = (max(grades, default=1.0) - min(grades, default=0.0)) / LABELS_HIGH or 1.0
        for method in result.methods.values():
            if not method.complete:
                continue
            spent = method.usage + method.setup
            calls = (spent.calls + spent.cached_calls) / method.answers
            axes.plot([calls], [method.quality], "o", markersize=5, color=COLOURS[method.family])
            # Methods that nearly coincide share one label, so that it can be read.
            spot = (round(math.log1p(calls), 1), round(method.quality / step))
            names.setdefault(spot, []).append(method.name)
        for (spent_log, row), found in names.items():
            axes.annotate(
                ", ".join(found),
                (math.expm1(spent_log), row * step),
                xytext=(4, 2),
                textcoords="offset points",
                fontsize=6,
                color=INK,
            )
        axes.set_xscale("symlog", linthresh=1)
        axes.set_title(result.task, fontsize=10)
        axes.set_xlabel("LLM calls a query, training and fits included", fontsize=8)
        axes.set_ylabel("mean quality", fontsize=8)
        axes.margins(x=0.25)

    return _grid(panels, draw, height=2.8)


def quality_against_history(results: Sequence[TaskResult]) -> str:
    """Mean quality in bins of users' history length, for the methods in focus."""
    panels = [result for result in results if any(m.predictions for m in result.methods.values())]

    def draw(axes: Axes, result: TaskResult) -> None:
        shown = [n for n in (*FOCUS, result.best_prompt_based) if n and n in result.methods]
        for place, name in enumerate(shown[: len(LINES)]):
            found = result.methods[name].predictions
            if not found:
                continue
            lengths = np.array([p.records for p in found], dtype=float)
            grades = np.array([p.quality for p in found])
            edges = np.unique(np.quantile(lengths, np.linspace(0, 1, BINS + 1)))
            bins = np.clip(np.searchsorted(edges, lengths, side="right") - 1, 0, len(edges) - 2)
            if len(edges) == 1:
                bins = np.zeros(len(lengths), dtype=int)
            groups = [bins == b for b in np.unique(bins)]
            axes.plot(
                [float(lengths[g].mean()) for g in groups],
                [float(grades[g].mean()) for g in groups],
                "o-",
                markersize=4,
                linewidth=1.4,
                color=LINES[place],
                label=name,
            )
        axes.set_title(result.task, fontsize=10)
        axes.set_xlabel("records in the history", fontsize=8)
        axes.set_ylabel("mean quality", fontsize=8)
        if axes.lines:
            axes.legend(fontsize=6, frameon=False, labelcolor=INK)

    return _grid(panels, draw, height=2.6)


def _user_means(method: MethodResult) -> dict[str, float]:
    grades: dict[str, list[float]] = {}
    for prediction in method.predictions:
        grades.setdefault(prediction.key[0], []).append(prediction.quality)
    return {user: float(np.mean(found)) for user, found in grades.items()}


def _grid(panels: Sequence[object], draw: Callable[..., None], *, height: float) -> str:
    """Panels side by side as one SVG; empty where there are none. ``height`` in inches."""
    if not panels:
        return ""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    columns = min(COLUMNS, len(panels))
    rows = math.ceil(len(panels) / columns)
    style: Any = {
        "svg.fonttype": "none",
        "svg.hashsalt": "hydra-pers",
        "text.color": INK,
        "axes.labelcolor": INK,
        "axes.edgecolor": INK,
        "xtick.color": INK,
        "ytick.color": INK,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "font.size": 8,
        "font.family": "sans-serif",
    }
    with rc_context(style):
        figure = Figure(figsize=(3.6 * columns, height * rows), layout="constrained")
        for place, panel in enumerate(panels):
            axes = figure.add_subplot(rows, columns, place + 1)
            axes.patch.set_alpha(0)
            draw(axes, panel)
        return _svg(figure)


def _svg(figure: Figure) -> str:
    """The figure as an ``<svg>`` element in the colour of its surroundings."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :].replace(INK, "currentColor")
    # The width comes from the page; the view box keeps the shape.
    return re.sub(r'(<svg[^>]*?) height="[^"]*"( [^>]*?)? width="[^"]*"', r"\1\2", text, count=1)


def standalone(svg: str) -> str:
    """The SVG as a file of its own: it follows the reader's colour scheme."""
    style = (
        "<style>:root{color:#1b1b1b}"
        "@media (prefers-color-scheme:dark){:root{color:#e8e8e8}}</style>"
    )
    end = svg.index(">") + 1
    return svg[:end] + style + svg[end:]
