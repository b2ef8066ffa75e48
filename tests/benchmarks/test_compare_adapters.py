"""The comparison of adapters: everybody's choice is among the answers that were handed in."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from hydra_cli.core.records import Scored
from hydra_cli.models.hf_encoder import HFEncoder
from tests.benchmarks import compare_adapters
from tests.benchmarks.compare_adapters import HEADS, ORACLE, OURS, RAG, TAUGHT, compared, table
from tests.benchmarks.recorded_texts import answered, read_texts

ASKED = "What is the score of the following review on a scale of 1 to 5? review: "


def suite(folder: Path) -> tuple[Path, Path]:
    """Ratings of six users of each split, and answers to all queries; its last is the right one."""
    task, lines = folder / "suite" / "LaMP_3", []
    task.mkdir(parents=True)
    for split in ("train", "dev"):
        questions, golds = [], []
        for u in range(6):
            stars = [str(1 + (u + i) % 5) for i in range(8)]
            records = [
                {
                    "id": f"{split}{u}-{i}",
                    "text": f"thing {i} of {u}",
                    "score": star,
                    "date": f"2020-01-0{i + 1}",
                }
                for i, star in enumerate(stars)
            ]
            made = {"user": f"{split}{u}", "id": f"{split}{u}-q", "reference": stars[0]}
            questions.append(
                {
                    "id": made["id"],
                    "user_id": made["user"],
                    "input": f"{ASKED}thing 9",
                    "profile": records,
                }
            )
            golds.append({"id": made["id"], "output": stars[0]})
            wrong = str(1 + int(stars[0]) % 5)
            lines.append(
                {
                    **made,
                    "evidence": [f"{split}{u}-0"],
                    "greedy": wrong,
                    "answers": [wrong, stars[0]],
                }
            )
        (task / f"{split}_questions.json").write_text(json.dumps(questions))
        (task / f"{split}_outputs.json").write_text(json.dumps({"task": "LaMP_3", "golds": golds}))
    answers = folder / "LaMP_3.all.queries.jsonl"
    answers.write_text("\n".join(map(json.dumps, lines)))
    return task.parent, answers


def test_the_choices_of_all_are_among_the_same_answers(
    tmp_path: Path, tiny_encoder_path: Path
) -> None:
    folder, answers = suite(tmp_path)
    encoder = HFEncoder.open(str(tiny_encoder_path))
    data = read_texts(folder, "LaMP_3", [answers], encoder, default_draw=True)
    assert (len(data.train), len(data.dev)) == (6, 6)
    found = compared(data, encoder, ["mof"])
    assert list(found) == [RAG, ORACLE, OURS, TAUGHT, "mof"]
    assert found[ORACLE] == [0.0] * 6
    assert max(found[RAG]) < 0.0
    assert set(found["mof"]) <= {0.0, *found[RAG]}
    shown = table(data, found)
    assert "6 queries, 6 users; trained on 6 answered queries of 6 users" in shown
    mean = -sum(found[RAG]) / 6
    assert f"| {RAG} | {mean:.3f} | " in shown, "an error is shown as an error"


def test_heads_are_fitted_on_answers_to_own_records_with_older_ones_alone(
    tmp_path: Path, tiny_encoder_path: Path
) -> None:
    folder, answers = suite(tmp_path)
    own = [
        {
            "user": f"dev{u}",
            "id": f"dev{u}-{i}",
            "reference": str(1 + (u + i) % 5),
            "evidence": [f"dev{u}-0"],
            "greedy": "1",
            "answers": ["1", "2", "3", "4", "5"],
            "pseudo": True,
        }
        for u in range(5)  # the sixth has none
        for i in (6, 7)
    ]
    more = tmp_path / "LaMP_3.own.jsonl"
    more.write_text("\n".join(map(json.dumps, own)))
    encoder = HFEncoder.open(str(tiny_encoder_path))
    data = read_texts(folder, "LaMP_3", [answers, more], encoder, default_draw=True)
    assert (len(data.dev), len(data.own)) == (6, 10)
    assert {len(e.context.history) for e in data.own} == {6, 7}
    found = compared(data, encoder, ["hydra"])
    assert list(found) == [RAG, ORACLE, OURS, TAUGHT, TAUGHT + HEADS, "hydra", "hydra" + HEADS]
    assert set(found["hydra" + HEADS]) <= {0.0, *found[RAG]}
    assert found["hydra" + HEADS][5] == found["hydra"][5], "no head, so the population's"
    assert "heads on 10 answered records" in table(data, found)


def test_a_head_decides_for_its_own_user_alone(
    tmp_path: Path, tiny_encoder_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class HeadsTurnTheOrder:
        def train_base(self, *_: Any, **__: Any) -> str:
            return "base"

        def fit_heads(self, base: Any, task: Any, own: Any, *_: Any, **__: Any) -> dict[str, str]:
            return dict.fromkeys(own, "head")

        def scorer(self, base: Any, head: str | None, *_: Any) -> Any:
            step = -1 if head else 1  # the last answer is the right one
            return SimpleNamespace(
                adapt=lambda context, shown, given: [Scored(c, 0.0) for c in given[::step]]
            )

    folder, answers = suite(tmp_path)
    line = json.loads(answers.read_text().splitlines()[6])
    assert line["user"] == "dev0"
    own = tmp_path / "LaMP_3.own.jsonl"
    own.write_text(json.dumps({**line, "id": "dev0-7", "pseudo": True}))
    encoder = HFEncoder.open(str(tiny_encoder_path))
    data = read_texts(folder, "LaMP_3", [answers, own], encoder, default_draw=True)
    monkeypatch.setattr(compare_adapters, "recipe_named", lambda _: HeadsTurnTheOrder())
    found = compared(data, encoder, ["hydra"])
    assert max(found["hydra"]) < 0.0
    assert found["hydra" + HEADS] == [0.0, *found["hydra"][1:]]


def test_records_of_two_users_may_share_an_id(tmp_path: Path) -> None:
    asked = {"suite": "suite", "task": "jokes", "id": "joke 7", "reference": "3", "pseudo": True}
    drawn = {"how": "fused", "k": 4, "temperature": 0.5, "evidence": []}
    lines = [{**asked, **drawn, "user": user, "texts": [user]} for user in ("ann", "bob")]
    path = tmp_path / "bank.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    found = list(answered([path], Path("suite"), "jokes"))
    assert [(line["user"], line["answers"]) for line in found] == [
        ("ann", ["ann"]),
        ("bob", ["bob"]),
    ]


def test_the_rows_of_a_table_are_over_ours(tmp_path: Path, tiny_encoder_path: Path) -> None:
    folder, answers = suite(tmp_path)
    encoder = HFEncoder.open(str(tiny_encoder_path))
    data = read_texts(folder, "LaMP_3", [answers], encoder, default_draw=True)
    shown = table(data, {OURS: [0.0] * 6, "hydra": [-1.0] * 6})
    assert "| hydra | 1.000 | +1.000 [+1.000, +1.000] |" in shown
    with pytest.raises(KeyError):
        table(data, {"hydra": [0.0] * 6})
