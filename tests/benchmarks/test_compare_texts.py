"""The measures of personal texts, and what is read from recorded answers."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path

import pytest

from hydra_cli.models.hash_encoder import HashEncoder
from tests.benchmarks.compare_texts import chosen_texts, measures_of, table
from tests.benchmarks.recorded_texts import read_texts
from tests.benchmarks.text_measures import Meaning, Style, rouge


def test_rouge_is_without_stemming() -> None:
    assert rouge("Fixes the tests", "fixes the tests.") == 1.0
    assert rouge("fix the test", "fixes the tests") == pytest.approx(1 / 3)
    assert rouge("b a", "a b") == pytest.approx((1.0 + 0.5) / 2)
    assert rouge("", "a") == 0.0


def test_meaning_is_by_content_not_by_form() -> None:
    meaning = Meaning(["the cat sat", "the dog sat", "the bird flew"])
    assert meaning("CATS flying!", "cat flies") == pytest.approx(meaning("cat flies", "cat flies"))
    assert meaning("cats", "dogs") < meaning("cats", "cat") == pytest.approx(1.0)
    assert meaning("", "cat") == 0.0


def test_style_knows_the_user_by_form_not_by_subject() -> None:
    outputs = {
        "careful": ["Add a test for the reader.", "Fix the parser of dates."],
        "tagged": ["BUG: reader fails", "MAINT: tidy up parser"],
        "lower": ["reader: keep order", "parser: accept dates"],
    }
    style = Style(outputs)
    assert style.hit("ENH: new writer", "tagged", "q1") == 1.0
    assert style.hit("ENH: new writer", "careful", "q1") == 0.0
    assert style.hit("Drop the old writer.", "careful", "q2") == 1.0
    assert style.hit("?", "lower", "q3") == pytest.approx(1 / 3)  # nobody can tell


@pytest.mark.shared
def test_requests_become_examples_of_the_default_draw(shared: Path, tmp_path: Path) -> None:
    folder = shared / "data" / "recorded"
    read = (folder / "LaMP_4.train.records.jsonl").read_text().split("\n")[:6]
    asked = [json.loads(line) for line in read]
    lines = []
    for one in asked:
        kept = {
            **{key: one[key] for key in ("user", "id", "reference", "evidence")},
            **{"suite": "lamp", "task": "LaMP_4", "pseudo": True},
        }
        lines += [
            {**kept, "how": "none", "k": 0, "temperature": 0.0, "texts": ["Plain"]},
            {**kept, "how": "fused", "k": 4, "temperature": 0.5, "texts": one["answers"]},
            {**kept, "how": "bm25", "k": 4, "temperature": 0.8, "texts": ["Another"] * 4},
        ]
    path = tmp_path / "answers.jsonl.gz"
    path.write_bytes(gzip.compress("\n".join(map(json.dumps, lines)).encode()))
    files = [path, folder / "LaMP_4.dev.queries.jsonl"]
    data = read_texts(shared / "data" / "lamp", "LaMP_4", files, HashEncoder(16))
    assert (len(data.train), len(data.dev)) == (6, 60)
    first = data.train[0]
    wanted = list(dict.fromkeys([*asked[0]["answers"], "Another"]))
    assert [c.text for c in first.candidates] == wanted
    assert first.plain == "Plain"
    assert all(r.id != first.context.query.id for r in first.context.history.records)
    data = replace(data, histories=data.histories[:5], dev=data.dev[:6])
    found = chosen_texts(data, HashEncoder(16))
    shown = table(data, found, measures_of(data, None))
    assert "| the user's own text | 1.000 |" in shown
    assert {len(texts) for texts in found.values()} == {6}
