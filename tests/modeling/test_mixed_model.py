"""The mixed model: shares of variance, items that recur, users who differ, no self-teaching."""

from __future__ import annotations

import numpy as np
import pytest

from hydra_cli.core.records import History, Record
from hydra_cli.modeling.factorized import items, mixed_training, variances
from hydra_cli.modeling.factorized.mixed_model import MixedModel
from hydra_cli.modeling.factorized.variances import Block
from hydra_cli.models.hash_encoder import HashEncoder

ENCODER = HashEncoder(16)
SCALE = ("1", "2", "3", "4", "5")


def history(user: str, *pairs: tuple[str, str]) -> History:
    records = [Record(user, f"{user}{i}", "t", text, out) for i, (text, out) in enumerate(pairs)]
    return History(user, tuple(records), ENCODER.encode([text for text, _ in pairs]))


def two_tastes(seed: int = 0) -> list[History]:
    """Half of the users love even items and hate odd ones, the other half the reverse."""
    draw = np.random.default_rng(seed)
    found = []
    for u in range(16):
        seen = draw.permutation(20)[:16]
        liked = [(f"item{i} story", "5" if (i + u) % 2 else "1") for i in seen]
        found.append(history(f"u{u}", *liked))
    return found


def predict(model: MixedModel, own: History, text: str) -> tuple[float, float]:
    mean, variance = model.predict(own, text, ENCODER.encode([text])[0])
    return float(mean[0]), variance


def test_shares_of_variance_are_found() -> None:
    draw = np.random.default_rng(0)
    blocks = []
    for _ in range(60):
        x = draw.normal(size=(40, 3))
        kernels = np.stack([np.ones((40, 40)), x @ x.T, np.eye(40)])
        level, slopes = draw.normal(size=1) * 2.0, draw.normal(size=3) * 0.0
        targets = level + x @ slopes + draw.normal(size=40) * 0.5
        blocks.append(Block(kernels, targets[:, None]))
    level, slope, noise = variances.fit(blocks, steps=60)
    assert level == pytest.approx(4.0, rel=0.4)
    assert slope < 0.02
    assert noise == pytest.approx(0.25, rel=0.1)


def test_an_item_is_known_where_several_users_answered_it() -> None:
    shared, alone = ("A film. ", "5"), ("a diary", "1")
    histories = [history(f"u{i}", ("a  film.", "5"), (f"own {i}", "3")) for i in range(4)]
    histories.append(history("u9", shared, alone))
    model, apart = mixed_training.train(histories, SCALE, numeric=True)
    assert items.key("A film.") in model.items.keys
    assert items.key("a diary") not in model.items.keys
    assert model.items.effect([items.key("a film.")])[0, 0] > 0
    assert not model.items.effect([items.key("a diary")]).any()
    assert set(apart) == {h.user for h in histories}


def test_a_users_own_items_teach_no_model_that_judges_them() -> None:
    histories = [history(f"u{i}", (f"own {i}", "3"), ("a film", "4")) for i in range(6)]
    pair = ("only two saw this", "5")
    histories[0] = history("u0", pair, ("a film", "4"))
    histories[1] = history("u1", pair, ("a film", "4"))
    model, apart = mixed_training.train(histories, SCALE, numeric=True)
    known = items.key(pair[0])
    assert known in model.items.keys
    assert known not in apart["u0"].items.keys
    assert known not in apart["u1"].items.keys


def test_without_a_history_the_population_answers_and_certainty_grows() -> None:
    model, _ = mixed_training.train(two_tastes(), SCALE, numeric=True)
    fans = [(f"other{i}", "5") for i in range(12)]
    mean, wide = predict(model, history("new"), "unheard of")
    assert mean == pytest.approx(3.0, abs=0.5)
    fond, narrow = predict(model, history("new", *fans), "unheard of")
    assert fond > mean
    assert narrow < wide


def test_tastes_in_items_carry_over_to_items_not_seen_yet() -> None:
    model, _ = mixed_training.train(two_tastes(), SCALE, numeric=True)
    even = history("new", *((f"item{i} story", "1" if i % 2 else "5") for i in range(10)))
    liked, _ = predict(model, even, "item14 story")
    disliked, _ = predict(model, even, "item15 story")
    assert liked > disliked + 1.0


def test_labels_are_shares_of_columns_and_unknown_ones_are_left_out() -> None:
    histories = [
        history(f"u{i}", *((f"text {j}", "tea" if i % 2 else "milk") for j in range(6)))
        for i in range(6)
    ]
    model, _ = mixed_training.train(histories, ("milk", "tea"), numeric=False)
    own = history("new", ("a", "tea"), ("b", "tea"), ("c", "sand"), ("d", "tea"))
    mean, _ = model.predict(own, "e", ENCODER.encode(["e"])[0])
    assert mean.shape == (2,)
    assert mean[1] > 0.7 > mean[0]


def test_nothing_is_learned_from_nobody_or_one_user() -> None:
    for histories in ([], [history("a", ("x", "5"))], [history("a", ("x", "no number"))]):
        model, apart = mixed_training.train(histories, SCALE, numeric=True)
        assert not model.trained
        assert not apart


def test_the_same_twice() -> None:
    one, _ = mixed_training.train(two_tastes(), SCALE, numeric=True)
    two, _ = mixed_training.train(two_tastes(), SCALE, numeric=True)
    np.testing.assert_array_equal(one.own, two.own)
    np.testing.assert_array_equal(one.items.factors, two.items.factors)
