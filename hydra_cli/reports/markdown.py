"""An evaluation as Markdown: the same blocks as the page, plots as files beside it."""

from __future__ import annotations

import re
from collections.abc import Sequence

from hydra_cli.reports.content import Block, Code, Heading, Items, Plots, Table, Text
from hydra_cli.reports.examples import Example


def page(blocks: Sequence[Block]) -> str:
    """The report's blocks; a plot is the file ``NAME.svg``."""
    return "\n\n".join(part for block in blocks for part in _block(block)) + "\n"


def _block(block: Block) -> list[str]:
    match block:
        case Heading(level, text):
            return [f"{'#' * level} {text}"]
        case Text(text, kind):
            return [f"**{text}**" if kind in ("verdict", "warning") else text]
        case Table():
            lines = [row(block.columns), row(["---", *["---:"] * (len(block.columns) - 1)])]
            return [f"**{block.caption}**", "\n".join([*lines, *map(row, block.rows)])]
        case Plots():
            pictures = [
                f"![{re.sub(r'[][]', '', item.description)}]({item.name}.svg)"
                for item in block.items
            ]
            return [f"**{block.title}.** {block.about}", *pictures]
        case Code(text):
            return [fenced(text)]
        case Items(lines):
            return ["\n".join(f"- {line}" for line in lines)]
        case Example():
            parts = [f"**{'Won' if block.won else 'Lost'}**", "Query", fenced(block.query)]
            parts += ["Reference", fenced(block.reference)]
            for answer in block.answers:
                parts += [f"{answer.method}: {answer.grade}", fenced(answer.text)]
            return parts


def fenced(text: str) -> str:
    """The text word by word: a fence longer than any inside it."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{text}\n{fence}"


def row(parts: Sequence[str]) -> str:
    escaped = [part.replace("|", "\\|").replace("\n", " ") for part in parts]
    return f"| {' | '.join(escaped)} |"
