"""What LLM calls would use: the table that ends every dry run."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from hydra_cli.cli.render import print_json, print_line, print_table
from hydra_cli.cli.render_usage import cost_text

if TYPE_CHECKING:
    from hydra_cli.workflows.pricing import Price


def render_price(price: Price, *, as_json: bool, show_prompt: bool = False, why_none: str) -> None:
    """The table, its total and the time; ``why_none`` says what needs no LLM at all."""
    prompt = price.prompt if show_prompt else ()
    if as_json:
        print_json(
            {
                "model": price.model,
                "stages": {name: asdict(usage) for name, usage in price.stages.items()},
                "total": asdict(price.total),
                "seconds": price.seconds,
                "seconds_from": "earlier calls" if price.timed_calls else "assumption",
                "prompt": list(prompt) or None,
            }
        )
        return
    if not price.total.calls:
        kept = price.total.cached_calls
        print_line(
            f"No LLM call and no cost: {'every answer is kept already.' if kept else why_none}"
        )
    else:
        _print_table(price)
        print_line(time_line(price))
    for message in prompt:
        print_line(f"[{message['role']}] {message['content']}")


def _print_table(price: Price) -> None:
    print_table(
        f"What {price.model} would be asked for",
        ("stage", "calls", "cached", "prompt tokens", "answer tokens", "cost"),
        [
            (
                name,
                f"{usage.calls:,}",
                f"{usage.cached_calls:,}",
                f"{usage.prompt_tokens:,}",
                f"{usage.completion_tokens:,}",
                cost_text(usage.cost),
            )
            for name, usage in [*price.stages.items(), ("all", price.total)]
        ],
    )


def time_line(price: Price) -> str:
    """``about 3 minutes, 8 calls at a time, as 34 earlier calls took``."""
    from hydra_cli.llm.estimates import CALL_SECONDS, LOCAL_TOKENS

    embedded = price.at_once == 1 and price.model.startswith("local/")
    several = f", {price.at_once} calls at a time" if price.at_once > 1 else ""
    if price.timed_calls:
        calls = f"{price.timed_calls:,} earlier call{'' if price.timed_calls == 1 else 's'}"
        return f"about {duration(price.seconds)}{several}, as {calls} took"
    assumed = (
        f"{LOCAL_TOKENS:g} tokens a second" if embedded else f"{CALL_SECONDS:g} seconds a call"
    )
    return f"about {duration(price.seconds)}{several}, assuming {assumed}: no earlier call tells"


def duration(seconds: float) -> str:
    """Rounded as people say it."""
    if seconds < 90:
        count, unit = max(1, round(seconds)), "second"
    elif seconds < 90 * 60:
        count, unit = round(seconds / 60), "minute"
    else:
        count, unit = round(seconds / 3600), "hour"
    return f"{count} {unit}{'' if count == 1 else 's'}"
