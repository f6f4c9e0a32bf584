"""F9 and F10: what the best levels of any network are, given its CVs and at a stationary point."""

import numpy as np
import pytest
import torch
from generators import curve, minimise, small
from torch import nn

from hae.network.hierarchy import HierarchicalNetwork, MLPFactory

DECODERS = MLPFactory(4, (12,), "tanh")


@pytest.fixture(scope="module")
def cells():
    """Rows of two discrete CVs and noise: cvs (N, 2), target (N, 4)."""
    rng = np.random.default_rng(0)
    cvs = rng.integers(-1, 2, size=(300, 2)).astype(float)
    signal = np.stack([2 * cvs[:, 0], cvs[:, 0] * cvs[:, 1], cvs[:, 1] ** 2, cvs[:, 0] ** 2], axis=1)
    return cvs, signal + 0.3 * rng.normal(size=signal.shape)


def conditional_mean(labels, y) -> np.ndarray:
    """E[y | labels]: the mean over rows of equal labels (N, m)."""
    _, cell = np.unique(labels, axis=0, return_inverse=True)
    means = np.stack([y[cell == c].mean(0) for c in range(cell.max() + 1)])
    return means[cell]


def best_levels(variant, cvs, target) -> np.ndarray:
    """Levels of decoders fitted to given CVs."""
    torch.manual_seed(0)
    network = HierarchicalNetwork(nn.Identity(), DECODERS, variant, ["linear"] * cvs.shape[1])
    network.decoder.outputs.reset(torch.Generator().manual_seed(1))
    return minimise(network.double(), cvs, target, rounds=2).numpy()


def errors(levels, y) -> np.ndarray:
    return ((y - levels) ** 2).mean((1, 2))


def test_f9_the_best_collective_level_is_the_conditional_mean(cells):
    cvs, y = cells
    levels = best_levels("collective", cvs, y)
    for k in (1, 2):
        np.testing.assert_allclose(levels[k - 1], conditional_mean(cvs[:, :k], y), rtol=0, atol=2e-3)
    error = errors(levels, y)
    assert error[1] < error[0] < y.var(0).mean()


@pytest.mark.parametrize("rename", [lambda a, b: (a, b + 3 * a), lambda a, b: (-(a**3), np.exp(b) * (2 + a))])
def test_f9_the_best_collective_levels_do_not_change_under_a_bijection_of_the_first_k_cvs(cells, rename):
    cvs, y = cells
    renamed = np.stack(rename(*cvs.T), axis=1)
    np.testing.assert_allclose(best_levels("collective", renamed, y), best_levels("collective", cvs, y), rtol=0, atol=2e-3)


def test_f9_boosted_levels_do_not_get_worse_but_miss_what_two_cvs_say_together(cells):
    cvs, y = cells
    boosted, collective = (errors(best_levels(variant, cvs, y), y) for variant in ("boosted", "collective"))
    assert boosted[1] <= boosted[0]
    assert boosted[1] > collective[1] + 0.05


@pytest.mark.parametrize("variant", ["collective", "boosted"])
def test_f10_at_a_stationary_point_residuals_have_no_mean_and_collective_ones_are_orthogonal_to_the_level(variant):
    s = curve(150)
    network = small(variant, ["linear", "linear"], n_inputs=3)

    def residuals(levels):
        return np.abs((s - levels).mean(1)).max(), np.abs((levels * (s - levels)).mean((1, 2))).max()

    before = residuals(network.standardised_levels(torch.from_numpy(s)).detach().numpy())
    after = residuals(minimise(network, s, rounds=5).numpy())
    assert before[0] > 0.1 and after[0] < 1e-4
    assert before[1] > 0.01
    if variant == "collective":
        assert after[1] < 1e-4
