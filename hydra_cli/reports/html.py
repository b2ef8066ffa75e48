"""An evaluation as one self-contained HTML page: no script, no request to anywhere."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from hydra_cli.reports.content import (
    Block,
    Code,
    Heading,
    Items,
    Plots,
    Table,
    Text,
    is_ours,
)
from hydra_cli.reports.examples import Example

_STYLE = """
:root { color-scheme: light dark; --ground: #fdfdfb; --ink: #1b1b1b; --soft: #5c5c58;
        --line: #d8d8d2; --card: #f4f4ef; --won: #b04a17; --lost: #2c68ad; }
@media (prefers-color-scheme: dark) {
  :root { --ground: #16181b; --ink: #e8e8e8; --soft: #a5a8ad; --line: #3a3d42; --card: #1e2125;
          --won: #f08a55; --lost: #7fb0ea; }
}
* { box-sizing: border-box; }
body { background: var(--ground); color: var(--ink); margin: 1.5rem auto; max-width: 65rem;
       padding: 0 1rem; font: 16px/1.5 system-ui, sans-serif; }
h1, h2, h3 { line-height: 1.25; } h2 { margin-top: 2.5rem; }
.verdict { font-size: 1.25rem; line-height: 1.4; font-weight: 600; max-width: 46rem; }
.warning { border-left: 4px solid var(--won); padding-left: .75rem; }
.note, .about { color: var(--soft); font-size: .9rem; max-width: 46rem; }
.wide { overflow-x: auto; margin: 1.25rem 0; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 14px; }
caption { text-align: left; font-weight: 600; padding: .25rem 0; }
th, td { border-bottom: 1px solid var(--line); padding: .3rem .6rem; text-align: right;
         white-space: nowrap; font-weight: 400; }
thead th { font-weight: 600; }
th:first-child { text-align: left; position: sticky; left: 0; background: var(--ground); }
tr.ours > * { font-weight: 700; }
.plots { display: inline-block; vertical-align: top; width: 100%; max-width: 29rem;
         margin: 1rem 1.5rem 1rem 0; }
.plots svg { width: 100%; height: auto; display: block; }
figcaption { font-weight: 600; } figcaption .about { font-weight: 400; display: block; }
.example { background: var(--card); border-radius: .5rem; padding: .75rem 1rem; margin: 1rem 0; }
.example > strong { color: var(--lost); } .example.won > strong { color: var(--won); }
.sides { display: grid; gap: .25rem 1rem;
         grid-template-columns: repeat(auto-fit, minmax(min(100%, 17rem), 1fr)); }
.said dt { color: var(--soft); font-size: .85rem; margin-top: .5rem; }
.said { margin: 0; } .said dd { margin: 0; white-space: pre-wrap; overflow-wrap: anywhere; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; background: var(--card); padding: .75rem;
      border-radius: .5rem; }
"""


def page(blocks: Sequence[Block]) -> str:
    """The report's blocks as a page."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Evaluation</title><style>{_STYLE}</style></head>\n"
        f"<body><main>{''.join(_block(block) for block in blocks)}</main></body></html>\n"
    )


def _block(block: Block) -> str:
    match block:
        case Heading(level, text):
            return f"<h{level}>{_text(text)}</h{level}>"
        case Text(text, kind):
            return f"<p{f' class={kind}' if kind else ''}>{_text(text)}</p>"
        case Table():
            return _table(block)
        case Plots():
            return _plots(block)
        case Code(text):
            return f"<pre><code>{_text(text)}</code></pre>"
        case Items(lines):
            return f"<ul>{''.join(f'<li>{_text(line)}</li>' for line in lines)}</ul>"
        case Example():
            return _example(block)


def _table(table: Table) -> str:
    heads = "".join(f'<th scope="col">{_text(name)}</th>' for name in table.columns)
    body = "".join(
        f"<tr{' class=ours' if is_ours(cells[0]) else ''}>"
        f'<th scope="row">{_text(cells[0])}</th>'
        + "".join(f"<td>{_text(cell)}</td>" for cell in cells[1:])
        + "</tr>"
        for cells in table.rows
    )
    caption = _text(table.caption)
    # A reader without a mouse can reach a table that is wider than the screen.
    return (
        f'<div class="wide" role="region" tabindex="0" aria-label="{caption}"><table>'
        f"<caption>{caption}</caption><thead><tr>{heads}</tr></thead><tbody>{body}</tbody>"
        "</table></div>"
    )


def _plots(plots: Plots) -> str:
    title = f"{_text(plots.title)} <span class=about>{_text(plots.about)}</span>"
    pictures = "".join(item.svg for item in plots.items)
    return f'<figure class="plots"><figcaption>{title}</figcaption>{pictures}</figure>'


def _example(example: Example) -> str:
    said = [_said("Query", example.query), _said("Reference", example.reference)]
    answers = [
        _said(f"{answer.method}: {answer.grade}", answer.text or "(empty)")
        for answer in example.answers
    ]
    word = "Won" if example.won else "Lost"
    return (
        f'<section class="example{" won" if example.won else ""}"><strong>{word}</strong>'
        f'{said[0]}<div class="sides">{said[1]}{"".join(answers)}</div></section>'
    )


def _said(title: str, text: str) -> str:
    return f'<dl class="said"><dt>{_text(title)}</dt><dd dir="auto">{_text(text)}</dd></dl>'


def _text(text: str) -> str:
    """Escaped, and without the control characters that HTML forbids."""
    return escape(visible(text))


def visible(text: str) -> str:
    """Control characters made visible; line breaks and tabs stay."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n")
    return "".join("\N{REPLACEMENT CHARACTER}" if _is_control(c) else c for c in lines)


def _is_control(c: str) -> bool:
    return c not in "\n\t" and (ord(c) < 32 or 127 <= ord(c) < 160 or 0xD800 <= ord(c) < 0xE000)
