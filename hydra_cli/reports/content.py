"""What a report says, in blocks that HTML and Markdown write each in their own way."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from hydra_cli.core.statistics import Estimate
from hydra_cli.evaluation import text_measures
from hydra_cli.evaluation.results import (
    Baseline,
    MethodResult,
    Provenance,
    TaskResult,
    apart,
    average_gains,
    left_out,
)
from hydra_cli.evaluation.verdict import OURS
from hydra_cli.reports import plots
from hydra_cli.reports.examples import Example, examples
from hydra_cli.reports.plots import Plot
from hydra_cli.reports.words import few, headline, verdict


@dataclass(frozen=True, slots=True)
class Heading:
    """Of level 1 to 3."""

    level: int
    text: str


@dataclass(frozen=True, slots=True)
class Text:
    """A paragraph. ``kind``: the verdict, a warning, a side note, or plain."""

    text: str
    kind: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of cells; the first cell names the row."""

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Plots:
    """Pictures of one kind, side by side where there is room."""

    title: str
    about: str
    items: tuple[Plot, ...]


@dataclass(frozen=True, slots=True)
class Code:
    """A command, word by word."""

    text: str


@dataclass(frozen=True, slots=True)
class Items:
    """A list."""

    lines: tuple[str, ...]


Block = Heading | Text | Table | Plots | Code | Items | Example


def report(results: Sequence[TaskResult], made: Provenance) -> list[Block]:
    """The whole report: verdict, tables, plots, examples, how it was made."""
    several = len(results) > 1
    blocks: list[Block] = [
        Heading(1, "Evaluation"),
        Text(headline(results), "verdict"),
        Text(_made(results, made), "note"),
    ]
    if several:
        blocks += _average(results)
    for result in results:
        if several:
            blocks += [Heading(2, result.task), Text(verdict(result), "verdict")]
        blocks += _task(result, level=3 if several else 2)
    first = results[0]
    settings = ", ".join(f"{name} {setting_text(value)}" for name, value in first.settings.items())
    return [
        *blocks,
        Heading(2, "How to make this run again"),
        Code(made.command),
        Text(f"In force: {settings}.", "note"),
        Heading(2, "How to read this"),
        Items(READING),
    ]


def _made(results: Sequence[TaskResult], made: Provenance) -> str:
    queries = sum(result.queries for result in results)
    tasks = f"{len(results)} tasks" if len(results) > 1 else f"task {results[0].task}"
    users = sum(result.users for result in results)
    return (
        f"{made.at.day} {made.at:%B %Y, %H:%M %Z}, hydra-pers {made.version}, "
        f"LLM {results[0].model}, {tasks}, {queries} queries of {users} users."
    )


def _average(results: Sequence[TaskResult]) -> list[Block]:
    rows = tuple(
        (
            label(results[0].methods[name]),
            *(
                percent(found.value) if (found := result.methods[name].gain) else "–"
                for result in results
            ),
            percent(gain.value),
            span(gain),
            f"{gain.above_zero:.0%}",
        )
        for name, gain in average_gains(results).items()
    )
    names = tuple(result.task for result in results)
    blocks: list[Block] = [
        Heading(2, "Average over tasks"),
        Table(
            "Gain over each task's best prompt-based method",
            ("method", *names, "average", "95 % interval", "above 0"),
            rows,
        ),
    ]
    columns = ("method", "average", "95 % interval", "above 0")
    overs: tuple[tuple[Baseline, str], ...] = (
        ("control", "Gain over each task's best answer without an LLM"),
        ("either", "Gain over the better of best prompt and best answer without an LLM"),
    )
    for baseline, title in overs:
        if averages := average_gains(results, baseline):
            cells = tuple(
                (
                    label(results[0].methods[name]),
                    percent(gain.value),
                    span(gain),
                    f"{gain.above_zero:.0%}",
                )
                for name, gain in averages.items()
            )
            blocks.append(Table(title, columns, cells))
    if left := left_out(results):
        blocks.append(
            Text(
                f"Without an average, since they have no gain on some task: {', '.join(left)}.",
                "note",
            )
        )
    if picture := plots.average(results):
        blocks.append(Plots("Average gain", plots.FAMILIES, (picture,)))
    return blocks


def _task(result: TaskResult, *, level: int) -> list[Block]:
    blocks: list[Block] = []
    if told := few(result):
        blocks.append(Text(told, "warning"))
    if not result.complete:
        blocks.append(
            Text("Incomplete: some answers failed. Figures cover the queries scored.", "warning")
        )
    leading = [metric for metric in result.metrics if metric.name not in text_measures.NAMES]
    metrics = [f"{m.name} {'↑' if m.higher else '↓'}" for m in leading]
    methods = tuple(result.methods.values())
    best = result.best_prompt_based
    blocks += [
        Table(
            f"{result.task}: how good the answers are ("
            + (f"gains are against {best})" if best else "nothing to compare with)"),
            ("method", *metrics, "gain", "95 % interval", "above 0"),
            tuple(_quality(method, result) for method in methods),
        ),
        *_measures(result),
        *_apart(result),
        *_over_controls(result),
        Table(
            f"{result.task}: what each method would take alone",
            ("method", "scored", "calls", "setup calls", "tokens", "cost", "seconds"),
            tuple(_price(method, result) for method in methods),
        ),
        *_contrasts(result),
        Text(
            f"Trained on {result.train_examples} examples of {result.train_users} users."
            if result.train_examples
            else "No method was trained.",
            "note",
        ),
        *(Text(note, "note") for note in result.notes),
    ]
    for title, about, made in (
        ("Gain over the best prompt", plots.FAMILIES, plots.gains(result)),
        ("Each user's difference", "A bar is a user, sorted.", plots.user_gains(result)),
        ("Quality and LLM calls", plots.FAMILIES, plots.quality_against_calls(result)),
        (
            "Learning curve",
            "The history cut to its newest records, and all of it.",
            plots.learning_curve(result),
        ),
        (
            "Quality and length of the history",
            "Each point is a group of queries of about equal size.",
            plots.quality_against_history(result),
        ),
    ):
        if made is not None:
            blocks.append(Plots(title, about, (made,)))
    rule, found = examples(result)
    if found:
        blocks += [Heading(level, "Example answers"), Text(rule, "note"), *found]
    return blocks


def _measures(result: TaskResult) -> list[Block]:
    """ROUGE, meaning and style of texts, with intervals."""
    if not any(metric.name in text_measures.NAMES for metric in result.metrics):
        return []
    rows = []
    for method in result.methods.values():
        cells = [label(method), f"{method.quality:.3f}"]
        for name in text_measures.NAMES:
            if name in method.metrics:
                low, high = method.intervals[name]
                cells.append(f"{method.metrics[name]:.3f} [{low:.3f}, {high:.3f}]")
            else:
                cells.append("–")
        rows.append(tuple(cells))
    if result.own_style is not None:
        rows.append(("the users' own texts", "1.000", "1.000", f"{result.own_style:.3f}"))
    return [
        Table(
            f"{result.task}: three measures of a text",
            ("method", "ROUGE ↑", "meaning ↑", "style ↑"),
            tuple(rows),
        ),
        Text(MEASURES, "note"),
    ]


def _apart(result: TaskResult) -> list[Block]:
    """Items that the base may remember apart from those it has to understand."""
    found = apart(result)
    if not found:
        return []
    seen = len(result.seen)
    about = f"{result.task}: mean quality on items that training users' records hold, and others"
    columns = ("method", f"seen ({seen})", f"unseen ({result.queries - seen})")
    rows = [
        (label(result.methods[name]), f"{one:.3f}", f"{two:.3f}")
        for name, (one, two) in found.items()
    ]
    return [Table(about, columns, tuple(rows))]


MEASURES = (
    "Meaning: likeness to the reference by stemmed words, rare ones counting more (tf-idf cosine). "
    "Style: how often a model of character n-grams, trained on the users' histories, picks the "
    "right one of ten users for the answer; the last row is its rate for what they really wrote."
)


def _over_controls(result: TaskResult) -> list[Block]:
    """Gains over what needs no LLM, and over the better of that and the best prompt."""
    control, either = result.best.get("control"), result.best.get("either")
    if control is None or either is None:
        return []
    about = (
        f"{result.task}: gains over the best answer without an LLM ({control}), and over the "
        f"better of it and the best prompt ({either})"
    )
    rows = []
    for method in result.methods.values():
        cells = [label(method)]
        for found in (method.gains.get("control"), method.gains.get("either")):
            cells += [percent(found.value), span(found)] if found else ["–", "–"]
        rows.append(tuple(cells))
    columns = ("method", "over control", "95 % interval", "over the better", "95 % interval")
    return [Table(about, columns, tuple(rows))]


def _contrasts(result: TaskResult) -> list[Block]:
    if not result.contrasts:
        return []
    rows = tuple(
        (
            each.method,
            each.against.removeprefix(each.method),
            f"{each.points.value:+.3f}",
            f"{each.points.low:+.3f} … {each.points.high:+.3f}",
            f"{each.points.above_zero:.0%}",
        )
        for each in result.contrasts
    )
    columns = ("method", "changed", "difference", "95 % interval", "above 0")
    about = f"{result.task}: mean quality as it is, minus with one thing changed"
    blocks: list[Block] = [Table(about, columns, rows)]
    if result.donors:
        blocks.append(Text(OTHERS, "note"))
    return blocks


OTHERS = (
    "@history=other: each user gets the history of the user nearest in length, all else equal; "
    "the difference is what the right history is worth."
)


def _quality(method: MethodResult, result: TaskResult) -> tuple[str, ...]:
    figures = []
    for metric in result.metrics:
        if metric.name in text_measures.NAMES:
            continue
        if metric.name not in method.metrics:
            figures.append("–")
            continue
        low, high = method.intervals[metric.name]
        figures.append(f"{method.metrics[metric.name]:.3f} [{low:.3f}, {high:.3f}]")
    gain = method.gain
    return (
        label(method),
        *figures,
        percent(gain.value) if gain else "–" if method.complete else "incomplete",
        span(gain) if gain else "–",
        f"{gain.above_zero:.0%}" if gain and math.isfinite(gain.above_zero) else "–",
    )


def _price(method: MethodResult, result: TaskResult) -> tuple[str, ...]:
    spent = method.usage + method.setup
    return (
        label(method),
        f"{method.queries}/{result.queries}" + ("" if method.complete else " incomplete"),
        f"{method.usage.calls + method.usage.cached_calls:,}",
        f"{method.setup.calls + method.setup.cached_calls:,}",
        f"{spent.prompt_tokens + spent.completion_tokens:,}",
        "unknown" if spent.cost is None else f"${spent.cost:.4f}" if spent.cost else "0",
        f"{method.seconds:,.1f}",
    )


READING = (
    "The verdict compares mean quality: right or wrong, how far off a rating is, or the mean of "
    "ROUGE-1 and ROUGE-L. Beyond chance: the 95 % interval of the difference leaves out 0, and at "
    "least six users differ.",
    "Intervals are 95 % percentile intervals of a paired bootstrap over users: users are drawn "
    "with all their queries, and all methods are read on the same draws; macro-F1's are a "
    "jackknife's. “Above 0” is the share of draws in which the gain is positive.",
    "Gains are geometric means: ratios to the baseline, averaged in logs over metrics and tasks.",
    "The best prompt-based method is picked on these same queries, which favours it.",
    "oracle picks the best of the n answers by the reference: an upper bound, out of reach in use.",
    "majority, median, knn, knn-all (records of all users) and lead (the query's first words) "
    "ask no LLM.",
    "“Calls” answered the queries; “setup calls” made labels, fits, gates and summaries. Calls "
    "that several methods share are counted for each of them, and were made once.",
    "“Seconds” is a method's own time plus its LLM calls one after another, cached ones too.",
)


def label(method: MethodResult) -> str:
    return f"{method.name} (upper bound)" if method.family == "bound" else method.name


def is_ours(name: str) -> bool:
    return name == OURS


def percent(value: float) -> str:
    return f"{100 * value:+.1f} %" if math.isfinite(value) else "undefined"


def span(found: Estimate) -> str:
    if not math.isfinite(found.low):
        return "–"
    return f"{100 * found.low:+.1f} … {100 * found.high:+.1f} %"


def setting_text(value: object) -> str:
    """A setting's value in words."""
    if isinstance(value, dict):
        return "(" + ", ".join(f"{name} {each}" for name, each in value.items()) + ")"
    return str(value)
