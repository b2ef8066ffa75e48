"""What ``fit`` came to: which stage is on for whom, how much it helps, what to do next."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import typer

from hydra_cli.core.verdicts import STAGES, Gate, Stage
from hydra_cli.shown import words

if TYPE_CHECKING:
    from hydra_cli.core.tasks import TaskSpec
    from hydra_cli.workflows.fit import FitReport, UserFit

MOST_LINES = 20


def render(
    reports: Sequence[FitReport], tasks: Sequence[TaskSpec], *, as_json: bool, verbose: bool
) -> None:
    from hydra_cli.cli.render import print_json, printable, say
    from hydra_cli.cli.render_usage import usage_line

    if as_json:
        print_json([as_mapping(r, task) for r, task in zip(reports, tasks, strict=True)])
        return
    for report, task in zip(reports, tasks, strict=True):
        for text in [title(report), *stage_lines(report, task), *user_lines(report, task)]:
            typer.echo(printable(text))
        if verbose:
            _print_figures(report)
        typer.echo(printable(f"  next: {next_command(report, several=len(reports) > 1)}"))
        if report.usage.calls or report.usage.cached_calls:
            say(usage_line(report.usage))


def title(report: FitReport) -> str:
    """``replies: 2 users fitted, base trained on 2 users, no LLM was asked``."""
    count = len(report.fitted)
    who = report.fitted[0].user if count == 1 else f"{count} users"
    parts = [f"{who} fitted"]
    if report.base_users:
        parts.append(f"base trained on {report.base_users} users")
    elif report.judged_users:
        parts.append(f"base judged anew on {report.judged_users} users")
    asked = f"with {report.evidence}" if report.asked else "no LLM was asked"
    if not report.asked and report.evidence != "history":
        asked += f", what {report.evidence} answered earlier still judges"
    return f"{report.task}: {', '.join([*parts, asked])}"


def stage_lines(report: FitReport, task: TaskSpec) -> list[str]:
    """Each stage: on for whom, and by how much it helps."""
    if len(report.fitted) == 1:
        gate = report.fitted[0].gate
        found = {words.NAMES[stage]: words.line(gate.verdicts[stage], task) for stage in STAGES}
    else:
        gate = report.base_gate
        found = {words.NAMES[stage]: _for_all(report, stage, task) for stage in STAGES}
    if task.closed:
        found[words.ANSWERS] = _answers(report, gate, task)
    return [f"  {name:8}  {told}" for name, told in found.items()]


def _answers(report: FitReport, gate: Gate, task: TaskSpec) -> str:
    """How many answers are asked for, and for how many users it is another number."""
    told = words.answers_line(gate.answers, task)
    others = sum(one.gate.n != gate.n for one in report.fitted)
    return f"{told}; other numbers for {others} of {len(report.fitted)} users" if others else told


def user_lines(report: FitReport, task: TaskSpec) -> list[str]:
    """A line for each user for whom other stages are on than for most."""
    if len(report.fitted) < 2:
        return []
    usual = Counter(_switches(one.gate) for one in report.fitted).most_common(1)[0][0]
    found = []
    for one in report.fitted:
        for stage, on, most in zip(STAGES, _switches(one.gate), usual, strict=True):
            if on != most:
                told = words.line(one.gate.verdicts[stage], task)
                found.append(f"  {one.user}: {words.NAMES[stage]} {told}")
    if len(found) > MOST_LINES:
        return [*found[:MOST_LINES], f"  ... and {len(found) - MOST_LINES} more (--json has all)"]
    return found


def next_command(report: FitReport, *, several: bool) -> str:
    """The one command that gets the user on."""
    user = report.fitted[0].user if len(report.fitted) == 1 else None
    named = f" --user {_quoted(user)}" if user else ""
    of = f" --task {_quoted(report.task)}" if several else ""
    gates = [one.gate for one in report.fitted] or [report.base_gate]
    untested = any(v.code == "untested" for gate in gates for v in gate.verdicts.values())
    if report.evidence == "history" and untested:
        again = named or " --base"
        return f"hydra-pers fit{again}{of} --supervision llm   (asks the LLM to judge the rest)"
    asker = user or (report.fitted[0].user if report.fitted else "NAME")
    return f'hydra-pers ask "..." --user {_quoted(asker)}{of}'


def as_mapping(report: FitReport, task: TaskSpec) -> dict[str, Any]:
    """Everything about a fit, for machines."""
    from dataclasses import asdict

    return {
        "task": report.task,
        "recipe": report.recipe,
        "supervision": f"llm ({report.evidence})" if report.asked else "history",
        "judged_by": report.evidence,
        "base_users": report.base_users,
        "base_lines": _lines(report.base_gate, task),
        "base_gate": report.base_gate.card,
        "fitted": [_user_mapping(one, task) for one in report.fitted],
        "usage": asdict(report.usage),
        "seconds": dict(report.seconds),
        "next": next_command(report, several=True).partition("   ")[0],
    }


def _user_mapping(one: UserFit, task: TaskSpec) -> dict[str, Any]:
    return {
        "user": one.user,
        "records": one.records,
        "examples": one.examples,
        "rerank": one.gate.rerank,
        "adapt": one.gate.adapt,
        "lines": _lines(one.gate, task),
        "gate": one.gate.card,
        "bytes": one.bytes,
    }


def _lines(gate: Gate, task: TaskSpec) -> list[str]:
    found = [f"{words.NAMES[stage]} {words.line(v, task)}" for stage, v in gate.verdicts.items()]
    if task.closed:
        found.append(f"{words.ANSWERS} {words.answers_line(gate.answers, task)}")
    return found


def _for_all(report: FitReport, stage: Stage, task: TaskSpec) -> str:
    on = sum(one.gate.verdicts[stage].on for one in report.fitted)
    total = len(report.fitted)
    verdict = report.base_gate.verdicts[stage]
    if on in (0, total) and (on > 0) == verdict.on:
        return f"{'on' if on else 'off'} for everyone{words.reason(verdict, task)}"
    return f"on for {on} of {total} users; over all users {words.line(verdict, task)}"


def _switches(gate: Gate) -> tuple[bool, ...]:
    return tuple(gate.verdicts[stage].on for stage in STAGES)


def _print_figures(report: FitReport) -> None:
    from hydra_cli.cli.render import print_table

    rows = []
    for one in report.fitted:
        for stage in STAGES:
            verdict = one.gate.verdicts[stage]
            gain = verdict.gain
            figures = ("", "", "", "")
            if gain is not None:
                figures = (
                    f"{gain.mean:+.3f} ± {gain.sd:.3f}",
                    f"{gain.probability:.0%}",
                    f"{gain.own} + {gain.others}",
                    verdict.baseline,
                )
            rows.append((one.user, words.NAMES[stage], verdict.code, *figures))
    columns = ("user", "stage", "verdict", "gain", "> 0", "own + others", "over")
    print_table(f"{report.task} ({report.recipe})", columns, rows)


def _quoted(text: str) -> str:
    import shlex

    return shlex.quote(text)
