"""The floor and the ceiling: PCA as scikit-learn has it, reduced-rank regression, and the plain autoencoder."""

import numpy as np
import pytest
import torch
from generators import curve, gaussian, torus
from sklearn.decomposition import PCA
from sklearn.linear_model import LinearRegression

from hae.network.hierarchy import HierarchicalNetwork
from hae.network.objective import Objective
from hae.network.scoring import explained, score_frames
from hae.training.baselines import plain_autoencoders, principal_components, principal_components_of
from hae.training.fit import Plan
from hae.training.members import train_members
from hae.training.pairs import make_pairs
from hae.training.schedule import Settings
from hae.training.sources import RowsInMemory
from hae.training.stored import Moments

N = 3


@pytest.fixture(scope="module")
def X():
    return gaussian([5.0, 2.5, 1.2, 0.6, 0.3], mean=7.0)[0] * [1, 10, 0.1, 3, 1]


def levels_of(network, X) -> np.ndarray:
    return network(torch.from_numpy(X))[1].numpy()


@pytest.mark.parametrize("scale", ["none", "global", "feature"])
def test_levels_are_scikit_learns_projections_in_the_metric(X, scale):
    network = principal_components(X, N, scale)
    by = X.std(0) if scale == "feature" else np.ones(5)
    for k in range(1, N + 1):
        pca = PCA(k).fit(X / by)
        np.testing.assert_allclose(levels_of(network, X)[k - 1], pca.inverse_transform(pca.transform(X / by)) * by, atol=1e-8)
    np.testing.assert_allclose(score_frames(network, X).gains, PCA(N).fit(X / by).explained_variance_ratio_, atol=1e-10)


def test_scale_feature_is_not_scale_global(X):
    fve = [score_frames(principal_components(X, N, scale), X).fve[0] for scale in ("global", "feature")]
    assert abs(fve[0] - fve[1]) > 0.05


def test_weights_are_rows_given_so_often(X):
    often = np.arange(len(X)) % 3 + 1
    weighted = principal_components(X, N, weights=often.astype(float))
    np.testing.assert_allclose(levels_of(weighted, X), levels_of(principal_components(np.repeat(X, often, axis=0), N), X), atol=1e-8)


def test_another_target_gives_reduced_rank_regression(X):
    rng = np.random.default_rng(0)
    y = X @ rng.normal(size=(5, 4)) + 5 + rng.normal(size=(len(X), 4))
    predicted = LinearRegression().fit(X, y).predict(X)
    network = principal_components(X, N, "none", target=y)
    for k in range(1, N + 1):
        pca = PCA(k).fit(predicted)
        np.testing.assert_allclose(levels_of(network, X)[k - 1], pca.inverse_transform(pca.transform(predicted)), atol=1e-8)


def test_of_fewer_targets_than_cvs_the_others_add_nothing(X):
    y = X[:, :1] - X[:, 1:2] + np.random.default_rng(0).normal(size=(len(X), 1))
    r2 = LinearRegression().fit(X, y).score(X, y)
    np.testing.assert_allclose(score_frames(principal_components(X, N, "none", target=y), X, y).fve, [r2] * N, atol=1e-10)


def test_a_further_metric_gives_the_components_of_the_weighted_features(X):
    root = np.linalg.qr(np.random.default_rng(0).normal(size=(5, 5)))[0] * [2.0, 1.5, 1, 0.7, 0.5]
    for given, by in ((root, root), (np.array([3.0, 1, 1, 0.5, 0.2]), np.diag([3.0, 1, 1, 0.5, 0.2]))):
        network = principal_components(X, N, "none", root=given)
        np.testing.assert_allclose(score_frames(network, X, root=given).gains, PCA(N).fit(X @ by).explained_variance_ratio_, atol=1e-10)


def test_missing_entries_are_read_as_the_mean(X):
    missing = np.where(np.random.default_rng(0).random(X.shape) < 0.1, np.nan, X)
    filled = np.where(np.isnan(missing), np.nanmean(missing, axis=0), missing)
    np.testing.assert_allclose(
        levels_of(principal_components(missing, N, "none"), X), levels_of(principal_components(filled, N, "none"), X), atol=1e-8
    )


@pytest.fixture(scope="module")
def trained():
    """Rows of a torus with noise, and what training of anything on them takes."""
    rows = {
        side: torus(600, seed) + 0.1 * np.random.default_rng(seed).normal(size=(600, 4))
        for seed, side in enumerate(("train", "validation"))
    }
    pairs = {side: make_pairs(X, None, None, np.full(600, side))[side] for side, X in rows.items()}
    return rows, RowsInMemory(pairs)


def test_the_plain_autoencoder_of_k_nodes_is_the_ceiling_of_level_k(trained):
    rows, source = trained
    settings = Settings(batch_size=64, max_epochs=60, learning_rate=0.01)
    plain = plain_autoencoders(source, Plan(["circular"] * 2, hidden=(16,), settings=settings, seeds=(0, 1)))
    fve = [score_frames(network, rows["validation"]).fve for network in plain]
    assert [len(levels) for levels in fve] == [1, 1]  # a single level of k nodes
    assert [network.n_cvs for network in plain] == [1, 2]
    assert 0.7 < fve[0][0] < 0.82 and fve[1][0] > 0.95
    pca = score_frames(principal_components(rows["train"], 2), rows["validation"]).fve
    assert fve[0][0] > pca[0] + 0.2 and fve[1][0] > pca[1] + 0.1


@pytest.mark.parametrize("variant", ["collective", "boosted"])
def test_of_one_node_it_is_the_hierarchy_of_one_cv(trained, variant):
    _, source = trained
    settings = Settings(batch_size=64, max_epochs=4)
    standard = source.standard("global")
    data, validation = source.rows(standard, torch.device("cpu"))
    (plain,) = plain_autoencoders(source, Plan(["linear"], hidden=(8,), settings=settings, seeds=(3,)))

    def build(members):
        network = HierarchicalNetwork.mlp(4, ["linear"], variant, (8,), members=members)
        network.scale_by(standard.input_mean, standard.input_scale, standard.output_mean, standard.output_scale)
        return network

    hierarchy = train_members(build, data, validation, Objective(), settings, (3,)).networks[0]
    s = torch.from_numpy(curve(50)[:, [0, 1, 2, 0]]).float()
    assert torch.equal(plain(s)[1], hierarchy(s)[1])


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("scale", ["none", "global", "feature"])
def test_principal_components_of_rows_in_parts_are_those_of_all_rows(X, scale, weighted):
    weights = np.random.default_rng(0).uniform(0.5, 2, len(X)) if weighted else np.ones(len(X))
    moments = Moments(products=0.0)
    for rows in np.array_split(np.arange(len(X)), 7):
        moments.add(X[rows], weights[rows])
    whole = levels_of(principal_components(X, N, scale, weights), X)
    np.testing.assert_allclose(levels_of(principal_components_of(moments, N, scale), X), whole, rtol=0, atol=1e-9)


def test_what_networks_explain_of_rows_in_pieces_is_what_they_explain_of_all(X):
    weights = np.random.default_rng(0).uniform(0.5, 2, len(X))
    networks = [principal_components(X, n) for n in (1, N)]
    found = explained(networks, ((X[rows], weights[rows]) for rows in np.array_split(np.arange(len(X)), 7)))
    for network, fve in zip(networks, found, strict=True):
        np.testing.assert_allclose(fve, score_frames(network, X, weights=weights).fve, atol=1e-12)
