"""What a task is: its kind, its labels, how its queries read and its answers parse.

The five LaMP tasks are presets. New tasks are declared in the store's config
file or recognised at ingest; nothing in the code asks for a task by name.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

Kind = Literal["generation", "classification", "rating"]
KINDS: tuple[Kind, ...] = ("generation", "classification", "rating")

# A label list inside a query, as LaMP writes it: "categories: [a, b, c] article: ..."
_LABEL_LIST = re.compile(r"(?:categories|tags|labels|options)\s*:\s*\[([^\]]+)\]", re.IGNORECASE)
_FENCE = re.compile(r"```(?:text|txt|plaintext|markdown|md)?[ \t]*\n(.*?)\n?[ \t]*```", re.DOTALL)
_QUOTES = {'"': '"', "'": "'", "“": "”", "‘": "’", "„": "“", "«": "»"}
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")


@dataclass(frozen=True, slots=True)
class TaskSpec:
    """One task.

    ``labels`` is the closed set of a classification, or every value of a
    rating's scale in ascending order; empty for generation, and for a
    classification whose labels are learned from the records.

    ``marker`` ends the instruction inside a LaMP question, and the content
    follows it. ``input_field`` and ``output_field`` name a LaMP profile's
    fields.

    ``multiline``: answers may have line breaks. Else an answer is one line, and
    the LLM is stopped at its end. ``answer_tokens`` is the most an answer may
    take, ``input_words`` the most that is shown of a record's input or a query.
    """

    name: str
    kind: Kind
    instruction: str
    labels: tuple[str, ...] = ()
    marker: str | None = None
    input_field: str = "input"
    output_field: str = "output"
    answer_tokens: int = 32
    input_words: int = 120
    multiline: bool = False

    @property
    def closed(self) -> bool:
        return self.kind != "generation"

    def split_question(self, question: str) -> tuple[str, tuple[str, ...]]:
        """A LaMP question as (content, labels); without the marker, all of it is content."""
        found = _LABEL_LIST.search(question)
        labels = tuple(part.strip() for part in found.group(1).split(",")) if found else self.labels
        content = question
        if self.marker and self.marker in question:
            content = question.split(self.marker, 1)[1]
        return content.strip(), labels

    def with_labels(self, labels: Sequence[str]) -> TaskSpec:
        return replace(self, labels=tuple(labels))

    def parse(self, text: str, labels: Sequence[str] = ()) -> str | None:
        """An LLM's raw answer as a prediction, or None where it names nothing valid.

        Generation keeps the first line, or all of it where answers have several.
        Closed tasks return one of ``labels`` (default: the task's own).
        """
        known = tuple(labels) or self.labels
        if self.kind == "generation":
            return (clean_text(text) if self.multiline else clean_line(text)) or None
        if self.kind == "rating":
            return _parse_rating(text, known)
        return _parse_label(text, known)


def clean_line(text: str) -> str:
    """The first line that says something, without quotes around it."""
    for line in text.splitlines():
        line = line.strip().strip("\"'“”‘’`*").strip()
        if line:
            return line
    return ""


def clean_text(text: str) -> str:
    """The whole text as it stands, without quotes or a code fence around all of it."""
    text = text.strip()
    while (inner := _unwrapped(text)) != text:
        text = inner
    return text


def _unwrapped(text: str) -> str:
    """The text without one pair of quotes or fences that holds all of it, and nothing else.

    A fence that names a programming language is part of the answer.
    """
    fence = _FENCE.fullmatch(text)
    if fence and "```" not in fence.group(1):
        return fence.group(1).strip()
    if len(text) > 2 and (closing := _QUOTES.get(text[0])) == text[-1]:
        inner = text[1:-1]
        if text[0] not in inner and closing not in inner:
            return inner.strip()
    return text


def _parse_rating(text: str, scale: Sequence[str]) -> str | None:
    found = _NUMBER.search(text)
    if found is None:
        return None
    value = float(found.group())
    if not scale or not float(scale[0]) <= value <= float(scale[-1]):
        return None
    # "4.5" on a scale of whole stars is the nearest one, and of two the lower.
    return min(scale, key=lambda label: (abs(float(label) - value), float(label)))


def _parse_label(text: str, labels: Sequence[str]) -> str | None:
    line = _plain(clean_line(text))
    by_plain = {_plain(label): label for label in labels}
    if line in by_plain:
        return by_plain[line]
    # The label named first wins; of two that start together, the longer one.
    found = [
        (position, -len(plain), label)
        for plain, label in by_plain.items()
        if plain and (position := f" {line} ".find(f" {plain} ")) >= 0
    ]
    return min(found)[2] if found else None


def _plain(text: str) -> str:
    return " ".join(re.sub(r"[^\w]+", " ", text.lower()).split())


_STARS = ("1", "2", "3", "4", "5")

PRESETS: dict[str, TaskSpec] = {
    spec.name: spec
    for spec in (
        TaskSpec(
            name="LaMP_2N",
            kind="classification",
            instruction="Name the category of the news article. Answer with the category alone.",
            marker="article:",
            input_field="text",
            output_field="category",
            answer_tokens=8,
        ),
        TaskSpec(
            name="LaMP_2M",
            kind="classification",
            instruction="Name the tag that fits the movie. Answer with the tag alone.",
            marker="description:",
            input_field="description",
            output_field="tag",
            answer_tokens=8,
        ),
        TaskSpec(
            name="LaMP_3",
            kind="rating",
            instruction="Rate the review from 1 (worst) to 5 (best). Answer with the number alone.",
            labels=_STARS,
            marker="review:",
            input_field="text",
            output_field="score",
            answer_tokens=8,
        ),
        TaskSpec(
            name="LaMP_4",
            kind="generation",
            instruction="Write the headline of the news article. Answer with the headline alone.",
            marker="article:",
            input_field="text",
            output_field="title",
        ),
        TaskSpec(
            name="LaMP_5",
            kind="generation",
            instruction="Write the title of the paper. Answer with the title alone.",
            marker="abstract of a paper:",
            input_field="abstract",
            output_field="title",
            input_words=60,
        ),
    )
}
