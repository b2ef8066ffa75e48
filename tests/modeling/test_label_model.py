"""The shared label model: closed form, honesty, limits."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from hydra_cli.core.records import History, Record
from hydra_cli.modeling.factorized import label_model
from hydra_cli.models.hash_encoder import HashEncoder

ENCODER = HashEncoder(16)
LABELS = ("sport", "money")


def history(user: str, *pairs: tuple[str, str]) -> History:
    records = tuple(
        Record(user, str(i), "news", text, label) for i, (text, label) in enumerate(pairs)
    )
    return History(user, records, ENCODER.encode([text for text, _ in pairs]))


GOAL = history("a", ("the goal of the match", "sport"), ("shares fell", "money"))
BANK = history("b", ("the bank pays", "money"), ("a goal again", "sport"))
CUP = history("c", ("cup match tonight", "sport"))


@pytest.mark.parametrize(("rows", "columns"), [(5, 12), (12, 5)])
def test_primal_and_dual_are_scikit_learns_ridge(rows: int, columns: int) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(rows, columns)), rng.normal(size=(rows, 2))
    weight = rng.uniform(0.5, 2.0, rows)
    wanted = Ridge(alpha=0.7, fit_intercept=False).fit(x, y, sample_weight=weight).coef_.T
    found = label_model.ridge(
        x.astype(np.float32), y.astype(np.float32), weight.astype(np.float32), 0.7
    )
    np.testing.assert_allclose(found, wanted, atol=1e-4)


def test_every_user_is_judged_by_others_alone() -> None:
    honest = label_model.cross_fit([GOAL, BANK, CUP], LABELS, folds=3)
    without_b = label_model.train([GOAL, CUP], LABELS)
    np.testing.assert_allclose(honest["b"].vectors, without_b.vectors, atol=1e-6)
    np.testing.assert_allclose(honest["b"].rarity, without_b.rarity)
    np.testing.assert_allclose(honest["b"].frequency, without_b.frequency)


def test_words_and_frequencies_lead_to_the_label() -> None:
    model = label_model.train([GOAL, BANK, CUP], LABELS)
    opinion = model.by_words(["another goal"], LABELS)[0]
    assert opinion[0] > opinion[1]
    prior = model.prior(LABELS)
    assert prior.sum() == pytest.approx(1.0)
    assert prior[0] > prior[1]


def test_unknown_labels_get_little_and_lose_nothing() -> None:
    model = label_model.train([GOAL, BANK], LABELS)
    labels = ("money", "never seen", "sport")
    opinions = model.by_vector(GOAL.inputs, labels)
    assert (opinions[:, 1] == 0.0).all()
    assert 0.0 < model.prior(labels)[1] < model.prior(labels)[0]


def test_without_histories_it_knows_nothing_and_says_so() -> None:
    for model in (label_model.train([], LABELS), label_model.empty()):
        assert model.labels == ()
        assert model.by_vector(GOAL.inputs, LABELS).tolist() == [[0.0, 0.0]] * 2
        assert model.by_words(["goal"], LABELS).tolist() == [[0.0, 0.0]]
        assert model.prior(LABELS).tolist() == [0.5, 0.5]
    lone = label_model.cross_fit([GOAL], LABELS)["a"]
    assert lone.labels == ()


def test_long_histories_are_thinned_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(label_model, "MOST_RECORDS", 10)
    assert label_model._cap([100, 3, 2]) <= 5
    assert label_model._cap([3, 3]) == 3
    assert label_model._cap([]) == 1
