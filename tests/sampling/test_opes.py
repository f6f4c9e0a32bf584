"""OPES on a grid: its bias is the formula's, it fills two wells up to its barrier, and its weights give the free energy that is known."""

import numpy as np
import pytest
from sampling.test_metadynamics import ANGLE, LINE
from sampling.test_reweighting import KT, TRUTH, T, U, X

from hae.errors import BadInput
from hae.sampling.metadynamics import Axis, value
from hae.sampling.opes import Opes


def test_the_bias_is_that_of_the_formula():
    barrier, axes = 30.0, (LINE, ANGLE)
    bias, kernels = Opes(axes, barrier, T), []
    factor = barrier / KT
    assert bias.at(np.zeros(2)) == pytest.approx(-barrier)  # where nothing was seen yet
    for centre in np.random.default_rng(0).normal(0, 0.6, (60, 2)):
        weight = np.exp(bias.at(centre) / KT)
        assert bias.add(centre) == pytest.approx(weight)
        kernels.append((centre, weight))

    def density(s):
        d = np.array([s - centre for centre, _ in kernels]) / [LINE.width, ANGLE.width]
        return np.exp(-0.5 * (d**2).sum(1)) @ [weight for _, weight in kernels]

    nodes = [np.linspace(axis.low, axis.high, axis.nodes) for axis in axes]
    places = np.stack(np.meshgrid(*nodes, indexing="ij"), -1).reshape(-1, 2)
    near = [any((((s - centre) / [LINE.width, ANGLE.width]) ** 2).sum() <= 1 for centre, _ in kernels) for s in places]
    mean = np.mean([density(s) for s in places[near]])
    for s in np.random.default_rng(1).normal(0, 0.5, (30, 2)):
        exact = (1 - 1 / factor) * KT * np.log(density(s) / mean + np.exp(-barrier / ((1 - 1 / factor) * KT)))
        assert bias.at(s) == pytest.approx(exact, abs=0.1)
        for k in range(2):
            step = np.eye(2)[k] * 1e-6
            slope = (bias.at(s + step) - bias.at(s - step)) / 2e-6
            assert value(s, *bias.plain)[1 + k] == pytest.approx(slope, abs=1e-5)
    again = Opes(axes, barrier, T)
    again.restore({name: array.copy() for name, array in bias.state().items()})
    assert again.at(np.full(2, 0.3)) == bias.at(np.full(2, 0.3))


def test_an_angle_is_the_same_wherever_it_is_cut():
    biases = []
    for centre in (0.0, np.pi):
        bias = Opes((ANGLE,), 30.0, T)
        for away in (0.0, 0.4):
            bias.add(np.array([centre + away]))
        biases.append([bias.at(np.array([centre + away])) for away in (0.0, 0.5, -0.5)])
    np.testing.assert_allclose(*biases, atol=0.02)


def test_its_weights_give_the_free_energy_that_is_known():
    bias, random, where = Opes((Axis(-3.0, 3.0, 0.06),), 30.0, T), np.random.default_rng(0), 100
    seen, known = [], []
    now = np.array([bias.at(x[None]) for x in X])
    for step in range(30000):
        to = where + int(random.integers(-25, 26))
        if 0 <= to < len(X) and random.random() < np.exp(min(0.0, (U[where] + now[where] - U[to] - now[to]) / KT)):
            where = to
        if step % 10 == 9:
            seen.append(where)
            known.append(now[where])
            bias.add(X[where][None])
            now = np.array([bias.at(x[None]) for x in X]) if step % 100 == 99 else now
    at, weights = np.array(seen)[900:], np.exp(np.array(known)[900:] / KT)
    assert -KT * np.log(weights[X[at] > 0].sum() / weights[X[at] <= 0].sum()) == pytest.approx(TRUTH, abs=1.5)
    assert np.diff(np.sign(X[at])).astype(bool).sum() > 20  # it goes back and forth, which a barrier of 20 kJ/mol forbids without a bias


def test_a_barrier_that_heat_alone_crosses_is_refused():
    with pytest.raises(BadInput, match=r"a barrier of 2 kJ/mol; allowed: more than kT, 2\.49 kJ/mol at 300 K"):
        Opes((LINE,), 2.0, T)
