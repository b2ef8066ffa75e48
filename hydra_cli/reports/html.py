"""An evaluation as one self-contained HTML page: no script, no request to anywhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from hydra_cli.evaluation.results import TaskResult
from hydra_cli.reports import markdown

_STYLE = """
:root { color-scheme: light dark; --ground: #fdfdfb; --ink: #1b1b1b; --line: #d8d8d2; }
@media (prefers-color-scheme: dark) {
  :root { --ground: #16181b; --ink: #e8e8e8; --line: #3a3d42; }
}
body { background: var(--ground); color: var(--ink); margin: 2rem auto; max-width: 75rem;
       padding: 0 1rem; font: 15px/1.5 system-ui, sans-serif; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 13px; }
th, td { border-bottom: 1px solid var(--line); padding: .25rem .6rem; text-align: right;
         white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
tr.ours td { font-weight: 600; }
svg { width: 100%; height: auto; }
figure { margin: 2rem 0; }
figcaption { font-weight: 600; }
"""


def page(results: Sequence[TaskResult], plots: Mapping[str, str]) -> str:
    """Tables and plots; ``plots`` maps titles to inline SVG."""
    parts = [f"<h1>Evaluation</h1><p>{_text(' '.join(markdown.head(results)))}</p>"]
    if len(results) > 1:
        parts.append("<h2>Average over tasks</h2>")
        parts.append(_blocks(markdown.average_table(results)))
    for title, svg in plots.items():
        parts.append(f"<figure><figcaption>{escape(title)}</figcaption>{svg}</figure>")
    for result in results:
        parts.append(f"<h2>{escape(result.task)}</h2>")
        parts.append(_blocks(markdown.task_section(result)))
    parts.append("<h2>How to read this</h2><ul>")
    parts += [f"<li>{_text(line[2:])}</li>" for line in markdown.reading()]
    parts.append("</ul>")
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Evaluation</title><style>{_STYLE}</style></head>\n"
        f"<body>{''.join(parts)}</body></html>\n"
    )


def _blocks(lines: Sequence[str]) -> str:
    """Paragraphs and tables of the Markdown that this package itself writes."""
    parts: list[str] = []
    rows: list[list[str]] = []
    for line in [*lines, ""]:
        if line.startswith("| "):
            cells = line[2:-2].replace("\\|", "\0").split(" | ")
            rows.append([cell.replace("\0", "|") for cell in cells])
            continue
        if rows:
            parts.append(_table(rows))
            rows = []
        if line:
            parts.append(f"<p>{_text(line)}</p>")
    return "".join(parts)


def _table(rows: Sequence[Sequence[str]]) -> str:
    heads = "".join(f"<th>{escape(cell)}</th>" for cell in rows[0])
    body = "".join(
        f"<tr{' class=ours' if cells[0] == 'hydra-pers' else ''}>"
        + "".join(f"<td>{escape(cell)}</td>" for cell in cells)
        + "</tr>"
        for cells in rows[2:]
    )
    return f'<div class="wide"><table><tr>{heads}</tr>{body}</table></div>'


def _text(line: str) -> str:
    """Inline Markdown: code, and emphasis around words."""
    text = escape(line)
    for mark, tag in (("`", "code"), ("**", "strong"), ("*", "em")):
        parts = text.split(mark)
        if len(parts) % 2:
            text = "".join(
                f"<{tag}>{part}</{tag}>" if i % 2 else part for i, part in enumerate(parts)
            )
    return text
