"""Plots of an evaluation as SVG, legible on light and on dark ground, on a phone too.

Each is as wide as a phone's screen, so that letters keep their size. Text and
lines take the colour of the page around them (``currentColor``); series
colours are of middle lightness.
"""

from __future__ import annotations

import io
import itertools
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from hydra_cli.core.statistics import Estimate
from hydra_cli.evaluation.results import TaskResult, average_gains
from hydra_cli.evaluation.verdict import judged, user_means

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
FAMILIES = (
    "Blue: prompts. Orange: personalized. Green: best of n. Violet: no LLM. Grey: the upper bound."
)
LINES = ("#d9632b", "#4c8bd6", "#7d9a2f", "#9a6fc9")
MARKERS = "osD^"
FOCUS = ("hydra-pers", "consensus")
WIDTH = 4.4
"""Inches; letters are given for this width."""
ROW = 0.21
"""Inches of a line of text with its surroundings."""
WIDEST = 150.0
"""Gains in percent beyond this, either way, stand at the edge as arrowheads."""
BINS = 4
IN_A_BIN = 5
"""Queries that a point must stand for."""


@dataclass(frozen=True, slots=True)
class Plot:
    """A picture and what it shows, in words for those who can't see it."""

    name: str
    svg: str
    description: str


def gains(result: TaskResult) -> Plot | None:
    """Each method's relative gain with its interval."""
    rows = [(m.name, m.family, m.gain) for m in result.methods.values() if m.gain is not None]
    return _forest(result.task, rows)


def average(results: Sequence[TaskResult]) -> Plot | None:
    """The mean gain over tasks with its interval."""
    families = {m.name: m.family for m in results[0].methods.values()}
    return _forest("average", [(n, families[n], g) for n, g in average_gains(results).items()])


def _forest(title: str, rows: Sequence[tuple[str, str, Estimate]]) -> Plot | None:
    rows = [row for row in rows if math.isfinite(row[2].value)]
    if not rows:
        return None

    def draw(axes: Axes) -> None:
        for place, (_, family, gain) in enumerate(rows):
            ends = [x for x in (gain.low, gain.value, gain.high) if not math.isnan(x)]
            low, value, high = (
                max(-WIDEST, min(WIDEST, 100 * x)) for x in (min(ends), gain.value, max(ends))
            )
            colour = COLOURS[family]
            axes.plot([low, high], [place, place], linewidth=1.8, color=colour)
            marker = "o" if abs(100 * gain.value) <= WIDEST else "<" if value < 0 else ">"
            axes.plot([value], [place], marker, markersize=5, color=colour)
        axes.axvline(0, color=INK, linewidth=0.8, alpha=0.6)
        axes.set_yticks(range(len(rows)), [name for name, _, _ in rows])
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.set_xlabel("gain in %")

    told = "; ".join(
        f"{name} {100 * gain.value:+.0f} % ({100 * gain.low:+.0f} to {100 * gain.high:+.0f} %)"
        if math.isfinite(gain.low)
        else f"{name} {100 * gain.value:+.0f} %"
        for name, _, gain in rows
    )
    return drawn(f"{title}-gain", draw, 0.7 + ROW * len(rows), f"Gain and 95 % interval: {told}.")


def user_gains(result: TaskResult) -> Plot | None:
    """The judged method's quality minus the best prompt-based method's, user by user."""
    ours = judged(result)
    best = result.methods.get(result.best_prompt_based or "")
    if ours is None or best is None or not ours.complete:
        return None
    mine, theirs = user_means(ours), user_means(best)
    found = sorted(mine[user] - theirs[user] for user in mine)
    won, lost = sum(value > 0 for value in found), sum(value < 0 for value in found)

    def draw(axes: Axes) -> None:
        colours = [LINES[0] if value > 0 else LINES[1] for value in found]
        axes.bar(range(len(found)), found, color=colours, width=0.85)
        axes.axhline(0, color=INK, linewidth=0.8)
        axes.set_xlabel(f"{won} users better, {lost} worse, {len(found) - won - lost} the same")
        axes.set_ylabel("difference in quality")
        axes.set_xticks([])

    told = (
        f"Of {len(found)} users {ours.name} serves {won} better than {best.name}, {lost} worse; "
        f"differences in quality from {found[0]:+.2f} to {found[-1]:+.2f}."
    )
    return drawn(f"{result.task}-users", draw, 2.6, told)


def learning_curve(result: TaskResult) -> Plot | None:
    """Mean quality over the newest m records, for each method that was run with several m."""
    curves: dict[str, list[tuple[int, float]]] = {}
    for method in result.methods.values():
        name, _, cut = method.name.partition("@newest=")
        if cut.isdecimal() and method.complete:
            curves.setdefault(name, []).append((int(cut), method.quality))
    whole = {n: result.methods[n].quality for n in curves if n in result.methods}
    if not curves or len({m for points in curves.values() for m, _ in points}) < 2:
        return None
    lengths = sorted({m for points in curves.values() for m, _ in points})
    places = {m: place for place, m in enumerate(lengths)}

    def draw(axes: Axes) -> None:
        for name, colour, marker in zip(
            curves, itertools.cycle(LINES), itertools.cycle(MARKERS), strict=False
        ):
            points = [(places[m], quality) for m, quality in sorted(curves[name])]
            if name in whole:
                points.append((len(lengths), whole[name]))
            axes.plot(*zip(*points, strict=True), marker=marker, color=colour, label=name)
        axes.set_xticks(range(len(lengths) + 1), [*map(str, lengths), "all"])
        axes.set_xlabel("newest records")
        axes.set_ylabel("mean quality")
        axes.legend(frameon=False)

    told = "; ".join(
        f"{name}: "
        + ", ".join(f"{quality:.3f} with {m}" for m, quality in sorted(points))
        + (f", {whole[name]:.3f} with all" if name in whole else "")
        for name, points in curves.items()
    )
    return drawn(f"{result.task}-learning", draw, 2.6, f"Mean quality by history: {told}.")


def quality_against_calls(result: TaskResult) -> Plot | None:
    """Each method's mean quality over the LLM calls that a query took, fits included.

    Names stand in a column beside the plot, tied to their points.
    """
    points = []
    for method in result.methods.values():
        if method.complete:
            spent = method.usage + method.setup
            calls = (spent.calls + spent.cached_calls) / method.answers
            points.append((method.quality, calls, method))
    if not points:
        return None
    points.sort(key=lambda point: point[0])

    def draw(axes: Axes) -> None:
        axes.set_xscale("symlog", linthresh=1)
        low, high = points[0][0], points[-1][0]
        room = (high - low) or 1.0
        bottom, top = low - 0.06 * room, high + 0.06 * room
        axes.set_ylim(bottom, top)
        most = max(calls for _, calls, _ in points)
        axes.set_xlim(-0.15, most * 1.4 + 0.3)
        axes.set_xticks(
            [t for t in (0, 1, 3, 10, 30, 100, 300, 1000) if t <= most * 1.4 + 0.3],
            [str(t) for t in (0, 1, 3, 10, 30, 100, 300, 1000) if t <= most * 1.4 + 0.3],
        )
        axes.minorticks_off()
        for place, (grade, calls, method) in enumerate(points):
            colour = COLOURS[method.family]
            height = (place + 0.5) / len(points)
            axes.annotate(
                method.name,
                xy=(calls, grade),
                xytext=(1.06, height),
                textcoords="axes fraction",
                va="center",
                color=INK,
                arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 0.6, "alpha": 0.7},
            )
            axes.plot([calls], [grade], "o", markersize=6, color=colour)
        axes.set_xlabel("LLM calls a query, fits included")
        axes.set_ylabel("mean quality")

    told = "; ".join(f"{m.name} {grade:.2f} at {calls:.1f}" for grade, calls, m in points)
    height = max(2.6, 0.7 + ROW * len(points))
    return drawn(
        f"{result.task}-calls", draw, height, f"Mean quality at LLM calls a query: {told}."
    )


def quality_against_history(result: TaskResult) -> Plot | None:
    """Mean quality in groups of queries by the length of the history."""
    names = dict.fromkeys(n for n in (*FOCUS, result.best_prompt_based) if n)
    shown = [result.methods[n] for n in names if n in result.methods and result.methods[n].complete]
    if not shown:
        return None
    lengths = np.array([p.records for p in shown[0].predictions], dtype=float)
    edges = np.unique(np.quantile(lengths, np.linspace(0, 1, BINS + 1)))
    groups = list(itertools.pairwise(edges))
    inside = [_inside(lengths, low, high, edges[-1]) for low, high in groups]
    if len(groups) < 2 or min(int(found.sum()) for found in inside) < IN_A_BIN:
        return None
    table = []
    for method in shown:
        records = np.array([p.records for p in method.predictions], dtype=float)
        grades = np.array([p.quality for p in method.predictions])
        means = [
            float(grades[_inside(records, low, high, edges[-1])].mean()) for low, high in groups
        ]
        table.append((method.name, means))
    ranges = [
        f"{math.ceil(low)}–{math.floor(high) if high == edges[-1] else math.ceil(high) - 1}"
        for low, high in groups
    ]

    def draw(axes: Axes) -> None:
        for place, (name, means) in enumerate(table):
            axes.plot(
                range(len(means)),
                means,
                marker=MARKERS[place],
                markersize=6,
                linewidth=1.8,
                color=LINES[place],
                label=name,
            )
        axes.set_xticks(range(len(ranges)), ranges)
        axes.set_xlabel("records in the history")
        axes.set_ylabel("mean quality")
        axes.margins(x=0.1, y=0.12)
        axes.legend(
            loc="lower center",
            bbox_to_anchor=(0.5, 1.0),
            ncols=len(table),
            frameon=False,
            labelcolor=INK,
            columnspacing=1.0,
            handletextpad=0.4,
        )

    told = "; ".join(
        f"{name}: " + ", ".join(f"{value:.2f}" for value in means) for name, means in table
    )
    return drawn(
        f"{result.task}-history",
        draw,
        2.8,
        f"Mean quality with {', '.join(ranges)} records: {told}.",
    )


def _inside(lengths: Any, low: float, high: float, last: float) -> Any:
    return (lengths >= low) & ((lengths <= high) if high == last else (lengths < high))


def drawn(name: str, draw: Callable[[Axes], None], height: float, description: str) -> Plot:
    """One picture; ``height`` in inches."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

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
        "font.size": 9.5,
        "font.family": "sans-serif",
    }
    safe = re.sub(r"[^\w-]+", "-", name)
    with rc_context(style):
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        axes = figure.add_subplot()
        axes.patch.set_alpha(0)
        draw(axes)
        return Plot(safe, _svg(figure, safe, description), description)


def _svg(figure: Figure, name: str, description: str) -> str:
    """The figure as an ``<svg>`` element in the colour of its surroundings, ids its own."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :].replace(INK, "currentColor")
    # Two pictures stand in one page: no id may be there twice.
    text = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", text)
    # Who reads by ear gets the description alone, not every tick's label.
    start = f'<svg role="img" aria-label="{escape(description)}"'
    text = text.replace("<svg", start, 1)
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
