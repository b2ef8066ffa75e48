"""Simulations of users who edit what they are shown: of files, of a suite, of the store."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from hydra_cli.core.errors import HydraError, UsageError
from hydra_cli.core.files import write_json_lines
from hydra_cli.core.protocols import ChatModel, ChatRequest, Progress, TextEncoder
from hydra_cli.core.statistics import DRAWS
from hydra_cli.evaluation.methods import OURS
from hydra_cli.evaluation.simulation import SimulationPlan, planned, simulate
from hydra_cli.evaluation.simulation_results import (
    SimulationResult,
    rounds_mapping,
    summarize,
)
from hydra_cli.workflows.evaluate import (
    DataLimits,
    Material,
    Source,
    price_of,
    read_source,
    unfinished,
)
from hydra_cli.workflows.pricing import Price
from hydra_cli.workflows.pricing import price as price_stages

if TYPE_CHECKING:
    from hydra_cli.config import Settings


def run(
    source: Source,
    plan: SimulationPlan,
    settings: Settings,
    *,
    open_encoder: Callable[[], TextEncoder],
    open_chat: Callable[[], ChatModel],
    progress: Progress,
    limits: DataLimits | None = None,
    draws: int = DRAWS,
) -> Iterator[SimulationResult]:
    """Each task's simulation as it is done. The source is refused before anything is opened."""
    from hydra_cli.modeling.recipes import recipe_named

    materials = texts_of(source, settings, limits, progress)
    encoder, chat, price = open_encoder(), open_chat(), price_of(settings.model)
    for material in materials:
        found = simulate(
            material.questions,
            material.train,
            plan,
            encoder=encoder,
            chat=chat,
            recipe=recipe_named(OURS),
            progress=progress,
            price=price,
        )
        yield summarize(
            found,
            material.questions,
            plan,
            model=chat.name,
            draws=draws,
            settings=settings_of(plan, encoder),
        )


def texts_of(
    source: Source, settings: Settings, limits: DataLimits | None, progress: Progress
) -> list[Material]:
    """The source's text tasks; UsageError where it has none."""
    found = read_source(source, settings, limits or DataLimits())
    texts = [one for one in found if not one.questions.task.closed]
    closed = ", ".join(one.questions.task.name for one in found if one.questions.task.closed)
    if not texts:
        raise UsageError(
            f"there are no words to edit in labels and ratings: {closed}",
            hint="--simulate is for tasks of free text",
        )
    if closed:
        progress.note(f"left out, since labels and ratings have no words to edit: {closed}")
    return texts


def settings_of(plan: SimulationPlan, encoder: TextEncoder) -> dict[str, object]:
    """What has to be known to make the run again."""
    answering = {**asdict(plan.answering), "n": plan.answering.answers}
    return {**answering, "encoder": encoder.name, "training": asdict(plan.training)}


def price_of_run(
    source: Source,
    plan: SimulationPlan,
    settings: Settings,
    *,
    open_encoder: Callable[[], TextEncoder],
    progress: Progress,
    limits: DataLimits | None = None,
) -> Price:
    """What the rounds would use, from their real prompts, nothing being sent."""
    from hydra_cli.modeling.recipes import recipe_named

    materials = texts_of(source, settings, limits, progress)
    encoder = open_encoder()

    def stages() -> Iterator[tuple[str, Sequence[ChatRequest]]]:
        for one in materials:
            asked = planned(
                one.questions,
                one.train,
                plan,
                encoder=encoder,
                recipe=recipe_named(OURS),
                progress=progress,
            )
            yield f"{one.questions.task.name}: rounds", asked

    return price_stages(stages(), settings)


def write_rounds(results: Sequence[SimulationResult], path: Path) -> None:
    """Every answer that was shown as a JSON line."""
    write_json_lines(path, (line for result in results for line in rounds_mapping(result)))


def incomplete(results: Sequence[SimulationResult], *, cache: Path) -> HydraError | None:
    """The error a simulation ends with where answers are missing, and how to go on."""
    missing = sum(result.missing for result in results)
    if not missing:
        return None
    return unfinished(
        f"{missing} rounds lack an answer", [result.error for result in results], cache=cache
    )
