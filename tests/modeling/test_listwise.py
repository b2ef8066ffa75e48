"""The conditional logit against scipy, autograd and arithmetic by hand."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch
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
    found = listwise.fit(
        listwise.pack([lists]), torch.tensor(prior)[None], torch.full((3,), 2.0).double()
    )
    np.testing.assert_allclose(found[0].numpy(), wanted, atol=1e-5)


def test_derivatives_are_autograds() -> None:
    packed = listwise.pack([make_lists(2, 4), make_lists(3, 7)])
    prior = torch.zeros(2, 3, dtype=torch.float64)
    precision = torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64)
    w = torch.randn(2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    gradient, hessian = listwise._derivatives(packed, w, prior, precision)
    for user in range(2):

        def one(own: torch.Tensor, user: int = user) -> torch.Tensor:
            every = w.clone()
            every[user] = own
            return listwise.loss(packed, every, prior, precision)[user]

        slope = torch.autograd.functional.jacobian(one, w[user])
        curve = torch.autograd.functional.hessian(one, w[user])
        torch.testing.assert_close(gradient[user], slope)
        torch.testing.assert_close(hessian[user], curve)


def test_users_in_one_batch_get_what_each_gets_alone() -> None:
    users = [make_lists(4, 5), [], make_lists(5, 2), make_lists(6, 9)]
    prior = torch.ones(4, 3, dtype=torch.float64)
    precision = torch.ones(3, dtype=torch.float64)
    together = listwise.fit(listwise.pack(users), prior, precision)
    for row, own in zip(together, users, strict=True):
        alone = listwise.fit(listwise.pack([own]), prior[:1], precision)[0]
        torch.testing.assert_close(row, alone, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(together[1], prior[1])  # no lists: the prior itself


def test_a_lost_cause_stays_finite() -> None:
    separable = [ItemList(np.array([[50.0], [-50.0]]), np.array([1.0, 0.0]))] * 20
    w = listwise.fit(
        listwise.pack([separable]),
        torch.full((1, 1), -5.0, dtype=torch.float64),
        torch.full((1,), 1e-3, dtype=torch.float64),
    )
    assert torch.isfinite(w).all()
    assert float(w) > 0.0


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.permutations([0, 1, 2, 3]))
def test_order_of_items_and_constants_change_nothing(seed: int, order: list[int]) -> None:
    rng = np.random.default_rng(seed)
    features, targets = rng.normal(size=(4, 3)), rng.dirichlet(np.ones(4))
    other = ItemList(features[order] + rng.normal(size=3), targets[order])
    prior, precision = torch.zeros(1, 3).double(), torch.ones(3).double()
    first = listwise.fit(listwise.pack([[ItemList(features, targets)]]), prior, precision)
    second = listwise.fit(listwise.pack([[other]]), prior, precision)
    torch.testing.assert_close(first, second, atol=1e-6, rtol=1e-5)


def test_precision_follows_the_evidence() -> None:
    rng = np.random.default_rng(0)

    def user(taste: np.ndarray, count: int) -> list[ItemList]:
        lists = []
        for _ in range(count):
            x = rng.normal(size=(4, 2))
            p = np.exp(3.0 * x @ taste)
            lists.append(ItemList(x, p / p.sum()))
        return lists

    population = torch.zeros(2, dtype=torch.float64)
    tastes = [np.array([np.cos(a), np.sin(a)]) for a in np.linspace(0, 6, 12)]
    differ = choose_precision([user(taste, 6) for taste in tastes], population)
    assert differ is not None
    same = choose_precision([user(np.zeros(2), 6) for _ in tastes], population)
    assert same is None
    assert choose_precision([user(tastes[0], 1)], population) is None


@pytest.mark.slow
def test_a_thousand_heads_take_seconds() -> None:
    users = [make_lists(seed, 8, width=23) for seed in range(1000)]
    prior = torch.zeros(1000, 23, dtype=torch.float64)
    start = time.perf_counter()
    listwise.fit(listwise.pack(users), prior, torch.full((23,), 10.0, dtype=torch.float64))
    assert time.perf_counter() - start < 10.0
