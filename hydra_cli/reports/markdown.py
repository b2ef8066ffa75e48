"""An evaluation as Markdown."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from hydra_cli.core.statistics import Estimate
from hydra_cli.evaluation.results import MethodResult, TaskResult, average_gains, left_out

_COLUMNS = ["gain", "95 % interval", "above 0", "calls", "setup calls", "tokens", "cost", "seconds"]


def page(results: Sequence[TaskResult], plots: Mapping[str, str]) -> str:
    """All tables; ``plots`` maps titles to the file names of their pictures."""
    parts = ["# Evaluation", "", *head(results)]
    if len(results) > 1:
        parts += ["", "## Average over tasks", "", *average_table(results)]
    for result in results:
        parts += ["", f"## {result.task}", "", *task_section(result)]
    for title, name in plots.items():
        parts += ["", f"## {title}", "", f"![{title}]({name})"]
    parts += ["", "## How to read this", "", *reading()]
    return "\n".join(parts) + "\n"


def head(results: Sequence[TaskResult]) -> list[str]:
    first = results[0]
    settings = first.settings
    return [
        f"LLM `{first.model}`, encoder `{settings['encoder']}`, k = {settings['k']}, "
        f"n = {settings['n']}, temperature {settings['temperature']}, "
        f"seeds {', '.join(map(str, first.seeds))}.",
    ]


def average_table(results: Sequence[TaskResult]) -> list[str]:
    """The mean relative gain over tasks, and each task's own."""
    tasks = [result.task for result in results]
    lines = [
        "Relative gain over each task's best prompt-based method: the mean of the task's two "
        "metrics, in the better direction.",
        "",
        row(["method", *tasks, "average", "95 % interval", "above 0"]),
        row(["---", *(["---:"] * (len(tasks) + 3))]),
    ]
    for name, gain in average_gains(results).items():
        each = [result.methods[name].gain for result in results]
        lines.append(
            row(
                [
                    label(results[0].methods[name]),
                    *(percent(found.value) if found else "–" for found in each),
                    percent(gain.value),
                    span(gain),
                    f"{gain.above_zero:.0%}",
                ]
            )
        )
    if left := left_out(results):
        lines += [
            "",
            f"Not averaged, since not every task has a gain of theirs: {', '.join(left)}.",
        ]
    return lines


def task_section(result: TaskResult) -> list[str]:
    metrics = [f"{m.name} {'↑' if m.higher else '↓'}" for m in result.metrics]
    lines = [
        f"{result.queries} queries of {result.users} users; trained on "
        f"{result.train_examples} examples of {result.train_users} users. Gains are against "
        f"{f'`{result.best_prompt_based}`' if result.best_prompt_based else 'nothing'}.",
        "",
        row(["method", "scored", *metrics, *_COLUMNS]),
        row(["---", *(["---:"] * (len(metrics) + 1 + len(_COLUMNS)))]),
    ]
    lines += [row(cells(method, result)) for method in result.methods.values()]
    for note in result.notes:
        lines += ["", f"*{note}*"]
    if not result.complete:
        lines += ["", "**Incomplete: some answers failed.** Figures cover the queries scored."]
    return lines


def cells(method: MethodResult, result: TaskResult) -> list[str]:
    spent = method.usage + method.setup
    figures = []
    for metric in result.metrics:
        if metric.name not in method.metrics:
            figures.append("–")
            continue
        low, high = method.intervals[metric.name]
        figures.append(f"{method.metrics[metric.name]:.3f} [{low:.3f}, {high:.3f}]")
    gain = method.gain
    return [
        label(method),
        f"{method.queries}/{result.queries}" + ("" if method.complete else " incomplete"),
        *figures,
        percent(gain.value) if gain else "–",
        span(gain) if gain else "–",
        f"{gain.above_zero:.0%}" if gain and math.isfinite(gain.above_zero) else "–",
        f"{method.usage.calls + method.usage.cached_calls:,}",
        f"{method.setup.calls + method.setup.cached_calls:,}",
        f"{spent.prompt_tokens + spent.completion_tokens:,}",
        "unknown" if spent.cost is None else f"${spent.cost:.4f}" if spent.cost else "0",
        f"{method.seconds:,.1f}",
    ]


def reading() -> list[str]:
    return [
        "- Intervals are 95 % percentile intervals of a paired bootstrap over users: users are "
        "drawn with all their queries, and all methods are read on the same draws. *above 0* is "
        "the share of draws in which the gain is positive.",
        "- The best prompt-based method is picked on these same queries, which favours it.",
        "- `oracle` picks the best of the n answers by the reference. It is a bound, no method.",
        "- `majority`, `median` and `knn` ask no LLM.",
        "- *calls* answered the queries, *setup calls* made labels, fits, gates and summaries. "
        "Calls that several methods share are counted for each of them, and were made once.",
        "- *seconds* is a method's own time plus its LLM calls one after another, cached ones too.",
    ]


def label(method: MethodResult) -> str:
    return f"{method.name} (bound)" if method.family == "bound" else method.name


def percent(value: float) -> str:
    return f"{100 * value:+.1f} %" if math.isfinite(value) else "undefined"


def span(found: Estimate) -> str:
    if not math.isfinite(found.low):
        return "–"
    return f"{100 * found.low:+.1f} … {100 * found.high:+.1f} %"


def row(parts: Sequence[str]) -> str:
    escaped = [part.replace("|", "\\|").replace("\n", " ") for part in parts]
    return f"| {' | '.join(escaped)} |"
