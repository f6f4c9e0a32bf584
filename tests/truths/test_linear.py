"""F1 to F7 and F12: linear networks have exact answers, found by linear algebra."""

import numpy as np
import pytest
import torch
from generators import gaussian, linear_network, minimise
from sklearn.decomposition import PCA

from hae import HierarchicalAutoencoder
from hae.network.canonical import canonicalise
from hae.network.objective import Objective
from hae.network.scoring import score_frames
from hae.training.baselines import principal_components
from hae.training.pairs import make_pairs

SPECTRUM = np.array([5.0, 2.5, 1.2, 0.6, 0.3])
VARIANTS = ["collective", "boosted"]
N = 3


def fve(levels, y) -> np.ndarray:
    """(n,) of centred rows y."""
    return 1 - ((y - np.asarray(levels)) ** 2).sum((1, 2)) / (y**2).sum()


def projections(y, vectors) -> np.ndarray:
    """(n, N, D): y projected on the first 1, 2, ... n columns of vectors."""
    return np.stack([y @ vectors[:, :k] @ vectors[:, :k].T for k in range(1, N + 1)])


def encoded(network, x) -> np.ndarray:
    return network.encode(torch.from_numpy(x)).detach().numpy()


@pytest.fixture(scope="module")
def data():
    return gaussian(SPECTRUM)[0]


@pytest.mark.parametrize("level_weights", [None, [1.0, 7.0, 0.3]])
@pytest.mark.parametrize("variant", VARIANTS)
def test_f1_level_k_is_the_projection_on_the_first_k_principal_components(data, variant, level_weights):
    weights = None if level_weights is None else torch.tensor(level_weights, dtype=torch.float64)
    levels = minimise(linear_network(5, N, variant), data, objective=Objective(weights))
    pca = PCA(N).fit(data)
    np.testing.assert_allclose(fve(levels, data), pca.explained_variance_ratio_.cumsum(), rtol=0, atol=1e-8)
    np.testing.assert_allclose(pca.explained_variance_ratio_, SPECTRUM[:N] / SPECTRUM.sum(), rtol=0, atol=1e-12)
    np.testing.assert_allclose(levels, projections(data, pca.components_.T), rtol=0, atol=1e-5)


def test_f2_boosted_cvs_are_the_principal_components(data):
    network = linear_network(5, N, "boosted")
    minimise(network, data)
    cvs, scores = encoded(network, data), PCA(N).fit_transform(data)
    correlation = np.corrcoef(cvs.T, scores.T)
    np.testing.assert_allclose(np.abs(correlation[:N, N:]), np.eye(N), rtol=0, atol=1e-6)
    np.testing.assert_allclose(correlation[:N, :N], np.eye(N), rtol=0, atol=1e-6)


def test_f3_collective_cvs_are_nested_not_equal_to_the_principal_components(data):
    network = linear_network(5, N, "collective")
    before = minimise(network, data).numpy()
    coefficients = network.encoder.layers[0].weight.detach().numpy().T @ PCA().fit(data).components_.T  # (CVs, components)
    size = np.abs(coefficients).max()
    np.testing.assert_allclose(coefficients[~np.tri(N, 5, dtype=bool)], 0, atol=1e-6 * size)
    assert np.abs(coefficients[np.tri(N, 5, -1, dtype=bool)]).max() > 0.1 * size  # and truly mixed
    canonicalise(network, data)
    cvs, scores = encoded(network, data), PCA(N, whiten=True).fit_transform(data)
    correlation = np.corrcoef(cvs.T, scores.T)
    np.testing.assert_allclose(np.abs(correlation[:N, N:]), np.eye(N), rtol=0, atol=1e-6)
    np.testing.assert_allclose(np.cov(cvs.T, bias=True), np.eye(N), rtol=0, atol=1e-6)
    np.testing.assert_array_equal(network.standardised_levels(torch.from_numpy(data)).detach(), before)


def test_f4_a_plain_autoencoder_finds_the_span_alone(data):
    network = linear_network(5, N, "plain")
    levels = minimise(network, data)
    scores = PCA(N).fit_transform(data)
    np.testing.assert_allclose(levels[0], projections(data, PCA(N).fit(data).components_.T)[-1], rtol=0, atol=1e-5)
    cvs = encoded(network, data)
    explained = scores @ np.linalg.lstsq(scores, cvs, rcond=None)[0]
    np.testing.assert_allclose(explained, cvs, rtol=0, atol=1e-6)  # in the span
    assert np.abs(np.corrcoef(cvs.T, scores.T)[:N, N:]).max() < 0.99  # no CV is a component


@pytest.mark.parametrize("variant", VARIANTS)
def test_f5_another_target_gives_reduced_rank_regression(data, variant):
    rng = np.random.default_rng(2)
    y = data @ rng.normal(size=(5, 4)) + rng.normal(size=(len(data), 4))
    y -= y.mean(0)
    predicted = data @ np.linalg.lstsq(data, y, rcond=None)[0]
    vectors = np.linalg.svd(predicted, full_matrices=False)[2].T
    levels = minimise(linear_network(5, N, variant, 4), data, y)
    np.testing.assert_allclose(fve(levels, y), fve(projections(predicted, vectors), y), rtol=0, atol=1e-8)
    np.testing.assert_allclose(levels, projections(predicted, vectors), rtol=0, atol=1e-4)


@pytest.mark.parametrize("shape", ["vector", "matrix"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_f6_feature_weights_give_the_principal_components_of_the_weighted_features(data, variant, shape):
    rng = np.random.default_rng(3)
    root = np.linalg.qr(rng.normal(size=(5, 5)))[0] * [2.0, 1.5, 1.0, 0.7, 0.5] if shape == "matrix" else np.array([3.0, 1, 1, 0.5, 0.2])
    by = root if shape == "matrix" else np.diag(root)  # W = by by^T
    weighted = data @ by
    levels = minimise(linear_network(5, N, variant), data, objective=Objective(root=torch.from_numpy(root)))
    pca = PCA(N).fit(weighted)
    np.testing.assert_allclose(fve(levels.numpy() @ by, weighted), pca.explained_variance_ratio_.cumsum(), rtol=0, atol=1e-8)


@pytest.mark.parametrize("variant", VARIANTS)
def test_f7_gains_of_the_whitened_lagged_target_are_squared_canonical_correlations(variant):
    rng, d, lag = np.random.default_rng(4), 4, 3
    mixing, memory = rng.normal(size=(d, d)), np.array([0.98, 0.9, 0.7, 0.3])
    z = np.zeros((1500, d))
    for i in range(1, len(z)):
        z[i] = memory * z[i - 1] + rng.normal(size=d)
    names = np.repeat(["one", "two"], 750)
    pairs = make_pairs(z @ mixing, names, None, np.full(1500, "train"), lag=lag)["train"]
    assert len(pairs) == 1500 - 2 * lag
    white = [np.linalg.qr(part - part.mean(0))[0] * np.sqrt(len(part)) for part in (pairs.inputs, pairs.targets)]
    # Bjorck and Golub (1973): cosines between the two column spaces
    canonical = np.linalg.svd(white[0].T @ white[1] / len(pairs), compute_uv=False)
    levels = minimise(linear_network(d, N, variant), *white)
    np.testing.assert_allclose(np.diff(fve(levels, white[1]), prepend=0), canonical[:N] ** 2 / d, rtol=0, atol=1e-8)
    slowest = np.corrcoef(z[:-lag, 0], z[lag:, 0])[0, 1]  # a true canonical correlation of the process is memory^lag
    assert canonical[0] == pytest.approx(slowest, abs=0.02)


@pytest.mark.parametrize("variant", VARIANTS)
def test_f12_equal_eigenvalues_fix_the_fve_but_not_the_cvs(variant):
    spectrum = np.array([2.0, 2.0, 1.0, 0.5])
    data, _ = gaussian(spectrum)
    cvs = []
    for seed in (0, 1):
        network = linear_network(4, 2, variant, seed=seed)
        levels = minimise(network, data)
        np.testing.assert_allclose(fve(levels, data)[-1], 4 / 5.5, rtol=0, atol=1e-8)
        np.testing.assert_allclose(fve(levels, data)[0], 2 / 5.5, rtol=0, atol=1e-8)
        cvs.append(encoded(network, data)[:, 0])
    assert abs(np.corrcoef(cvs)[0, 1]) < 0.99


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_linear_estimator_with_default_settings_is_pca(variant):
    """Few rows get enough steps: every level within 0.001 of the FVE of principal components, on rows that neither has seen."""
    mixing, scales = np.random.default_rng(1).normal(size=(6, 30)), np.array([3, 2, 1.5, 1, 0.7, 0.5])

    def rows(n, seed):
        rng = np.random.default_rng(seed)
        return rng.normal(size=(n, 6)) * scales @ mixing + 0.2 * rng.normal(size=(n, 30))

    X, new = rows(4500, 1), rows(20_000, 2)
    model = HierarchicalAutoencoder(variant=variant, hidden=(), activation="identity").fit(X)
    pca = principal_components(X[model.split_ == "train"], 3)
    np.testing.assert_allclose(score_frames(model.network_, new).fve, score_frames(pca, new).fve, rtol=0, atol=1e-3)
