"""The MoF-like yardstick: labels, router, facets and the recipe around them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from hydra_cli.core.errors import ModelError
from hydra_cli.core.progress import Silent
from hydra_cli.core.records import Candidate
from hydra_cli.core.tasks import PRESETS
from hydra_cli.core.weights import Weights
from hydra_cli.modeling.mof.histories import NEWEST, router_rows
from hydra_cli.modeling.mof.modules import FACETS, HIDDEN, TOP, FacetHeads, Router
from hydra_cli.modeling.mof.pairs import relative_pairs, stage_pairs
from hydra_cli.modeling.mof.recipe import MofRecipe, mixtures_of
from hydra_cli.modeling.mof.training import FacetSettings
from hydra_cli.models.hash_encoder import HashEncoder
from hydra_cli.models.hf_encoder import HFEncoder
from tests.modeling.yardstick_examples import closed_examples, history_of, open_examples

NEWS = PRESETS["LaMP_2N"].with_labels(["sports", "comedy"])
HEADLINES = PRESETS["LaMP_4"]
QUICK = FacetSettings(learning_rate=1e-3, facet_learning_rate=1e-2, batch=8)


@pytest.fixture(scope="module")
def encoder(tiny_encoder_path: Path) -> HFEncoder:
    return HFEncoder.open(str(tiny_encoder_path), device="cpu")


def test_answers_are_labelled_against_the_others_of_their_query() -> None:
    example = replace(
        open_examples()[0],
        candidates=tuple(Candidate(text, i) for i, text in enumerate(["x", "y", "x", "z"])),
        quality=(0.2, 0.6, 0.2, 0.4),
    )  # mean 0.35
    pairs = stage_pairs("adapt", [example], HEADLINES)
    assert [(p.right, p.label, p.weight) for p in pairs] == [
        ("x", 0, 2.0),
        ("y", 1, 1.0),
        ("z", 1, 1.0),
    ]
    assert example.reference not in {p.right for p in pairs}
    tied = replace(example, quality=(0.3,) * 4)
    assert relative_pairs([tied, replace(example, quality=None)], HEADLINES) == []


def test_closed_tasks_and_reranking_keep_the_shared_labels() -> None:
    pairs = stage_pairs("adapt", closed_examples(), NEWS)
    assert {(p.right, p.label) for p in pairs if p.example == 0} == {("sports", 1), ("comedy", 0)}
    assert len(stage_pairs("rerank", closed_examples(), NEWS)) == 16


def test_a_facet_is_a_two_layer_network_of_its_own() -> None:
    heads = FacetHeads(6)
    states = torch.randn(4, 6)
    for facet in range(FACETS):
        rows = slice(facet * HIDDEN, (facet + 1) * HIDDEN)
        inner = torch.tanh(states @ heads.inner.weight[rows].T + heads.inner.bias[rows])
        expected = inner @ heads.outer[facet] + heads.bias[facet]
        torch.testing.assert_close(heads(states)[:, facet], expected)


def test_mixtures_are_top_k_sum_to_one_and_ignore_padding() -> None:
    torch.manual_seed(0)
    router = Router(8).eval()
    rows, there = torch.randn(3, 5, 16), torch.ones(3, 5, dtype=torch.bool)
    there[1, 2:] = False
    mixtures, loss = router(rows, there)
    torch.testing.assert_close(mixtures.sum(1), torch.ones(3))
    assert ((mixtures > 0).sum(1) == TOP).all()
    assert loss > 0
    rows[1, 2:] = 99.0  # behind the mask
    torch.testing.assert_close(router(rows, there)[0], mixtures)
    alone, _ = router(rows[1:2, :2], there[1:2, :2])
    torch.testing.assert_close(alone[0], mixtures[1])


def test_the_router_reads_the_newest_records_inputs_beside_outputs(encoder: HFEncoder) -> None:
    device = torch.device("cpu")
    news = history_of("bob", "LaMP_2N", ["sports", "comedy", "sports"])
    empty = news.take([])
    rows, there = router_rows([news, empty], encoder, device)
    assert rows.shape == (2, 3, 64)
    assert there.tolist() == [[True] * 3, [True, False, False]]
    assert (rows[1] == 0).all()
    torch.testing.assert_close(rows[0, :, :32], torch.from_numpy(news.inputs))
    label = torch.from_numpy(encoder.encode(["comedy"])[0])
    torch.testing.assert_close(rows[0, 1, 32:], label)
    titles = history_of("ann", "LaMP_4", ["t"] * 8).take([i % 8 for i in range(NEWEST + 5)])
    rows, _ = router_rows([titles], encoder, device)
    assert titles.outputs is not None
    torch.testing.assert_close(rows[0, -1, 32:], torch.from_numpy(titles.outputs[-1]))
    assert rows.shape[1] == NEWEST


def test_training_learns_and_repeats_under_a_seed(encoder: HFEncoder) -> None:
    examples = open_examples(12)
    recipe = MofRecipe(replace(QUICK, epochs=8))

    def train(seed: int) -> Weights:
        return recipe.train_base(HEADLINES, examples, [], encoder, seed=seed, progress=Silent())

    torch.manual_seed(1)
    base = train(0)
    torch.manual_seed(2)
    assert train(0).fingerprint == base.fingerprint
    scorer = recipe.scorer(base, None, HEADLINES, encoder)
    best = [scorer.adapt(e.context, (), e.candidates)[0].item for e in examples]
    wins = sum(one == e.candidates[1] for one, e in zip(best, examples, strict=True))
    assert wins >= 10  # "bad TOPIC" is the better answer every time


def test_a_new_user_needs_no_fit_and_a_head_keeps_seven_numbers(
    encoder: HFEncoder, tmp_path: Path
) -> None:
    recipe, examples = MofRecipe(QUICK), closed_examples()
    base = recipe.train_base(NEWS, examples, [], encoder, seed=0, progress=Silent())
    base.save(tmp_path / "base")
    base = Weights.load(tmp_path / "base")
    context, shortlist = examples[0].context, examples[0].shortlist
    routed = recipe.scorer(base, None, NEWS, encoder).rerank(context, shortlist)
    given = {"bob": examples[:1], "none": []}
    heads = recipe.fit_heads(base, NEWS, given, encoder, seed=0, progress=Silent())
    assert heads["none"].tensors == {}
    assert {n: tuple(t.shape) for n, t in heads["bob"].tensors.items()} == {
        "rerank.mixture": (FACETS,),
        "adapt.mixture": (FACETS,),
    }
    own = recipe.scorer(base, heads["bob"], NEWS, encoder).rerank(context, shortlist)
    assert [s.item.id for s in own] == [s.item.id for s in routed]
    for one, other in zip(own, routed, strict=True):
        assert one.score == pytest.approx(other.score, abs=1e-5)


def test_an_empty_history_hears_all_facets_alike(encoder: HFEncoder) -> None:
    history = history_of("bob", "LaMP_2N", ["sports"])
    mixtures = mixtures_of(Router(32).eval(), [history.take([]), history], encoder)
    torch.testing.assert_close(mixtures[0], torch.full((FACETS,), 1 / FACETS))
    assert (mixtures[1] > 0).sum() == TOP


def test_empty_bases_foreign_heads_and_damage(encoder: HFEncoder) -> None:
    recipe, examples = MofRecipe(QUICK), closed_examples()
    progress = Silent()
    empty = recipe.train_base(NEWS, [], [], encoder, seed=0, progress=progress)
    kept = recipe.scorer(empty, None, NEWS, encoder)
    assert kept.rerank(examples[0].context, examples[0].shortlist) == list(examples[0].shortlist)
    assert len(progress.notes) == 2
    base = recipe.train_base(NEWS, examples, [], encoder, seed=0, progress=progress)
    head = recipe.fit_heads(base, NEWS, {"bob": examples}, encoder, seed=0, progress=progress)
    with pytest.raises(ModelError, match="another base"):
        recipe.scorer(empty, head["bob"], NEWS, encoder)
    with pytest.raises(ModelError, match="another encoder"):
        recipe.scorer(base, None, NEWS, HashEncoder())
    torn = {name: t for name, t in base.tensors.items() if "router.gate" not in name}
    with pytest.raises(ModelError, match="another release"):
        recipe.scorer(Weights(base.card, torn), None, NEWS, encoder)
