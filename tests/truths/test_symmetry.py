"""F0 and F8: who depends on whom, exactly, for any weights."""

import copy

import numpy as np
import pytest
import torch
from generators import boosted_mixed_derivatives, jacobian, small

from hae.network.canonical import canonicalise
from hae.network.hierarchy import HierarchicalNetwork
from hae.network.objective import Objective

CVS = ("linear", "linear", "linear")
KINDS = (CVS, ("circular", "linear", "tanh"), ("linear", "circular", "circular"))


def exchanged(network, i: int, j: int):
    """The network with two CVs exchanged, together with all weights that make and read them."""
    network = copy.deepcopy(network)
    order = list(range(network.n_cvs))
    order[i], order[j] = j, i
    with torch.no_grad():
        last, first = network.encoder.layers[-1], network.decoder.outputs.layers[0]
        last.weight.copy_(last.weight[:, order].clone())
        last.bias.copy_(last.bias[:, order].clone())
        first.weight.copy_(first.weight[:, order].clone())
    return network


@pytest.fixture
def rows():
    return torch.from_numpy(np.random.default_rng(1).normal(size=(50, 5)))


def test_f0_a_plain_autoencoder_does_not_notice_an_exchange_of_its_nodes(rows):
    network = small("plain", CVS)
    torch.testing.assert_close(exchanged(network, 0, 2)(rows)[1], network(rows)[1], rtol=0, atol=1e-14)


@pytest.mark.parametrize("variant", ["collective", "boosted"])
def test_f0_a_hierarchy_does(rows, variant):
    network = small(variant, CVS)
    _, before = network(rows)
    _, after = exchanged(network, 0, 2)(rows)
    objective = Objective()
    assert (after[0] - before[0]).abs().max() > 0.1
    loss = [objective.loss(objective.level_errors(levels, rows)).item() for levels in (before, after)]
    assert abs(loss[0] - loss[1]) > 0.01


@pytest.mark.parametrize("canonical", [False, True])
@pytest.mark.parametrize("cv", KINDS)
@pytest.mark.parametrize("variant", ["collective", "boosted"])
def test_f8_no_level_depends_on_a_later_cv(rows, variant, cv, canonical):
    network = small(variant, cv)
    if canonical:
        canonicalise(network, rows.numpy())
    slopes = jacobian(network, network.encode(rows[:6])).abs().amax((1, 2))  # (levels, CVs)
    for level in range(3):
        assert (slopes[level, level + 1 :] == 0).all()  # exactly
        assert (slopes[level, : level + 1] > 1e-3).all()


@pytest.mark.parametrize("cv", KINDS)
def test_f8_boosted_levels_differ_by_a_function_of_one_cv(rows, cv):
    network = small("boosted", cv)
    canonicalise(network, rows.numpy())
    mixed = boosted_mixed_derivatives(network, network.encode(rows[:6])).abs().amax((0, 1))  # (CVs, CVs)
    assert (mixed[~torch.eye(3, dtype=torch.bool)] == 0).all()  # exactly
    assert (mixed.diagonal() > 1e-3).all()


def test_f8_collective_levels_mix_their_cvs(rows):
    mixed = boosted_mixed_derivatives(small("collective", CVS), small("collective", CVS).encode(rows[:6])).abs().amax((0, 1))
    assert (mixed > 1e-3).all()


@pytest.mark.parametrize("cv", ["linear", "tanh", "circular"])
def test_f8_with_one_cv_the_three_networks_are_one(rows, cv):
    networks = [HierarchicalNetwork.mlp(5, [cv], variant, (6,)).reset(3).double() for variant in ("collective", "boosted", "plain")]
    (cvs, levels), *others = [network(rows) for network in networks]
    for other_cvs, other_levels in others:
        assert torch.equal(cvs, other_cvs) and torch.equal(levels, other_levels)
