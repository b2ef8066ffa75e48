"""The line that ends every command that called an LLM."""

from __future__ import annotations

from hydra_cli.core.records import Usage


def usage_line(usage: Usage, *, verb: str = "used") -> str:
    """``used: 12 calls (3 cached), 4,210 + 96 tokens, cost unknown, 14.2 s``.

    The calls and tokens include those of cached answers; cost and seconds are
    of the calls that were made.
    """
    calls = usage.calls + usage.cached_calls
    parts = [f"{calls:,} call{'' if calls == 1 else 's'}"]
    if usage.cached_calls:
        parts[0] += f" ({usage.cached_calls:,} cached)"
    parts.append(f"{usage.prompt_tokens:,} + {usage.completion_tokens:,} tokens")
    parts.append(cost_text(usage.cost))
    if usage.seconds:
        parts.append(f"{usage.seconds:,.1f} s")
    return f"{verb}: {', '.join(parts)}"


def cost_text(cost: float | None) -> str:
    """Dollars as people read them; an unknown price says so."""
    if cost is None:
        return "cost unknown"
    if cost == 0:
        return "no cost"
    if cost < 0.01:
        return f"${cost:.2g}" if cost >= 1e-4 else "under $0.0001"
    return f"${cost:,.2f}"
