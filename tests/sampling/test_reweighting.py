"""Free energies from biased frames: the truth lies in the interval as often as it says, and a region never seen is not made up."""

import numpy as np
import pytest

from hae.data.rounds import share
from hae.data.units import BOLTZMANN
from hae.errors import BadInput
from hae.sampling.reweighting import difference, profile, weights_of

T, KT = 300.0, BOLTZMANN * 300.0
X = np.linspace(-2, 2, 401)
U = 20 * (X**2 - 1) ** 2 + 2 * X  # two wells, kJ/mol
V = -0.8 * U  # a bias that all but fills them
TRUTH = -KT * np.log(np.exp(-U / KT)[X > 0].sum() / np.exp(-U / KT)[X <= 0].sum())


def walk(random, n=2000, bias=V):
    """Metropolis steps in the biased energy: correlated, as walkers are."""
    at, where = np.empty(n, int), int(random.integers(len(X)))
    total = U + bias
    for i in range(10 * n):
        to = where + int(random.integers(-25, 26))
        if 0 <= to < len(X) and random.random() < np.exp(min(0.0, (total[where] - total[to]) / KT)):
            where = to
        if i % 10 == 9:
            at[i // 10] = where
    return at


def test_the_truth_lies_in_the_interval_as_often_as_it_says():
    inside = []
    for seed in range(60):
        random = np.random.default_rng(seed)
        walkers = [walk(random, 500) for _ in range(8)]
        at, blocks = np.concatenate(walkers), np.repeat(np.arange(32), 125)
        found = difference(X[at] > 0, X[at] <= 0, weights_of(V[at], T), blocks, T)
        assert found.low <= found.value <= found.high
        inside.append(found.low <= TRUTH <= found.high)
    assert 0.8 <= np.mean(inside) <= 1.0


def test_a_bias_that_does_nothing_weighs_nothing():
    assert (weights_of(np.zeros(5), T) == 1).all() and share(np.ones(5)) == 1
    assert share(np.array([1.0, 0, 0, 0])) == 0.25


def test_where_a_draw_can_miss_a_region_the_interval_has_no_end():
    first = np.array([True] + [False] * 9)
    found = difference(first, ~first, np.ones(10), np.arange(10), T)
    assert found.value == pytest.approx(KT * np.log(9)) and found.high == np.inf
    with pytest.raises(BadInput, match="one has no frame"):
        difference(first & ~first, ~first, np.ones(10), np.arange(10), T)


def test_a_profile_is_the_energy_that_is_known():
    walkers = [walk(np.random.default_rng(seed), 1500) for seed in range(8)]
    at, blocks, edges = np.concatenate(walkers), np.repeat(np.arange(32), 375), np.linspace(-2.0, 2.5, 46)
    found = profile(X[at], edges, weights_of(V[at], T), blocks, T)
    mass = np.histogram(X, edges, weights=np.exp(-U / KT))[0]
    exact = -KT * np.log(np.where(mass > 0, mass, np.nan) / mass.max())
    low = exact < 12
    np.testing.assert_allclose(found.values[low], exact[low], atol=1.5)
    assert found.values[np.nanargmin(found.values)] == 0 and np.isnan(found.values[edges[:-1] > 2.05]).all()
    inside = (found.low <= exact) & (exact <= found.high)
    assert inside[low].mean() > 0.7 and (found.low <= found.values)[low].all()
    again = profile(X[at], edges, weights_of(V[at], T), blocks, T, again=lambda counts: weights_of(V[at], T))
    np.testing.assert_allclose(again.values[low], found.values[low])
    np.testing.assert_allclose(again.low[low], found.low[low], atol=1.0)
