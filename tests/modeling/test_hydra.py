"""The HYDRA yardstick: heads, labels, training and what is stored."""

from __future__ import annotations

import inspect
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from hydra_cli.core.errors import ModelError
from hydra_cli.core.progress import Silent
from hydra_cli.core.protocols import TextEncoder
from hydra_cli.core.records import Candidate, Scored, TrainingExample
from hydra_cli.core.tasks import PRESETS
from hydra_cli.core.weights import Weights
from hydra_cli.modeling.hydra.bases import OPEN_BASES, OpenBases
from hydra_cli.modeling.hydra.heads import DenseHeads, log_odds, random_heads, stack
from hydra_cli.modeling.hydra.pair_encoder import PairEncoder, shuffled_batches, sorted_batches
from hydra_cli.modeling.hydra.pairs import LabelledPair, adapt_pairs, rerank_pairs
from hydra_cli.modeling.hydra.recipe import HydraRecipe
from hydra_cli.modeling.hydra.training import PAPER, DenseSettings, fit_heads
from hydra_cli.modeling.recipes import recipe_named
from hydra_cli.models.bert_encoder import open_text_encoder
from hydra_cli.models.hash_encoder import HashEncoder
from hydra_cli.models.hf_encoder import HFEncoder
from hydra_cli.models.kept_encoder import KeptEncoder
from tests.modeling.yardstick_examples import closed_examples, open_examples

NEWS, HEADLINES = PRESETS["LaMP_2N"], PRESETS["LaMP_4"]
QUICK = DenseSettings(learning_rate=1e-3, head_learning_rate=1e-2, epochs=2, batch=8)


@pytest.fixture(scope="module")
def encoder(tiny_encoder_path: Path) -> HFEncoder:
    return HFEncoder.open(str(tiny_encoder_path), device="cpu")


def test_heads_compute_what_a_sequential_network_computes() -> None:
    heads = random_heads(["a", "b", "c"], 6)
    states = torch.randn(3, 5, 6)
    for user in range(3):
        own = heads.one(user)
        inner = (states[user] @ own["inner_weight"].T + own["inner_bias"]).tanh()
        expected = inner @ own["outer_weight"].T + own["outer_bias"]
        torch.testing.assert_close(heads(states)[user], expected)
        torch.testing.assert_close(heads.of_rows(states[user], torch.full((5,), user)), expected)
        odds = expected.softmax(-1)
        torch.testing.assert_close(log_odds(expected), (odds[:, 1] / odds[:, 0]).log())


def test_a_head_has_the_released_size() -> None:
    dimension = 768
    with torch.device("meta"):
        numbers = sum(p.numel() for p in DenseHeads(1, dimension).parameters())
    assert numbers == dimension**2 + dimension + 2 * dimension + 2 == 592_130


def test_the_mean_head_is_the_mean_of_the_heads() -> None:
    heads = random_heads(["a", "b"], 4)
    first, second, mean = heads.one(0), heads.one(1), heads.mean()
    for name, value in mean.items():
        torch.testing.assert_close(value, (first[name] + second[name]) / 2)


def test_rerank_labels_follow_hydra_relevance() -> None:
    examples = closed_examples()
    pairs = rerank_pairs(examples)
    assert len(pairs) == sum(len(e.shortlist) for e in examples)
    assert sum(p.label for p in pairs) == sum(sum(e.hydra_relevance or ()) for e in examples)
    assert rerank_pairs([replace(e, hydra_relevance=None) for e in examples]) == []
    assert all(examples[p.example].context.query.text == p.left for p in pairs)


def test_generation_labels_own_output_one_and_answers_zero() -> None:
    example = replace(
        open_examples()[0],
        reference="my own title",
        candidates=tuple(Candidate(text, i) for i, text in enumerate(["x", "y", "x"])),
    )
    pairs = adapt_pairs([example], HEADLINES)
    assert {(p.right, p.label, p.weight) for p in pairs} == {
        ("x", 0, 2.0),
        ("y", 0, 1.0),
        ("my own title", 1, 1.0),
    }
    echo = replace(example, candidates=(Candidate("my own title", 0), Candidate("z", 1)))
    assert [(p.right, p.label) for p in adapt_pairs([echo], HEADLINES)] == [
        ("z", 0),
        ("my own title", 1),
    ]


def test_closed_labels_are_one_for_the_right_label_alone() -> None:
    task = NEWS.with_labels(["sports", "comedy"])
    example = replace(
        closed_examples()[0],
        reference="sports",
        candidates=tuple(
            Candidate(text, i) for i, text in enumerate(["Sports.", "sports", "comedy", "banana"])
        ),
    )
    found = {(p.right, p.label, p.weight) for p in adapt_pairs([example], task)}
    assert found == {("sports", 1, 2.0), ("comedy", 0, 1.0), ("banana", 0, 1.0)}


def test_batches_hold_every_row_once_and_stay_in_budget() -> None:
    lengths = [3, 50, 7, 7, 120, 1, 30, 30]
    batches = list(sorted_batches(lengths, 64))
    assert sorted(row for batch in batches for row in batch) == list(range(8))
    assert all(len(b) * max(lengths[i] for i in b) <= 64 or len(b) == 1 for b in batches)
    steps = list(sorted_batches([100] * 4 + [20] * 4, 4096))
    assert steps == [[0, 1, 2, 3], [4, 5, 6, 7]]  # short pairs aren't padded to 100
    shuffled = shuffled_batches(lengths, 3, "s")
    assert sorted(row for batch in shuffled for row in batch) == list(range(8))
    assert shuffled == shuffled_batches(lengths, 3, "s") != shuffled_batches(lengths, 3, "t")


def test_training_separates_labels_and_leaves_the_store_encoder_alone(encoder: HFEncoder) -> None:
    before = {name: value.clone() for name, value in encoder.model.state_dict().items()}
    examples = open_examples(12)
    recipe = HydraRecipe(replace(QUICK, epochs=10))
    base = recipe.train_base(HEADLINES, examples, [], encoder, seed=0, progress=Silent())
    scorer = recipe.scorer(base, None, HEADLINES, encoder)
    wins = 0
    for example in examples:
        candidates = [*example.candidates, Candidate(example.reference, 9)]
        best = scorer.adapt(example.context, (), candidates)[0].item
        wins += best.text == example.reference
    assert wins >= 0.8 * len(examples)
    for name, value in encoder.model.state_dict().items():
        assert torch.equal(value, before[name])


def test_training_and_fitting_repeat_under_a_seed(encoder: HFEncoder) -> None:
    recipe, examples = HydraRecipe(QUICK), open_examples(6)

    def run(seed: int) -> tuple[str, str]:
        base = recipe.train_base(HEADLINES, examples, [], encoder, seed=seed, progress=Silent())
        own = {"ann": examples}
        heads = recipe.fit_heads(base, HEADLINES, own, encoder, seed=seed, progress=Silent())
        return base.fingerprint, heads["ann"].fingerprint

    torch.manual_seed(1)
    first = run(0)
    torch.manual_seed(2)
    assert run(0) == first
    assert run(1) != first


def pairs_of(user: str, count: int) -> list[LabelledPair]:
    return [
        LabelledPair(user, 0, f"the cat {i} {user}", "good dog" if i % 3 else "bad bird", i % 2)
        for i in range(count)
    ]


def fit(
    encoder: HFEncoder, pairs: list[LabelledPair], settings: DenseSettings
) -> dict[str, dict[str, Tensor]]:
    start = random_heads(["start"], encoder.dimension).one(0)
    return fit_heads(PairEncoder(encoder, 64), pairs, start, settings, seed="0", progress=Silent())


@pytest.mark.parametrize("start", ["population", "random"])
def test_users_fitted_together_come_out_as_if_alone(encoder: HFEncoder, start: str) -> None:
    settings = replace(QUICK, start=start)
    counts = {"u": 3, "v": 8, "w": 21, "x": 1, "y": 5}
    everyone = [pair for user, count in counts.items() for pair in pairs_of(user, count)]
    together = fit(encoder, everyone, settings)
    assert set(together) == set(counts)
    for user, count in counts.items():
        alone = fit(encoder, pairs_of(user, count), settings)[user]
        for name, value in alone.items():
            torch.testing.assert_close(together[user][name], value, atol=2e-4, rtol=1e-3)


def test_cached_states_give_the_head_that_recomputed_ones_give(encoder: HFEncoder) -> None:
    pairs = pairs_of("u", 20) + pairs_of("v", 7)
    cached, again = (fit(encoder, pairs, replace(QUICK, recompute=r)) for r in (False, True))
    for user in ("u", "v"):
        for name, value in cached[user].items():
            torch.testing.assert_close(again[user][name], value, atol=2e-4, rtol=1e-3)


def test_one_step_is_adamw_on_the_mean_cross_entropy(encoder: HFEncoder) -> None:
    settings = replace(QUICK, head_epochs=1, batch=64)
    pairs = pairs_of("u", 6)
    fitted = fit(encoder, pairs, settings)["u"]
    network = PairEncoder(encoder, 64)
    states = network.states(network.tokenize([(p.left, p.right) for p in pairs]))
    head = random_heads(["start"], encoder.dimension)
    logits = head(states[None])[0]
    odds = logits.softmax(-1)
    loss = -sum(odds[i, p.label].log() for i, p in enumerate(pairs)) / len(pairs)
    assert isinstance(loss, Tensor)
    loss.backward()
    rate, decay = settings.head_learning_rate, settings.weight_decay
    for name, parameter in head.named_parameters():
        assert parameter.grad is not None
        # AdamW's first step is rate * sign(gradient) after the decay (arXiv 1711.05101).
        step = parameter.grad / (parameter.grad.abs() + 1e-8)
        expected = parameter * (1 - rate * decay) - rate * step
        torch.testing.assert_close(fitted[name], expected[0], atol=1e-5, rtol=1e-4)


def test_users_with_little_or_one_sided_labels_fit_without_a_crash(encoder: HFEncoder) -> None:
    recipe, examples = HydraRecipe(QUICK), closed_examples()
    task = NEWS.with_labels(["sports", "comedy"])
    base = recipe.train_base(task, examples, [], encoder, seed=0, progress=Silent())
    one_sided = [replace(e, hydra_relevance=(1.0,) * len(e.shortlist)) for e in examples[:1]]
    bare = [replace(examples[0], hydra_relevance=None, candidates=(), quality=None)]
    given = {"one-sided": one_sided, "bare": bare, "none": []}
    heads = recipe.fit_heads(base, task, given, encoder, seed=0, progress=Silent())
    assert set(heads) == set(given)
    context, shortlist = examples[0].context, examples[0].shortlist
    population = recipe.scorer(base, None, task, encoder).rerank(context, shortlist)
    for user in ("bare", "none"):
        assert heads[user].tensors == {}
        same = recipe.scorer(base, heads[user], task, encoder).rerank(context, shortlist)
        assert same == population
    own = recipe.scorer(base, heads["one-sided"], task, encoder).rerank(context, shortlist)
    assert all(math.isfinite(scored.score) for scored in own)
    assert own != population


def test_cards_count_users_pairs_and_positives(encoder: HFEncoder, tmp_path: Path) -> None:
    recipe, examples = HydraRecipe(QUICK), open_examples(4)
    base = recipe.train_base(HEADLINES, examples, [], encoder, seed=3, progress=Silent())
    answers = sum(len({c.text for c in e.candidates}) for e in examples)
    assert base.card.counts == {
        "users": len({e.user for e in examples}),
        "examples": 4,
        "rerank_pairs": sum(len(e.shortlist) for e in examples),
        "rerank_positives": sum(sum(e.hydra_relevance or ()) for e in examples),
        "adapt_pairs": answers + 4,
        "adapt_positives": 4,
    }
    assert (base.card.kind, base.card.recipe, base.card.seed) == ("base", "hydra", 3)
    heads = recipe.fit_heads(
        base, HEADLINES, {"ann": examples[:1]}, encoder, seed=3, progress=Silent()
    )
    heads["ann"].save(tmp_path / "head")
    base.save(tmp_path / "base")
    base, head = Weights.load(tmp_path / "base"), Weights.load(tmp_path / "head")
    assert head.card.counts["adapt_pairs"] == len({c.text for c in examples[0].candidates}) + 1
    recipe.scorer(base, head, HEADLINES, encoder)  # fits its base after a round trip


def test_an_empty_base_keeps_the_given_orders(encoder: HFEncoder, tmp_path: Path) -> None:
    recipe, example = HydraRecipe(), open_examples()[0]
    progress = Silent()
    base = recipe.train_base(HEADLINES, [], [], encoder, seed=0, progress=progress)
    base.save(tmp_path / "base")
    scorer = recipe.scorer(Weights.load(tmp_path / "base"), None, HEADLINES, encoder)
    assert scorer.rerank(example.context, example.shortlist) == list(example.shortlist)
    kept = scorer.adapt(example.context, (), example.candidates)
    assert [scored.item for scored in kept] == list(example.candidates)
    assert len(progress.notes) == 2
    heads = recipe.fit_heads(
        base, HEADLINES, {"ann": [example]}, encoder, seed=0, progress=progress
    )
    assert heads["ann"].tensors == {}


def test_a_head_of_another_base_or_recipe_or_encoder_is_refused(encoder: HFEncoder) -> None:
    recipe, examples = HydraRecipe(QUICK), open_examples(2)
    base, other = (
        recipe.train_base(HEADLINES, examples, [], encoder, seed=seed, progress=Silent())
        for seed in (0, 1)
    )
    own = {"ann": examples}
    head = recipe.fit_heads(base, HEADLINES, own, encoder, seed=0, progress=Silent())["ann"]
    with pytest.raises(ModelError, match="another base"):
        recipe.scorer(other, head, HEADLINES, encoder)
    foreign = Weights(replace(base.card, recipe="mof"), base.tensors)
    with pytest.raises(ModelError, match="recipe 'mof'"):
        recipe.scorer(foreign, None, HEADLINES, encoder)
    with pytest.raises(ModelError, match="another encoder"):
        recipe.scorer(base, None, HEADLINES, HashEncoder())


def test_an_encoder_without_weights_is_refused_in_one_line() -> None:
    with pytest.raises(ModelError, match="can't be trained"):
        HydraRecipe().train_base(
            HEADLINES, open_examples(2), [], HashEncoder(), seed=0, progress=Silent()
        )


def test_an_encoder_behind_others_is_trained_as_if_it_stood_alone(
    tiny_encoder_path: Path, encoder: HFEncoder, tmp_path: Path
) -> None:
    def base(through: TextEncoder) -> str:
        made = HydraRecipe(QUICK).train_base(
            HEADLINES, open_examples(2), [], through, seed=0, progress=Silent()
        )
        return made.fingerprint

    light = open_text_encoder(str(tiny_encoder_path))
    kept = KeptEncoder(open_text_encoder(str(tiny_encoder_path)), tmp_path / "vectors.sqlite")
    for front in (light, kept):  # what Python 3.12 and newer look at, too: no __getattr__
        assert inspect.getattr_static(front, "full", None) is not None
    assert base(light) == base(kept) == base(encoder)
    with pytest.raises(ModelError, match="can't be trained"):
        base(KeptEncoder(HashEncoder(), tmp_path / "others.sqlite"))


def test_scores_are_the_same_alone_and_in_company(encoder: HFEncoder) -> None:
    """Eval mode: no dropout, and padding beside longer pairs changes nothing."""
    recipe, examples = HydraRecipe(QUICK), open_examples(4)
    base = recipe.train_base(HEADLINES, examples, [], encoder, seed=0, progress=Silent())
    scorer = recipe.scorer(base, None, HEADLINES, encoder)
    context = examples[0].context
    texts = ["cat", "the great new red paper on music and sports and data", "dog", "cat"]
    candidates = [Candidate(text, i) for i, text in enumerate(texts)]
    together = {scored.item: scored.score for scored in scorer.adapt(context, (), candidates)}
    for candidate in candidates:
        alone = scorer.adapt(context, (), [candidate])[0].score
        assert math.isclose(alone, together[candidate], abs_tol=1e-4)
    assert together[candidates[0]] == together[candidates[3]]


def test_float16_storage_keeps_scores(encoder: HFEncoder) -> None:
    network = PairEncoder(encoder, 64)
    tokens = network.tokenize([("the cat", "a dog"), ("red house", "great music")])
    exact = network.states(tokens)
    stored = network.tensors()
    assert {t.dtype for t in stored.values() if t.is_floating_point()} == {torch.float16}
    network.load(stored)
    torch.testing.assert_close(network.states(tokens), exact, atol=5e-3, rtol=0)


def test_weights_of_another_architecture_are_refused(encoder: HFEncoder) -> None:
    with pytest.raises(ModelError, match="does not fit"):
        PairEncoder(encoder, 64).load({"embeddings": torch.zeros(2)})


def test_forgetting_needs_no_training_user_inside_the_base(encoder: HFEncoder) -> None:
    base = HydraRecipe(QUICK).train_base(
        HEADLINES, open_examples(4), [], encoder, seed=0, progress=Silent()
    )
    heads = {name: t.shape for name, t in base.tensors.items() if ".head." in name}
    assert heads["adapt.head.inner_weight"] == (encoder.dimension, encoder.dimension)
    assert "ann" not in str(base.card)


def test_stacking_keeps_each_head() -> None:
    heads = [random_heads([name], 3).one(0) for name in "ab"]
    for place, head in enumerate(heads):
        assert all(torch.equal(stack(heads).one(place)[name], head[name]) for name in head)


def test_shortlists_come_back_whole(encoder: HFEncoder) -> None:
    recipe, examples = HydraRecipe(QUICK), open_examples(3)
    base = recipe.train_base(HEADLINES, examples, [], encoder, seed=0, progress=Silent())
    example: TrainingExample = examples[0]
    scorer = recipe.scorer(base, None, HEADLINES, encoder)
    ranked = scorer.rerank(example.context, example.shortlist)
    assert {s.item.id for s in ranked} == {s.item.id for s in example.shortlist}
    assert [s.score for s in ranked] == sorted((s.score for s in ranked), reverse=True)
    assert scorer.rerank(example.context, []) == []
    assert all(isinstance(s, Scored) for s in ranked)


def test_pairs_longer_than_the_encoder_are_cut(encoder: HFEncoder) -> None:
    network = PairEncoder(encoder, limit=100_000)
    tokens = network.tokenize([("cat " * 500, "dog " * 500)])
    assert len(tokens[0]["input_ids"]) == encoder.pair_tokens
    assert network.states(tokens).isfinite().all()


def test_only_the_last_bases_stay_open(encoder: HFEncoder) -> None:
    opened, examples = OpenBases(), open_examples(2)
    recipe = HydraRecipe(QUICK)
    bases = [
        recipe.train_base(HEADLINES, examples, [], encoder, seed=seed, progress=Silent())
        for seed in range(OPEN_BASES + 1)
    ]
    first = opened.encoders(bases[0], "hydra", encoder)
    assert opened.encoders(bases[0], "hydra", encoder) is first
    for base in bases[1:]:
        opened.encoders(base, "hydra", encoder)
    assert opened.encoders(bases[0], "hydra", encoder) is not first


def test_the_paper_settings_are_the_released_ones() -> None:
    assert (PAPER.epochs, PAPER.head_epochs, PAPER.batch) == (2, 2, 64)
    assert PAPER.learning_rate == PAPER.head_learning_rate == 2e-5
    assert (PAPER.weight_decay, PAPER.start, PAPER.recompute) == (0.01, "random", True)
    assert recipe_named("hydra-paper").name == "hydra-paper"
    assert recipe_named("hydra").name == "hydra"
