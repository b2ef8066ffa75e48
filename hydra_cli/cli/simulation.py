"""``hydra-pers eval --simulate``: what a user's edits save, told and written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hydra_cli.cli.render import print_json, print_line, print_table, say
from hydra_cli.cli.render_eval import percent
from hydra_cli.core.errors import UsageError
from hydra_cli.core.records import Usage

if TYPE_CHECKING:
    from hydra_cli.config import Settings
    from hydra_cli.core.protocols import ChatModel, TextEncoder
    from hydra_cli.core.statistics import Estimate
    from hydra_cli.evaluation.results import Provenance
    from hydra_cli.evaluation.simulation import SimulationPlan
    from hydra_cli.evaluation.simulation_results import ArmResult, SimulationResult
    from hydra_cli.llm.offline import Offline
    from hydra_cli.workflows.evaluate import DataLimits, Source


@dataclass(frozen=True, slots=True)
class Outputs:
    """Where a simulation goes beside the screen."""

    report: Path | None
    predictions: Path | None
    as_json: bool
    made: Provenance


def check_options(*, methods: str, seeds: Sequence[int], supervision: str) -> None:
    """UsageError for what a simulation can't heed."""
    if methods != "all":
        raise UsageError("--simulate has arms of its own, --methods names none of them")
    if len(seeds) > 1:
        raise UsageError("--simulate takes one seed")
    if supervision != "history":
        raise UsageError("--simulate trains its base on histories: --supervision history")


def simulated(
    source: Source,
    plan: SimulationPlan,
    settings: Settings,
    outputs: Outputs,
    *,
    open_encoder: Callable[[], TextEncoder],
    open_chat: Callable[[], ChatModel],
    offline: Offline | None,
    limits: DataLimits,
    draws: int,
    dry_run: bool,
) -> None:
    """Run it, or tell its price, and show what came of it."""
    from hydra_cli.cli.progress import progress_bar
    from hydra_cli.cli.render_offline import show_written
    from hydra_cli.cli.render_price import render_price
    from hydra_cli.workflows import simulate as workflow

    results: list[SimulationResult] = []
    with progress_bar() as bar:
        if dry_run:
            price = workflow.price_of_run(
                source, plan, settings, open_encoder=open_encoder, progress=bar, limits=limits
            )
        else:
            for result in workflow.run(
                source,
                plan,
                settings,
                open_encoder=open_encoder,
                open_chat=open_chat,
                progress=bar,
                limits=limits,
                draws=draws,
            ):
                results.append(result)
                if not (offline and offline.missing):
                    keep(results, outputs)
    if dry_run:
        render_price(price, as_json=outputs.as_json, why_none="nothing is asked.")
        return
    if offline and (written := offline.finish()):
        show_written(written, as_json=outputs.as_json)
        return
    render(results, outputs)
    if error := workflow.incomplete(results, cache=settings.store):
        raise error


def keep(results: Sequence[SimulationResult], outputs: Outputs) -> None:
    """Write what was asked for into files."""
    from hydra_cli.workflows.simulate import write_rounds

    if outputs.predictions is not None:
        write_rounds(results, outputs.predictions)
    if outputs.report is not None:
        from hydra_cli.reports.simulation import write_simulations

        page = write_simulations(results, outputs.report, outputs.made)
        say(f"{results[-1].task} is in the report: {page}")


def render(results: Sequence[SimulationResult], outputs: Outputs) -> None:
    """Verdicts and tables, or JSON; then what the run used."""
    from hydra_cli.cli.render_usage import usage_line
    from hydra_cli.evaluation.simulation_results import simulations_mapping

    if outputs.as_json:
        print_json(simulations_mapping(results, outputs.made))
    else:
        for result in results:
            render_task(result)
    say(usage_line(sum((result.used for result in results), Usage())))


def render_task(result: SimulationResult) -> None:
    """One task: its verdict, its arms, and how they went over time."""
    from hydra_cli.evaluation.simulation_results import PARTS, verdict

    print_line(verdict(result))
    arms = list(result.arms.values())
    start = "all older records" if result.start is None else f"{result.start} records"
    print_table(
        f"{result.task}: {result.rounds} rounds of {result.users} users, {start} at the start, "
        f"{result.model}; edits are in words",
        (
            "arm",
            "edits\na round",
            "edits",
            "saved over\nrag",
            "saved over\nfrozen",
            "best\ndraft",
            "words\nshown",
            "ROUGE",
            "meaning",
        ),
        [_row(arm) for arm in arms],
        names_first=True,
    )
    print_table(
        f"{result.task}: edits a round over time, in fifths of the rounds",
        ("arm", *map(str, range(1, PARTS + 1))),
        [(arm.arm.name, *(f"{value:.2f}" for value in arm.parts)) for arm in arms],
        names_first=True,
    )
    if hostile := [arm for arm in arms if arm.hostility is not None]:
        print_table(
            f"{result.task}: what hostile feedback in {result.hostile:.0%} of the rounds costs",
            ("arm", "more edits"),
            [(arm.arm.name, share(arm.hostility)) for arm in hostile],
            names_first=True,
        )
    for note in result.notes:
        say(f"{result.task}: {note}")


def _row(arm: ArmResult) -> tuple[str, ...]:
    return (
        arm.arm.name,
        f"{arm.edits:.2f}",
        f"{arm.total:,}",
        share(arm.over_rag),
        share(arm.over_frozen),
        f"{arm.least:.2f}",
        f"{arm.words:.1f}",
        f"{arm.quality:.3f}",
        f"{arm.meaning:.3f}",
    )


def share(found: Estimate | None) -> str:
    """A share with its interval, as in ``+4.2% (+1.0% … +7.1%)``."""
    if found is None:
        return "-"
    return f"{percent(found.value)} ({percent(found.low)} … {percent(found.high)})"
