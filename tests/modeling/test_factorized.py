"""The default recipe on made-up people: no leaks, no chance, no mixed-up files."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hydra_cli.core.errors import ModelError, NotFound
from hydra_cli.core.progress import Silent
from hydra_cli.core.protocols import Scorer
from hydra_cli.core.records import (
    Candidate,
    History,
    Query,
    QueryContext,
    Record,
    Scored,
    TrainingExample,
)
from hydra_cli.core.retrieval import retrieve
from hydra_cli.core.similarity import grade
from hydra_cli.core.tasks import PRESETS, TaskSpec
from hydra_cli.core.weights import Weights
from hydra_cli.modeling.factorized import lists, word_model, word_training
from hydra_cli.modeling.factorized.answer_features import NAMES, answer_features
from hydra_cli.modeling.factorized.label_model import empty, train
from hydra_cli.modeling.factorized.lists import expected_grades
from hydra_cli.modeling.factorized.recipe import FactorizedRecipe, adapt_prior
from hydra_cli.modeling.factorized.record_features import record_features
from hydra_cli.modeling.factorized.scorer import FactorizedScorer, expected_loss
from hydra_cli.modeling.recipes import recipe_named
from hydra_cli.models.hash_encoder import HashEncoder

ENCODER = HashEncoder(32)
TOPICS = {
    "sports": ["match", "goal", "team", "player", "season", "coach"],
    "politics": ["senate", "vote", "law", "president", "party", "bill"],
    "comedy": ["joke", "laugh", "show", "host", "funny", "sketch"],
}
NEWS = replace(PRESETS["LaMP_2N"], labels=tuple(TOPICS))
RATING = PRESETS["LaMP_3"]
HEADLINE = PRESETS["LaMP_4"]
TASKS = (NEWS, RATING, HEADLINE)


def make_history(user: str, task: TaskSpec, count: int = 8) -> History:
    draw = random.Random(f"{user}{task.name}")
    records = []
    for i in range(count):
        topic = draw.choice(list(TOPICS))
        text = " ".join(draw.choices(TOPICS[topic], k=8))
        output = {"classification": topic, "rating": str(draw.choice([3, 4, 5]))}.get(
            task.kind, " ".join(text.split()[:4]).title()
        )
        records.append(Record(user, f"{user}-{i}", task.name, text, output))
    inputs = ENCODER.encode([record.input for record in records])
    outputs = None if task.closed else ENCODER.encode([record.output for record in records])
    return History(user, tuple(records), inputs, outputs)


def make_examples(history: History, task: TaskSpec) -> list[TrainingExample]:
    draw = random.Random(history.user)
    found = []
    for row, record in enumerate(history.records):
        query = Query(record.user, record.id, task.name, record.input, labels=task.labels)
        context = QueryContext(query, history.inputs[row], history.without(record))
        if task.kind == "generation":
            texts = [" ".join(draw.sample(record.input.split(), 4)) for _ in range(4)]
        else:
            texts = [draw.choice(task.labels) for _ in range(3)] + ["nonsense"]
        shortlist = tuple(retrieve(context, how="fused", k=5))

        def graded(text: str, reference: str = record.output) -> float:
            return grade(prediction=text, reference=reference, task=task)

        found.append(
            TrainingExample(
                context,
                record.output,
                shortlist,
                tuple(graded(scored.item.output) for scored in shortlist),
                evidence=shortlist[:2],
                candidates=tuple(Candidate(text, i) for i, text in enumerate(texts)),
                quality=tuple(graded(text) for text in texts),
            )
        )
    return found


HISTORIES = {task.name: [make_history(f"u{i}", task) for i in range(5)] for task in TASKS}
RECIPE = FactorizedRecipe()


def train_base(task: TaskSpec, seed: int = 0) -> Weights:
    histories = HISTORIES[task.name]
    examples = [e for history in histories for e in make_examples(history, task)]
    return RECIPE.train_base(task, examples, histories, ENCODER, seed=seed, progress=Silent())


BASES = {task.name: train_base(task) for task in TASKS}


def fit(task: TaskSpec, base: Weights) -> dict[str, Weights]:
    examples = {h.user: make_examples(h, task) for h in HISTORIES[task.name]}
    return RECIPE.fit_heads(base, task, examples, ENCODER, seed=0, progress=Silent())


def adapt(scorer: Scorer, example: TrainingExample) -> list[Scored[Candidate]]:
    return scorer.adapt(example.context, example.evidence, example.candidates)


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_training_is_the_same_twice(task: TaskSpec) -> None:
    again = train_base(task)
    assert again.fingerprint == BASES[task.name].fingerprint
    heads = fit(task, again)
    assert {user: head.fingerprint for user, head in heads.items()} == {
        user: head.fingerprint for user, head in fit(task, again).items()
    }


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_counts_are_exact(task: TaskSpec) -> None:
    histories = HISTORIES[task.name]
    examples = [e for history in histories for e in make_examples(history, task)]
    counts = BASES[task.name].card.counts
    assert counts["users"] == 5
    assert counts["rerank lists"] == sum(len(set(e.relevance or ())) > 1 for e in examples)
    if task.closed:
        assert counts["history lists"] == sum(len(h) for h in histories)
        assert counts["adapt lists"] == len(examples)
    else:
        assert counts["adapt lists"] == sum(len(set(e.quality or ())) > 1 for e in examples)


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_the_reference_reaches_targets_alone(task: TaskSpec) -> None:
    """A canary in the reference, the grades untouched: features stay byte for byte."""
    example = make_examples(HISTORIES[task.name][0], task)[0]
    canary = next(label for label in (*task.labels, "canary") if label != example.reference)
    other = replace(example, reference=canary)
    if task.closed:
        model = train(HISTORIES[task.name][1:], task.labels)
        before = lists.label_list(example, task, model, ENCODER)
        after = lists.label_list(other, task, model, ENCODER)
        assert before is not None
        assert after is not None
        assert not np.array_equal(before.targets, after.targets)
    else:
        before = lists.answer_list(example, word_model.untrained())
        after = lists.answer_list(other, word_model.untrained())
        assert before is not None
        assert after is not None
    np.testing.assert_array_equal(before.features, after.features)


def test_a_users_own_records_teach_no_model_that_judges_them() -> None:
    """Honest word and label models are the same whatever the user wrote."""
    histories = HISTORIES[HEADLINE.name]
    canary = replace(histories[0].records[0], output="Xylophone Canary")
    records = (canary, *histories[0].records[1:])
    changed = [replace(histories[0], records=records), *histories[1:]]
    _, honest = word_training.train(histories)
    _, other = word_training.train(changed)
    np.testing.assert_allclose(honest["u0"].tables.outputs, other["u0"].tables.outputs)
    assert not np.allclose(honest["u1"].tables.outputs, other["u1"].tables.outputs)


def test_a_record_taken_as_a_query_knows_neither_its_output_nor_what_came_later() -> None:
    history = HISTORIES[HEADLINE.name][0]
    canary = replace(history.records[-1], output="Xylophone Canary")
    changed = replace(history, records=(*history.records[:-1], canary))
    tables = word_model.untrained().tables
    before, after = (
        list(word_training.learned_rows(one, tables, ())) for one in (history, changed)
    )
    assert len(before) == 6  # the first two have nothing before them
    for (one, _), (other, _) in zip(before, after, strict=True):
        np.testing.assert_array_equal(one, other)
    assert before[-1][1].sum() == len(set(word_model.stems(history.records[-1].output)))
    assert after[-1][1].sum() == 0


def test_a_repost_is_no_evidence_for_itself() -> None:
    history = HISTORIES[HEADLINE.name][0]
    again = replace(history.records[0], input=f" {history.records[-1].input.upper()}")
    reposted = replace(history, records=(again, *history.records[1:]))
    without = replace(again, output="")
    silent = replace(history, records=(without, *history.records[1:]))
    tables = word_model.untrained().tables
    (one, _), (other, _) = (
        list(word_training.learned_rows(h, tables, ()))[-1] for h in (reposted, silent)
    )
    np.testing.assert_array_equal(one, other)


def test_the_word_model_learns_from_records_where_outputs_come_from() -> None:
    """Made-up headlines are the article's first four words."""
    everyone, honest = word_training.train(HISTORIES[HEADLINE.name])
    example = make_examples(HISTORIES[HEADLINE.name][0], HEADLINE)[-1]
    words = example.context.query.text.split()
    texts = [" ".join(words[:4]), " ".join(words[4:])]
    margins = []
    for model in (word_model.untrained(), honest["u0"], everyone):
        first, last = model.expected_overlap(example.context, texts)
        margins.append(first - last)
    assert min(margins[1:]) > max(margins[0], 0.0)


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
@pytest.mark.parametrize("trained", [False, True])
def test_scorers_answer_with_and_without_training(task: TaskSpec, trained: bool) -> None:
    base = (
        BASES[task.name]
        if trained
        else RECIPE.train_base(task, [], [], ENCODER, seed=0, progress=Silent())
    )
    scorer = RECIPE.scorer(base, None, task, ENCODER)
    example = make_examples(HISTORIES[task.name][0], task)[0]
    found = adapt(scorer, example)
    assert [scored.score for scored in found] == sorted((s.score for s in found), reverse=True)
    expected = set(task.labels) if task.closed else {c.text for c in example.candidates}
    assert {scored.item.text for scored in found} == expected
    assert len(scorer.rerank(example.context, example.shortlist)) == len(example.shortlist)
    nobody = QueryContext(
        example.context.query, example.context.vector, example.context.history.take([])
    )
    assert len(scorer.adapt(nobody, (), example.candidates)) == len(found)
    assert scorer.rerank(nobody, ()) == []
    if not task.closed:
        assert scorer.adapt(nobody, (), ()) == []


@settings(max_examples=15, deadline=None)
@given(st.permutations([0, 1, 2, 3]), st.sampled_from(TASKS), st.integers(0, 7))
def test_order_of_answers_changes_no_score(order: list[int], task: TaskSpec, row: int) -> None:
    scorer = RECIPE.scorer(BASES[task.name], None, task, ENCODER)
    example = make_examples(HISTORIES[task.name][1], task)[row]
    mixed = replace(example, candidates=tuple(example.candidates[i] for i in order))
    first = {scored.item.text: scored.score for scored in adapt(scorer, example)}
    second = {scored.item.text: scored.score for scored in adapt(scorer, mixed)}
    assert first == pytest.approx(second)


def test_a_label_keeps_the_first_answer_that_named_it() -> None:
    scorer = RECIPE.scorer(BASES[NEWS.name], None, NEWS, ENCODER)
    context = make_examples(HISTORIES[NEWS.name][0], NEWS)[0].context
    answers = (Candidate("x", 0), Candidate("Comedy!", 1, -0.5), Candidate("comedy", 2))
    by_label = {s.item.text: s.item for s in scorer.adapt(context, (), answers)}
    assert (by_label["comedy"].sample, by_label["comedy"].logprob) == (1, -0.5)
    assert by_label["sports"].sample is None


def test_labels_nobody_declared_are_learned_from_records() -> None:
    task = replace(NEWS, labels=())
    history = HISTORIES[NEWS.name][0]
    base = RECIPE.train_base(task, [], [], ENCODER, seed=0, progress=Silent())
    query = Query("u0", "q", task.name, "a goal by the team")
    context = QueryContext(query, ENCODER.encode([query.text])[0], history)
    found = RECIPE.scorer(base, None, task, ENCODER).adapt(context, (), (Candidate("odd", 0),))
    assert {s.item.text for s in found} == {record.output for record in history.records}
    empty_handed = replace(context, history=history.take([]))
    found = RECIPE.scorer(base, None, task, ENCODER).adapt(
        empty_handed, (), (Candidate("b", 0), Candidate("a", 1), Candidate("a", 2))
    )
    assert found[0].item.text == "a"


def test_ratings_are_bayes_choices() -> None:
    values = np.array([1.0, 2.0, 3.0, 4.0, 5.0])
    torn = np.array([0.45, 0.0, 0.0, 0.0, 0.55])
    assert int(expected_loss(torn, values).argmin()) == 2  # the mean, not the mode
    sure = np.array([0.0, 0.0, 0.1, 0.8, 0.1])
    assert int(expected_loss(sure, values).argmin()) == 3
    by_hand = 0.45 * (2 + 0.2 * 4) + 0.55 * (2 + 0.2 * 4)
    assert expected_loss(torn, values)[2] == pytest.approx(by_hand)


def test_the_users_own_habit_beats_the_crowd_without_training() -> None:
    base = RECIPE.train_base(NEWS, [], [], ENCODER, seed=0, progress=Silent())
    records = tuple(Record("me", str(i), NEWS.name, f"thing {i}", "comedy") for i in range(9))
    history = History("me", records, ENCODER.encode([r.input for r in records]))
    query = Query("me", "q", NEWS.name, "nothing said before", labels=NEWS.labels)
    context = QueryContext(query, ENCODER.encode([query.text])[0], history)
    scorer = RECIPE.scorer(base, None, NEWS, ENCODER)
    assert scorer.adapt(context, (), (Candidate("sports", 0),))[0].item.text == "comedy"


def test_heads_are_small_and_start_at_the_population() -> None:
    for task in TASKS:
        base = BASES[task.name]
        for user, head in fit(task, base).items():
            assert head.card.user == user
            for tensor in head.tensors.values():
                assert tensor.nbytes <= 4096
    nobody = RECIPE.fit_heads(
        BASES[NEWS.name], NEWS, {"new": []}, ENCODER, seed=0, progress=Silent()
    )
    assert all(float(np.abs(t).max()) == 0.0 for t in nobody["new"].tensors.values())


def test_finite_precision_moves_heads() -> None:
    base = BASES[HEADLINE.name]
    moved = Weights(
        replace(base.card, settings={**base.card.settings, "adapt_head_precision": 1.0}),
        base.tensors,
    )
    head = fit(HEADLINE, moved)["u0"]
    assert float(np.abs(head.tensors["adapt"]).max()) > 0.0
    assert np.isfinite(head.tensors["adapt"]).all()


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_a_head_is_counted_and_its_texts_read_only_where_it_may_move(task: TaskSpec) -> None:
    class Unread(HashEncoder):
        def encode(self, texts: Sequence[str], **options: Any) -> Any:
            raise AssertionError("read for nothing")

    base = BASES[task.name]
    user = HISTORIES[task.name][0].user
    examples = make_examples(HISTORIES[task.name][0], task)

    def head(precision: float | None, encoder: HashEncoder) -> Weights:
        settings = {"rerank_head_precision": precision, "adapt_head_precision": precision}
        card = replace(base.card, settings={**base.card.settings, **settings})
        given = Weights(card, base.tensors)
        return RECIPE.fit_heads(given, task, {user: examples}, encoder, seed=0, progress=Silent())[
            user
        ]

    still = head(None, Unread(ENCODER.dimension))
    assert still.card.counts == {"rerank lists": 0, "adapt lists": 0}
    assert all(float(np.abs(tensor).max()) == 0.0 for tensor in still.tensors.values())
    moved = head(100.0, ENCODER)
    assert moved.card.counts["rerank lists"] == sum(
        len(set(e.relevance or ())) > 1 for e in examples
    )
    assert moved.card.counts["adapt lists"] == (
        len(examples) if task.closed else sum(len(set(e.quality or ())) > 1 for e in examples)
    )


def test_files_of_another_kind_are_refused() -> None:
    base = BASES[NEWS.name]
    for changed in (
        replace(base.card, recipe="hydra"),
        replace(base.card, task="other"),
        replace(base.card, encoder="other"),
        replace(base.card, settings={**base.card.settings, "features": {}}),
    ):
        with pytest.raises(ModelError):
            RECIPE.scorer(Weights(changed, base.tensors), None, NEWS, ENCODER)
    head = fit(NEWS, base)["u0"]
    strange = Weights(replace(head.card, base="another base"), head.tensors)
    with pytest.raises(ModelError):
        RECIPE.scorer(base, strange, NEWS, ENCODER)
    RECIPE.scorer(base, head, NEWS, ENCODER)


def test_a_text_base_of_the_first_release_opens_with_todays_adapter() -> None:
    """Its reranker goes on; its adapter's weights are for features that are gone."""
    today = BASES[HEADLINE.name]
    names = {**today.card.settings["features"], "adapt": [f"old {i}" for i in range(23)]}
    card = replace(today.card, settings={**today.card.settings, "features": names})
    kept = {"rerank": today.tensors["rerank"] + 1.0, "adapt": np.full(23, 9.0)}
    words = {"word_weights": np.ones(15, np.float32), "word_outputs": np.ones(8192, np.float32)}
    old = Weights(card, {**kept, **words})
    own = {"rerank": np.ones(10, np.float32), "adapt": np.ones(23, np.float32)}
    head = old.head("u0", own, seed=0, counts={}, settings={})
    example = make_examples(HISTORIES[HEADLINE.name][0], HEADLINE)[0]
    untaught = RECIPE.train_base(HEADLINE, [], [], ENCODER, seed=0, progress=Silent())
    wanted = adapt(RECIPE.scorer(untaught, None, HEADLINE, ENCODER), example)
    for made in (None, head):
        scorer = RECIPE.scorer(old, made, HEADLINE, ENCODER)
        found = adapt(scorer, example)
        assert [one.item for one in found] == [one.item for one in wanted]
        assert [one.score for one in found] == pytest.approx([one.score for one in wanted])
        assert isinstance(scorer, FactorizedScorer)
        np.testing.assert_allclose(
            scorer.rerank_weights, kept["rerank"] + (0.0 if made is None else 1.0)
        )
    examples = {"u0": make_examples(HISTORIES[HEADLINE.name][0], HEADLINE)}
    heads = RECIPE.fit_heads(old, HEADLINE, examples, ENCODER, seed=0, progress=Silent())
    assert heads["u0"].tensors["adapt"].shape == (len(NAMES),)


@pytest.mark.parametrize("task", [NEWS, RATING], ids=lambda task: task.name)
def test_a_base_that_knows_the_first_features_alone_answers_as_it_did(task: TaskSpec) -> None:
    base = BASES[task.name]
    names = dict(base.card.settings["features"])
    names["adapt"] = names["adapt"][:-2]
    tensors = {k: v for k, v in base.tensors.items() if not k.startswith(("mixed_", "item_"))}
    tensors["adapt"] = tensors["adapt"][:-2]
    card = replace(base.card, settings={**base.card.settings, "features": names})
    older = Weights(card, tensors)
    heads = fit(task, older)
    assert {head.tensors["adapt"].shape for head in heads.values()} == {(len(names["adapt"]),)}
    example = make_examples(HISTORIES[task.name][0], task)[0]
    scorer = RECIPE.scorer(older, heads["u0"], task, ENCODER)
    assert {scored.item.text for scored in adapt(scorer, example)} == set(task.labels)
    names["adapt"] = ["something else"]
    with pytest.raises(ModelError, match="release"):
        RECIPE.scorer(older, None, task, ENCODER)


def test_a_text_adapter_that_knows_the_first_features_keeps_what_it_learned() -> None:
    base = BASES[HEADLINE.name]
    names = {**base.card.settings["features"], "adapt": list(NAMES[:-1])}
    taught = np.linspace(1.0, 2.0, len(NAMES) - 1)
    card = replace(base.card, settings={**base.card.settings, "features": names})
    older = Weights(card, {**base.tensors, "adapt": taught})
    own = {"rerank": np.zeros(10, np.float32), "adapt": np.ones(len(taught), np.float32)}
    head = older.head("u0", own, seed=0, counts={}, settings={})
    for made, more in ((None, 0.0), (head, 1.0)):
        scorer = RECIPE.scorer(older, made, HEADLINE, ENCODER)
        assert isinstance(scorer, FactorizedScorer)
        np.testing.assert_allclose(
            scorer.adapt_weights, [*(taught + more), adapt_prior(HEADLINE)[-1]]
        )


@pytest.mark.parametrize("task", [NEWS, RATING], ids=lambda task: task.name)
def test_short_histories_get_no_model_of_their_users_deviations(task: TaskSpec) -> None:
    short = [make_history(f"u{i}", task, 4) for i in range(5)]
    base = RECIPE.train_base(task, [], short, ENCODER, seed=0, progress=Silent())
    assert "mixed_own" not in base.tensors
    assert "mixed_own" in BASES[task.name].tensors


def test_files_survive_the_disk(tmp_path) -> None:  # type: ignore[no-untyped-def]
    for task in TASKS:
        base = BASES[task.name]
        base.save(tmp_path / "base.safetensors")
        loaded = Weights.load(tmp_path / "base.safetensors")
        example = make_examples(HISTORIES[task.name][2], task)[3]
        one, two = (RECIPE.scorer(b, None, task, ENCODER) for b in (base, loaded))
        assert adapt(one, example) == adapt(two, example)


def test_the_word_model_counts_expected_words() -> None:
    weights = np.zeros(len(word_model.NAMES))  # every word stands there with chance 1/2
    model = word_model.untrained(weights.tolist())
    context = make_examples(HISTORIES[HEADLINE.name][0], HEADLINE)[0].context
    lengths = [len(word_model.stems(r.output)) for r in context.history.records]
    length = (sum(lengths) + 10.0) / (len(lengths) + 1)
    scores = model.expected_overlap(context, ["one two", "one one", ""])
    assert scores == pytest.approx([2.0 / (2 + length), 1.0 / (2 + length), 0.0])


def test_an_answer_is_judged_without_the_encoder() -> None:
    """Scoring long answers took most of its time in the encoder, and gained nothing by it."""
    example = make_examples(HISTORIES[HEADLINE.name][0], HEADLINE)[0]
    silent = HashEncoder(32)
    scorer = RECIPE.scorer(BASES[HEADLINE.name], None, HEADLINE, silent)
    silent.encode = None  # type: ignore[method-assign, assignment]  # a call would fail
    assert len(adapt(scorer, example)) == len(example.candidates)


def test_long_answers_can_be_told_apart() -> None:
    """Two hundred words that all answers share hide no difference between them."""
    context = make_examples(HISTORIES[HEADLINE.name][0], HEADLINE)[0].context
    model = word_model.untrained()
    texts = ["goal team", "goal coach", "goal team law", "vote law"]
    filler = " ".join(f"word{i}" for i in range(200))
    short = answer_features(context, texts, [None] * 4, model)
    long = answer_features(context, [f"{text} {filler}" for text in texts], [None] * 4, model)
    for name in ("agreement", "expected overlap"):
        column = NAMES.index(name)
        best = short[:, column].argmax()
        assert long[:, column].argmax() == best
        assert long[best, column] > np.median(long[:, column])


@pytest.mark.parametrize("repeats", [False, True])
def test_a_past_text_again_is_an_answer_of_those_who_repeat_themselves(repeats: bool) -> None:
    """Small LLMs hand back an output of the records shown, which is about another query."""
    said = "Storm closes every school in town"
    texts = [said if repeats else f"{word} {word}ing here" for word in "abcdefghijkl"] + [said]
    records = tuple(
        Record("u", f"r{i}", HEADLINE.name, f"an article on case {i}", text)
        for i, text in enumerate(texts)
    )
    history = History("u", records, ENCODER.encode([record.input for record in records]))
    query = Query("u", "q", HEADLINE.name, "A storm closes every school in town tonight")
    context = QueryContext(query, ENCODER.encode([query.text])[0], history)
    answers = [Candidate(said, 0), Candidate("Storm closes schools tonight", 1)]
    scorer = RECIPE.scorer(BASES[HEADLINE.name], None, HEADLINE, ENCODER)
    assert scorer.adapt(context, (), answers)[0].item == answers[not repeats]


def test_a_words_overlap_has_the_same_bits_whatever_the_hash_seed() -> None:
    """Sums over a set of words depend on PYTHONHASHSEED, so each run had other last bits."""
    code = (
        "import numpy as np\n"
        "from hydra_cli.core.records import History, Query, QueryContext, Record\n"
        "from hydra_cli.modeling.factorized.word_model import untrained\n"
        "vectors = np.eye(2, dtype=np.float32)\n"
        "records = (Record('u', '0', 't', 'pool', 'Council closes a pool'),)\n"
        "history = History('u', records, vectors[:1], vectors[:1])\n"
        "context = QueryContext(Query('u', 'q', 't', 'Council votes on it'), vectors[1], history)\n"
        "texts = [' '.join(f'{a}{b}' for a in 'council' for b in 'xyzwvut'[:i]) for i in (3, 7)]\n"
        "print(untrained().expected_overlap(context, texts).tobytes().hex())"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": str(seed)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in (1, 2, 3)
    }
    assert len(said) == 1


def test_an_empty_shortlist_has_no_expected_grades() -> None:
    context = make_examples(HISTORIES[NEWS.name][0], NEWS)[0].context
    weights = np.array(adapt_prior(NEWS))
    assert expected_grades(context, (), NEWS, empty(), weights, ENCODER).shape == (0,)


def test_recipes_have_names() -> None:
    assert recipe_named("hydra-pers").name == "hydra-pers"
    with pytest.raises(NotFound):
        recipe_named("no such recipe")
    assert empty().labels == ()


def test_word_scores_below_zero_stay_in_range() -> None:
    """BM25 of a word that every record holds is negative."""
    records = tuple(Record("a", str(i), NEWS.name, "goal goal goal", "sports") for i in range(3))
    history = History("a", records, ENCODER.encode([record.input for record in records]))
    query = Query("a", "q", NEWS.name, "goal", labels=NEWS.labels)
    context = QueryContext(query, ENCODER.encode(["goal"])[0], history)
    shortlist = [Scored(record, 0.0) for record in records]
    features = record_features(context, shortlist, np.zeros(3))
    assert np.abs(features).max() <= 10.0


@pytest.mark.parametrize("task", [NEWS, RATING], ids=lambda task: task.name)
def test_expected_grades_are_chances_of_the_labels(task: TaskSpec) -> None:
    context = make_examples(HISTORIES[task.name][0], task)[0].context
    labels = task.labels
    shortlist = [Scored(Record("a", x, task.name, x, x), 0.0) for x in labels]
    model = train(HISTORIES[task.name][1:], labels)
    weights = BASES[task.name].tensors["adapt"]
    found = lists.expected_grades(context, shortlist, task, model, weights, ENCODER)
    scores = lists.closed_features(context, task, labels, (), model, ENCODER) @ weights
    chances = np.exp(scores) / np.exp(scores).sum()
    if task.kind == "classification":
        np.testing.assert_allclose(found, chances)
    else:
        values = np.array([float(label) for label in labels])
        by_hand = [float(chances @ (1 - np.abs(values - v) / 4)) for v in values]
        np.testing.assert_allclose(found, by_hand)
