"""Does the text adapter choose what this user would write? The tables of docs/design/texts.md.

    python -m tests.benchmarks.compare_texts --suite ../shared/data/long --tasks commits,LaMP_4 \\
        --answers ../shared/data/recorded_qwen/*.jsonl --vectors vectors.npz

No LLM is asked: the answers are recorded. The base learns from training users'
histories and graded answers, and chooses for dev users without a fit; the same
choice is made with another user's history of like length, and with none.
ROUGE is without stemming, intervals are bootstrapped over users.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from hydra_cli.core.progress import Silent
from hydra_cli.core.protocols import Scorer, TextEncoder
from hydra_cli.core.records import History, QueryContext, TrainingExample
from hydra_cli.modeling.factorized.word_model import past_of, stems
from hydra_cli.modeling.recipes import recipe_named
from hydra_cli.models.hf_encoder import HFEncoder
from tests.benchmarks.compare_scorers import interval
from tests.benchmarks.recorded import KeptVectors
from tests.benchmarks.recorded_texts import Texts, read_texts
from tests.benchmarks.text_measures import Meaning, Style, rouge

Chosen = dict[str, list[str]]
"""By method, the text answered to each dev query."""


def other_history(example: TrainingExample, histories: Mapping[str, History]) -> History:
    """Another user's newest records: of five drawn users, the one with the nearest number."""
    size = max(len(example.context.history), 1)
    rng = random.Random(f"other\0{example.user}")
    drawn = rng.sample(sorted(histories.keys() - {example.user}), min(5, len(histories) - 1))
    nearest = min(drawn, key=lambda user: abs(np.log(max(len(histories[user]), 1) / size)))
    return histories[nearest].take(
        range(max(0, len(histories[nearest]) - size), len(histories[nearest]))
    )


def exchanged(
    example: TrainingExample, histories: Mapping[str, History]
) -> dict[str, QueryContext]:
    """The query with its user's history, with another's, and with none."""
    context = example.context
    return {
        "own": context,
        "other's": replace(context, history=other_history(example, histories)),
        "no": replace(context, history=context.history.take([])),
    }


def choose(scorer: Scorer, example: TrainingExample, context: QueryContext) -> str:
    """The text that is answered; evidence of a strange history is not shown again."""
    return scorer.adapt(context, example.evidence, example.candidates)[0].item.text


def chosen_texts(data: Texts, encoder: TextEncoder, *, seed: int = 0) -> Chosen:
    """What each method answers to every dev query; oracles and means are left to the tables."""
    recipe = recipe_named("hydra-pers")
    found: Chosen = {
        "no records, greedy": [e.plain or "" for e in data.dev],
        "RAG, greedy": [e.greedy or "" for e in data.dev],
        "most like the others": [agreed([c.text for c in e.candidates]) for e in data.dev],
    }
    histories = {e.user: e.context.history for e in data.dev}
    kinds: dict[str, tuple[Sequence[TrainingExample], Sequence[History]]] = {
        "nothing learned": ([], []),
        "learned from histories": ([], data.histories),
        "learned from histories and answers": (data.train, data.histories),
    }
    for kind, (examples, learned) in kinds.items():
        base = recipe.train_base(
            data.task, examples, learned, encoder, seed=seed, progress=Silent()
        )
        scorer = recipe.scorer(base, None, data.task, encoder)
        for example in data.dev:
            for which, context in exchanged(example, histories).items():
                name = f"adapter, {kind}, {which} history"
                found.setdefault(name, []).append(choose(scorer, example, context))
    return found


def agreed(texts: Sequence[str]) -> str:
    """The text that is most like the others by ROUGE."""
    return max(texts, key=lambda text: sum(rouge(text, other) for other in texts))


def gain(users: Sequence[str], values: Sequence[float], over: Sequence[float]) -> str:
    """The mean difference with its 95 % interval."""
    gains = [a - b for a, b in zip(values, over, strict=True)]
    low, high = interval(users, gains)
    return f"{np.mean(gains):+.3f} [{low:+.3f}, {high:+.3f}]"


def table(data: Texts, found: Chosen, measures: Mapping[str, Measure]) -> str:
    """A Markdown table: every measure of every method, and the gains of ROUGE."""
    users = [e.user for e in data.dev]
    pools = [[c.text for c in e.candidates] for e in data.dev]
    scores = {
        name: {
            m: [f(t, e) for t, e in zip(texts, data.dev, strict=True)] for m, f in measures.items()
        }
        for name, texts in found.items()
    }
    for name, best in (("mean of the answers", np.mean), ("best of the answers (oracle)", np.max)):
        scores[name] = {
            m: [
                float(best([f(t, e) for t in pool]))
                for pool, e in zip(pools, data.dev, strict=True)
            ]
            for m, f in measures.items()
        }
    scores["the user's own text"] = {
        m: [f(e.reference, e) for e in data.dev] for m, f in measures.items()
    }
    lines = [
        f"### {data.task.name} ({len(users)} queries, {len(set(users))} users)",
        "",
        "| | " + " | ".join(measures) + " | ROUGE against RAG | against the other's history |",
        "|---" * (len(measures) + 3) + "|",
    ]
    for name, by in scores.items():
        rag = gain(users, by["ROUGE"], scores["RAG, greedy"]["ROUGE"]) if "RAG" not in name else ""
        other = scores.get(name.replace(", own history", ", other's history"), by)
        own = gain(users, by["ROUGE"], other["ROUGE"]) if other is not by else ""
        means = " | ".join(f"{np.mean(by[m]):.3f}" for m in measures)
        lines.append(f"| {name} | {means} | {rag} | {own} |")
    return "\n".join(lines)


Measure = Callable[[str, TrainingExample], float]


def measures_of(data: Texts, encoder: TextEncoder | None) -> dict[str, Measure]:
    """ROUGE, past texts again, style, meaning by content words and, with an encoder, by vectors."""
    histories = {e.user: e.context.history for e in data.dev}
    style = Style({u: [r.output for r in h.records] for u, h in histories.items()})
    meaning = Meaning([r.output for h in data.histories for r in h.records])
    found: dict[str, Measure] = {
        "ROUGE": lambda text, e: rouge(text, e.reference),
        "past text": lambda text, e: float(past_of(e.context).repeats(stems(text))),
        "style": lambda text, e: style.hit(text, e.user, e.context.query.id),
        "meaning (words)": lambda text, e: meaning(text, e.reference),
    }
    if encoder is not None:
        found["meaning (vectors)"] = lambda text, e: float(
            np.dot(*encoder.encode([text or " ", e.reference]))
        )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--suite", type=Path, required=True, help="folder with a folder a task")
    parser.add_argument("--tasks", default="commits,messages,LaMP_4,LaMP_5")
    parser.add_argument("--answers", type=Path, nargs="+", required=True)
    parser.add_argument("--encoder", default="all-minilm-l6-v2")
    parser.add_argument("--vectors", type=Path, help="keep vectors in this .npz file")
    flags = parser.parse_args()
    encoder = KeptVectors(HFEncoder.open(flags.encoder), flags.vectors)
    for name in flags.tasks.split(","):
        data = read_texts(flags.suite, name, flags.answers, encoder)
        encoder.save()
        found = chosen_texts(data, encoder)
        print(table(data, found, measures_of(data, encoder)), end="\n\n", flush=True)
        encoder.save()


if __name__ == "__main__":
    main()
