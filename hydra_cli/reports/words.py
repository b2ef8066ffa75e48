"""What an evaluation found, in sentences for people."""

from __future__ import annotations

import math
from collections.abc import Sequence

from hydra_cli.evaluation.results import TaskResult, average_gains
from hydra_cli.evaluation.verdict import NEEDED_USERS, OURS, Verdict, is_few, verdict_on

CHANCE = {True: "the difference is beyond chance", False: "the difference could be chance"}


def headline(results: Sequence[TaskResult]) -> str:
    """The verdict on the whole run in one sentence."""
    if len(results) == 1:
        return verdict(results[0])
    gain = average_gains(results, "either").get(OURS)
    if gain is None:
        return f"There is no verdict over all {len(results)} tasks: see each task's own."
    users = sum(result.users for result in results)
    beyond = (gain.low > 0 or gain.high < 0) and users >= NEEDED_USERS
    return (
        f"Over {len(results)} tasks {OURS} is {abs(gain.value):.0%} "
        f"{'better' if gain.value >= 0 else 'worse'} on average than the better of each "
        f"task's best prompt and best answer without an LLM; {CHANCE[beyond]}."
    )


def verdict(result: TaskResult) -> str:
    """The verdict on one task in one sentence."""
    found = verdict_on(result)
    if found is None:
        if not result.best:
            return "There is no verdict: neither a prompt nor a control answered every query."
        if not any(m.family == "personalized" for m in result.methods.values()):
            return (
                f"Of prompts and controls, {result.best['either']} is the best; no personalized "
                "method was run beside them."
            )
        return "There is no verdict: the personalized method did not answer every query."
    return sentence(result, found)


def sentence(result: TaskResult, found: Verdict) -> str:
    """A verdict in the task's own measure."""
    ours, theirs = _figures(result, found)
    rival = "the best prompt" if found.needs_llm else "the best answer without an LLM"
    against = f"{rival} ({found.against})"
    if result.kind == "rating":
        off = f"{ours} points off on average, those of {against} {theirs}"
        told = f"{found.method}'s ratings are {off}"
    elif result.kind == "classification":
        told = f"{found.method} is right {ours}, {against} {theirs}"
    else:
        match = f"{ours}, those of {against} to {theirs}"
        told = f"{found.method}'s answers match the references to {match}"
    chance = CHANCE[found.beyond_chance]
    if found.difference.low == found.difference.high == 0:
        chance = "there is no difference"
    return f"With each user's history, {told}; {chance}."


def few(result: TaskResult) -> str | None:
    """That there are few queries, and what shows on so few; None where there are enough."""
    if not is_few(result):
        return None
    counted = f"{result.queries} queries of {result.users} users are few"
    found = verdict_on(result)
    if found is None or not math.isfinite(found.visible):
        return f"{counted}: small differences do not show."
    return f"{counted}: only differences above about {amount(result, found.visible)} show."


def amount(result: TaskResult, quality: float) -> str:
    """A difference in quality in the task's own measure."""
    if result.kind == "rating":
        return f"{quality * result.scale:.2f} points"
    if result.kind == "classification":
        return f"{max(1, round(100 * quality))} answers in 100"
    return f"{max(1, round(100 * quality))} percentage points"


def grade(result: TaskResult, quality: float) -> str:
    """One answer's grade."""
    if result.kind == "rating":
        off = (1 - quality) * result.scale
        return "right" if off < 1e-9 else f"{off:g} off"
    if result.kind == "classification":
        return "right" if quality == 1 else "wrong"
    return f"match {quality:.0%}"


def _figures(result: TaskResult, found: Verdict) -> tuple[str, str]:
    if result.kind == "rating":
        ours, theirs = ((1 - x) * result.scale for x in (found.ours, found.theirs))
        return f"{ours:.2f}", f"{theirs:.2f}"
    if result.kind == "generation":
        return f"{found.ours:.0%}", f"{found.theirs:.0%}"
    # Tenths where they tell the two apart, hundredths where they don't.
    whole = 10 if round(10 * found.ours) != round(10 * found.theirs) else 100
    first, second = round(whole * found.ours), round(whole * found.theirs)
    return f"{_times(first)} out of {whole}", f"{second}"


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"
