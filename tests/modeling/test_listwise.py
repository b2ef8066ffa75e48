"""The conditional logit against scipy, autograd and arithmetic by hand."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from hydra_cli.modeling.factorized import listwise
from hydra_cli.modeling.factorized.listwise import ItemList
from hydra_cli.modeling.factorized.shrinkage import choose_precision


def make_lists(seed: int, count: int, width: int = 3) -> list[ItemList]:
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        n = int(rng.integers(2, 6))
        targets = rng.dirichlet(np.ones(n))
        found.append(ItemList(rng.normal(size=(n, width)), targets, float(rng.uniform(0.5, 2))))
    return found


def plain_loss(lists: list[ItemList], w: np.ndarray, prior: np.ndarray, precision: float) -> float:
    total = 0.5 * precision * float(((w - prior) ** 2).sum())
    for one in lists:
        scores = one.features @ w
        logs = scores - np.log(np.exp(scores).sum())
        total -= one.weight * float(one.targets @ logs)
    return total


def test_mode_is_scipys() -> None:
    lists, prior = make_lists(1, 12), np.array([0.5, -1.0, 0.0])
    wanted = minimize(lambda w: plain_loss(lists, w, prior, 2.0), prior, tol=1e-12).x
    found = listwise.fit(listwise.pack([lists]), prior[None], np.full(3, 2.0))
    np.testing.assert_allclose(found[0], wanted, atol=1e-5)


def test_derivatives_are_those_of_the_loss() -> None:
    """Against central differences of the loss itself."""
    packed = listwise.pack([make_lists(2, 4), make_lists(3, 7)])
    prior, precision = np.zeros((2, 3)), np.array([0.5, 1.0, 2.0])
    w = np.random.default_rng(0).normal(size=(2, 3))
    gradient, hessian = listwise.derivatives(packed, w, prior, precision)

    def loss(step: np.ndarray) -> np.ndarray:
        return listwise.loss(packed, w + step, prior, precision)

    def slopes(step: np.ndarray) -> np.ndarray:
        return listwise.derivatives(packed, w + step, prior, precision)[0]

    h = 1e-5
    for i in range(3):
        step = np.zeros(3)
        step[i] = h
        slope = (loss(step) - loss(-step)) / (2 * h)
        np.testing.assert_allclose(gradient[:, i], slope, rtol=1e-6, atol=1e-7)
        curve = (slopes(step) - slopes(-step)) / (2 * h)
        np.testing.assert_allclose(hessian[:, i], curve, rtol=1e-6, atol=1e-7)


def test_users_in_one_batch_get_what_each_gets_alone() -> None:
    users = [make_lists(4, 5), [], make_lists(5, 2), make_lists(6, 9)]
    prior = np.ones((4, 3))
    precision = np.ones(3)
    together = listwise.fit(listwise.pack(users), prior, precision)
    for row, own in zip(together, users, strict=True):
        alone = listwise.fit(listwise.pack([own]), prior[:1], precision)[0]
        np.testing.assert_allclose(row, alone, atol=1e-6, rtol=1e-6)
    np.testing.assert_array_equal(together[1], prior[1])  # no lists: the prior itself


def test_a_lost_cause_stays_finite() -> None:
    separable = [ItemList(np.array([[50.0], [-50.0]]), np.array([1.0, 0.0]))] * 20
    w = listwise.fit(
        listwise.pack([separable]),
        np.full((1, 1), -5.0),
        np.full(1, 1e-3),
    )
    assert np.isfinite(w).all()
    assert w.item() > 0.0


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.permutations([0, 1, 2, 3]))
def test_order_of_items_and_constants_change_nothing(seed: int, order: list[int]) -> None:
    rng = np.random.default_rng(seed)
    features, targets = rng.normal(size=(4, 3)), rng.dirichlet(np.ones(4))
    other = ItemList(features[order] + rng.normal(size=3), targets[order])
    prior, precision = np.zeros((1, 3)), np.ones(3)
    first = listwise.fit(listwise.pack([[ItemList(features, targets)]]), prior, precision)
    second = listwise.fit(listwise.pack([[other]]), prior, precision)
    np.testing.assert_allclose(first, second, atol=1e-6, rtol=1e-5)


def test_precision_follows_the_evidence() -> None:
    rng = np.random.default_rng(0)

    def user(taste: np.ndarray, count: int) -> list[ItemList]:
        lists = []
        for _ in range(count):
            x = rng.normal(size=(4, 2))
            p = np.exp(3.0 * x @ taste)
            lists.append(ItemList(x, p / p.sum()))
        return lists

    population = np.zeros(2)
    tastes = [np.array([np.cos(a), np.sin(a)]) for a in np.linspace(0, 6, 12)]
    differ = choose_precision([user(taste, 6) for taste in tastes], population)
    assert differ is not None
    same = choose_precision([user(np.zeros(2), 6) for _ in tastes], population)
    assert same is None
    assert choose_precision([user(tastes[0], 1)], population) is None


@pytest.mark.slow
def test_a_thousand_heads_take_seconds() -> None:
    users = [make_lists(seed, 8, width=23) for seed in range(1000)]
    prior = np.zeros((1000, 23))
    start = time.perf_counter()
    listwise.fit(listwise.pack(users), prior, np.full(23, 10.0))
    assert time.perf_counter() - start < 10.0
