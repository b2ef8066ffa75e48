"""Evaluations as tables and JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from hydra_cli.cli.render import print_json, print_line, print_table, say
from hydra_cli.cli.render_usage import cost_text, usage_line
from hydra_cli.core.records import Usage
from hydra_cli.core.statistics import Estimate
from hydra_cli.evaluation import text_measures
from hydra_cli.evaluation.as_json import suite_mapping
from hydra_cli.evaluation.results import (
    Baseline,
    Contrast,
    MethodResult,
    Provenance,
    TaskResult,
    apart,
    average_gains,
    left_out,
)
from hydra_cli.reports.words import few, headline, verdict

OVER: Mapping[Baseline, str] = {
    "prompt": "each task's best prompt-based method",
    "control": "each task's best answer without an LLM",
    "either": "the better of both",
}


def render(results: Sequence[TaskResult], made: Provenance, *, as_json: bool) -> None:
    """The verdict, all tasks, their averages, and what the run used."""
    if as_json:
        print_json(suite_mapping(results, made))
    else:
        for result in results:
            render_task(result)
        if len(results) > 1:
            for baseline, words in OVER.items():
                if averages := average_gains(results, baseline):
                    print_table(
                        f"Average gain over {words}, {len(results)} tasks",
                        ("method", "gain", "95 %", "above 0"),
                        [
                            (name, percent(found.value), span(found), f"{found.above_zero:.0%}")
                            for name, found in averages.items()
                        ],
                        names_first=True,
                    )
            if left := left_out(results):
                say(f"without an average, since they have no gain on some task: {', '.join(left)}")
            print_line(headline(results))
    say(usage_line(sum((result.used for result in results), Usage())))


def render_task(result: TaskResult) -> None:
    print_line(verdict(result))
    if told := few(result):
        print_line(told)
    leading = [metric for metric in result.metrics if metric.name not in text_measures.NAMES]
    names = [metric.name for metric in leading]
    against = result.best_prompt_based or "nothing: no prompt answered every query"
    shown = [f"{m.name}\n{'↑' if m.higher else '↓'}" for m in leading]
    print_table(
        f"{result.task}: {result.queries} queries of {result.users} users, {result.model}, "
        f"k={result.settings['k']}, n={result.settings['n']}, "
        f"seeds {', '.join(map(str, result.seeds))}; "
        f"gains are against {against}",
        ("method", *shown, "gain", "95 %"),
        [quality_row(method, names) for method in result.methods.values()],
        names_first=True,
    )
    if len(leading) < len(result.metrics):
        print_table(
            f"{result.task}: three measures of a text",
            ("method", "ROUGE", "meaning", "style"),
            measure_rows(result),
            names_first=True,
        )
    if found := apart(result):
        seen = len(result.seen)
        print_table(
            f"{result.task}: mean quality on items that training users' records hold, and others",
            ("method", f"seen ({seen})", f"unseen ({result.queries - seen})"),
            [(name, f"{one:.3f}", f"{two:.3f}") for name, (one, two) in found.items()],
            names_first=True,
        )
    if control := result.best.get("control"):
        print_table(
            f"{result.task}: gains over the best answer without an LLM ({control}), "
            f"and over the better of it and the best prompt ({result.best['either']})",
            ("method", "control", "95 %", "better of both", "95 %"),
            [control_row(method) for method in result.methods.values()],
            names_first=True,
        )
    print_table(
        f"{result.task}: what each method would take alone",
        ("method", "scored", "calls", "setup", "tokens", "cost", "seconds"),
        [cost_row(method, result.queries) for method in result.methods.values()],
        names_first=True,
    )
    if cut := {name: method.cut for name, method in result.methods.items() if method.cut}:
        counts = ", ".join(f"{count} of {name}" for name, count in cut.items())
        say(f"{result.task}: answers cut at answer_tokens, which is too low: {counts}")
    if result.contrasts:
        print_table(
            f"{result.task}: mean quality as it is, minus with one thing changed",
            ("method", "changed", "difference", "95 %", "above 0"),
            [contrast_row(each) for each in result.contrasts],
            names_first=True,
        )
    for note in result.notes:
        say(f"{result.task}: {note}")


def quality_row(method: MethodResult, names: Sequence[str]) -> tuple[str, ...]:
    unknown = "-" if method.complete else "INCOMPLETE"
    return (
        shown_name(method),
        *(f"{method.metrics[name]:.3f}" if name in method.metrics else "-" for name in names),
        percent(method.gain.value) if method.gain else unknown,
        span(method.gain) if method.gain else "-",
    )


def measure_rows(result: TaskResult) -> list[tuple[str, ...]]:
    """Quality, meaning and style of each method, and the style of what the users really wrote."""
    rows = [
        (
            shown_name(method),
            f"{method.quality:.3f}",
            *(
                f"{method.metrics[name]:.3f}" if name in method.metrics else "-"
                for name in text_measures.NAMES
            ),
        )
        for method in result.methods.values()
        if method.metrics
    ]
    if result.own_style is not None:
        rows.append(("the users' own texts", "1.000", "1.000", f"{result.own_style:.3f}"))
    return rows


def control_row(method: MethodResult) -> tuple[str, ...]:
    cells = [shown_name(method)]
    for found in (method.gains.get("control"), method.gains.get("either")):
        cells += [percent(found.value), span(found)] if found else ["-", "-"]
    return tuple(cells)


def cost_row(method: MethodResult, queries: int) -> tuple[str, ...]:
    spent = method.usage + method.setup
    return (
        shown_name(method),
        f"{method.queries}/{queries}",
        f"{method.usage.calls + method.usage.cached_calls:,}",
        f"{method.setup.calls + method.setup.cached_calls:,}",
        f"{spent.prompt_tokens + spent.completion_tokens:,}",
        cost_text(spent.cost),
        f"{method.seconds:,.1f}",
    )


def contrast_row(found: Contrast) -> tuple[str, ...]:
    points = found.points
    return (
        found.method,
        found.against.removeprefix(found.method),
        f"{points.value:+.3f}",
        f"{points.low:+.3f} … {points.high:+.3f}",
        f"{points.above_zero:.0%}",
    )


def shown_name(method: MethodResult) -> str:
    return f"{method.name} (bound)" if method.family == "bound" else method.name


def percent(value: float) -> str:
    return f"{value:+.1%}" if math.isfinite(value) else "-"


def span(found: Estimate) -> str:
    """The interval, as in ``+1% … +40%``."""
    ends = (f"{x:+.0%}" if math.isfinite(x) else "-" for x in (found.low, found.high))
    return " … ".join(ends)
