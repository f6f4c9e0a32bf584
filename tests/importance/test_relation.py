"""What a CV is: relations that are exact or absent, gradients that are known, frames that follow the CV."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.signal import lfilter

from hae.importance.gradients import gradients
from hae.importance.intervals import Sampling
from hae.importance.relation import deviations, frames_along, on_circle, relate, relations, sensitivity
from hae.network.hierarchy import HierarchicalNetwork


def test_an_angle_turned_and_mirrored_is_known_and_an_independent_label_is_not():
    rng = np.random.default_rng(0)
    angle, other = rng.uniform(-np.pi, np.pi, (2, 6000))
    labels = pd.DataFrame({"same": np.degrees(np.angle(np.exp(1j * (1 - angle)))), "other": other, "size": np.cos(angle) ** 2})
    cvs = angle[:, None]
    halves = slice(0, 4000), slice(4000, None)
    table = relations(
        [cvs[part] for part in halves], ["circular"], [labels[part] for part in halves], [360.0, 2 * np.pi, None], Sampling.of(2000)
    ).set_index("label")
    assert table.loc["same", "r2"] > 0.99 and table.loc["same", "r2_back"] > 0.99
    assert table.loc["same", "low"] <= table.loc["same", "r2"] <= table.loc["same", "high"]
    assert table.loc["size", "r2"] > 0.95 and table.loc["size", "r2_back"] < 0.1  # cos^2 has four angles
    assert abs(table.loc["other", "r2"]) < 0.05


def test_slow_series_that_know_nothing_of_each_other_stay_within_the_null():
    found = 0
    for seed in range(10):
        noise = np.random.default_rng(seed).normal(size=(2, 4500))
        x, y = lfilter([1], [1, -np.exp(-1 / 30)], noise, axis=1)[:, 500:]
        column = lambda z: [on_circle(z[:2000], None), on_circle(z[2000:], None)]  # noqa: E731
        found += relate(column(x), column(y), Sampling.of(2000)).real
    assert found <= 1


def test_sensitivity_of_a_linear_network_is_its_weights():
    network = HierarchicalNetwork.mlp(3, ["linear", "linear"], hidden=(), activation="identity").double()
    with torch.no_grad():
        network.encoder.layers[0].weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 0.0], [-2.0, 3.0]]))
    X = np.random.default_rng(0).normal(size=(2048, 3)) * [1, 5, 0.5]
    spread = X.std(axis=0)
    cvs = network.encode(torch.from_numpy(X)).detach().numpy()
    truth = np.abs([[1, 0, -2], [0, 0, 3]]) * spread / cvs.std(axis=0)[:, None]
    np.testing.assert_allclose(sensitivity(network, X), truth, rtol=1e-9)


def test_weights_are_rows_given_so_often_in_sensitivities_and_gradients():
    network = HierarchicalNetwork.mlp(2, ["linear", "circular"], hidden=(5,)).double().reset(0)
    X = np.random.default_rng(0).normal(size=(300, 2)) * [1, 3]
    often = np.arange(300) % 3
    many = np.repeat(X, often, axis=0)
    np.testing.assert_allclose(deviations(X, often), many.std(0), rtol=1e-12)
    np.testing.assert_allclose(sensitivity(network, X, often), sensitivity(network, many), rtol=1e-9)
    weighted, repeated = gradients(network, X, weights=often), gradients(network, many)
    np.testing.assert_allclose(np.repeat(weighted.sizes, often, axis=0), repeated.sizes, rtol=1e-9)
    for k, ours in enumerate(weighted.smoothness.gradients):
        quantiles = np.quantile(repeated.sizes[:, k], [0.5, 0.999], method="inverted_cdf")
        np.testing.assert_allclose([ours.median, ours.high], quantiles, rtol=1e-9)


@pytest.mark.parametrize("missing", [False, True])
def test_sensitivity_far_from_zero_and_of_missing_entries_is_that_of_the_rows(missing):
    """A float32 network at 1e8: its standardisation is float64, and so must be what it is given."""
    near = np.random.default_rng(0).normal(size=(500, 2))
    network = HierarchicalNetwork.mlp(2, ["linear"], hidden=(8,)).reset(0)
    truth = sensitivity(network, near)
    network.scale_by(np.full(2, 1e8), np.ones(2), np.full(2, 1e8), np.ones(2))
    far = near + 1e8
    if missing:
        far[::50, 1] = np.nan
    np.testing.assert_allclose(sensitivity(network, far), truth, rtol=0.1 if missing else 1e-6)


def test_one_gradient_a_cv():
    """The gradient of the sum over CVs would be 0 here: the two cancel."""
    network = HierarchicalNetwork.mlp(1, ["linear", "linear"], hidden=(), activation="identity").double()
    with torch.no_grad():
        network.encoder.layers[0].weight.copy_(torch.tensor([[1.0, -1.0]]))
    assert sensitivity(network, np.random.default_rng(0).normal(size=(500, 1))) == pytest.approx(1, rel=1e-2)


def test_frames_along_a_cv_follow_it_and_keep_the_others():
    cvs = np.random.default_rng(0).normal(size=(5000, 2))
    rows = frames_along(cvs, 0, n=15)
    assert np.all(np.diff(cvs[rows, 0]) > 0)
    assert np.abs(cvs[rows, 1]).max() < 1
    angles = np.random.default_rng(1).uniform(-np.pi, np.pi, (5000, 1))
    steps = np.diff(np.unwrap(angles[frames_along(angles, 0, "circular", 12), 0]))
    assert steps == pytest.approx(2 * np.pi / 12, abs=0.1)
