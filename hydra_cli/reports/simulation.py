"""A report of simulations: verdict, arms, and edits by round as a plot."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hydra_cli.core.statistics import Estimate
from hydra_cli.evaluation.results import Provenance
from hydra_cli.evaluation.simulation_results import (
    PARTS,
    ArmResult,
    SimulationResult,
    simulations_mapping,
    verdict,
)
from hydra_cli.reports import plots
from hydra_cli.reports.content import (
    Block,
    Code,
    Heading,
    Items,
    Plots,
    Table,
    Text,
    percent,
    setting_text,
    span,
)
from hydra_cli.reports.write import write_pages

if TYPE_CHECKING:
    from matplotlib.axes import Axes

STYLES = {
    "rag": ("#4c8bd6", "-"),
    "frozen": ("#8a8a8a", "-"),
    "records only": ("#7d9a2f", "-"),
    "head only": ("#9a6fc9", "-"),
    "both": ("#d9632b", "-"),
    "head only, hostile": ("#9a6fc9", ":"),
    "both, hostile": ("#d9632b", ":"),
    "both, silent": ("#d9632b", "--"),
}
"""Each arm's colour and line."""

READING = (
    "Each user's newest records are the rounds, oldest first: a record's input is asked, and the "
    "answer that is shown is edited into its output. Edits are the words inserted, deleted and "
    "replaced.",
    "Intervals are 95 % percentile intervals of a paired bootstrap over users, all arms on the "
    "same draws.",
    "Best draft: the edits a round that the best of the drafts would have taken, picked by the "
    "reference: a bound of what choosing can save, out of reach in use.",
    "ROUGE (mean of ROUGE-1 and ROUGE-L) and meaning (tf-idf cosine) compare what was shown with "
    "what the user wrote: edits that are saved by saying less show there.",
)


def write_simulations(results: Sequence[SimulationResult], folder: Path, made: Provenance) -> Path:
    """report.html, report.md with its pictures, results.json; returns the page to open."""
    return write_pages(report(results, made), simulations_mapping(results, made), folder)


def report(results: Sequence[SimulationResult], made: Provenance) -> list[Block]:
    """The whole report."""
    first = results[0]
    settings = ", ".join(f"{name} {setting_text(value)}" for name, value in first.settings.items())
    blocks: list[Block] = [Heading(1, "Learning from edits")]
    for result in results:
        if len(results) > 1:
            blocks.append(Heading(2, result.task))
        blocks += _task(result)
    return [
        *blocks,
        Heading(2, "How to make this run again"),
        Code(made.command),
        Text(f"In force: {settings}.", "note"),
        Heading(2, "How to read this"),
        Items(READING),
    ]


def _task(result: SimulationResult) -> list[Block]:
    start = "all older records" if result.start is None else f"{result.start} records"
    about = (
        f"{result.task}: {result.rounds} rounds of {result.users} users, {start} at the start, "
        f"LLM {result.model}"
    )
    blocks: list[Block] = [Text(verdict(result), "verdict")]
    if not result.complete:
        blocks.append(
            Text(f"Incomplete: {result.missing} rounds lack an answer of the LLM.", "warning")
        )
    arms = tuple(result.arms.values())
    blocks.append(
        Table(
            about,
            ("arm", "edits a round ↓", "edits ↓", "saved over rag", "95 % interval",
             "saved over frozen", "95 % interval", "best draft", "words shown", "ROUGE ↑",
             "meaning ↑"),
            tuple(_row(arm) for arm in arms),
        )
    )  # fmt: skip
    if (made := plot(result)) is not None:
        words = "Words edited up to each round, a user's mean."
        blocks.append(Plots("What edits add up to", words, (made,)))
    blocks.append(
        Table(
            f"{result.task}: edits a round over time, in fifths of the rounds",
            ("arm", *map(str, range(1, PARTS + 1))),
            tuple((arm.arm.name, *(f"{value:.2f}" for value in arm.parts)) for arm in arms),
        )
    )
    if hostile := [arm for arm in arms if arm.hostility is not None]:
        blocks.append(
            Table(
                f"{result.task}: what hostile feedback in {result.hostile:.0%} of the rounds costs",
                ("arm", "more edits", "95 % interval"),
                tuple((arm.arm.name, *_share(arm.hostility)) for arm in hostile),
            )
        )
    blocks.append(Items(tuple(f"{arm.arm.name}: {arm.arm.about}" for arm in arms)))
    return [*blocks, *(Text(note, "note") for note in result.notes)]


def _row(arm: ArmResult) -> tuple[str, ...]:
    return (
        arm.arm.name,
        f"{arm.edits:.2f}",
        f"{arm.total:,}",
        *_share(arm.over_rag),
        *_share(arm.over_frozen),
        f"{arm.least:.2f}",
        f"{arm.words:.1f}",
        f"{arm.quality:.3f}",
        f"{arm.meaning:.3f}",
    )


def _share(found: Estimate | None) -> tuple[str, str]:
    return ("–", "–") if found is None else (percent(found.value), span(found))


def plot(result: SimulationResult) -> plots.Plot | None:
    """Each arm's cumulative edits over the rounds."""
    if not result.arms:
        return None

    def draw(axes: Axes) -> None:
        for name, arm in result.arms.items():
            colour, line = STYLES[name]
            rounds = range(1, len(arm.cumulative) + 1)
            axes.plot(rounds, arm.cumulative, line, color=colour, linewidth=1.6, label=name)
        axes.set_xlabel("round")
        axes.set_ylabel("words edited, a user")
        axes.set_ylim(bottom=0)
        axes.legend(frameon=False, labelcolor=plots.INK)

    told = "; ".join(f"{name} {arm.cumulative[-1]:.0f}" for name, arm in result.arms.items())
    return plots.drawn(
        f"{result.task}-edits",
        draw,
        3.2,
        f"Words that a mean user edited in {result.rounds} rounds: {told}.",
    )
