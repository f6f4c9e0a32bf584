"""Replicas on resampled blocks see a tie that new seeds can't; agreement forgives what a CV may differ by."""

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from hae import HierarchicalAutoencoder
from hae.errors import BadInput
from hae.importance.stability import agreement, cv_agreement, level_agreement, replicate, resampled_blocks, stability_of, tied_levels
from hae.training.baselines import principal_components


def pca_replicas(eigenvalues, n=2000):
    rng = np.random.default_rng(0)
    X, X_test = (rng.normal(size=(n, len(eigenvalues))) * np.sqrt(eigenvalues) for _ in range(2))

    def fit(rows, seed):
        with torch.no_grad():
            cvs, levels = principal_components(X[rows], 2, "none")(torch.from_numpy(X_test))
        return cvs.numpy(), levels.numpy()

    return replicate(fit, np.arange(n) // 10, ["linear", "linear"], replicas=5)


def test_equal_eigenvalues_are_tied_and_distinct_ones_are_not():
    tied, distinct = pca_replicas([1, 1, 0.1]), pca_replicas([1, 0.5, 0.1])
    assert tied.levels[0] < 0.9 and tied.levels[1] > 0.95 and tied.tied == ((1, 2),)
    assert "the reconstructions of level 1 agree to " in tied.words() and "(tied levels)" in tied.words() and distinct.words() == ""
    assert min(distinct.levels) > 0.98 and distinct.tied == () and min(distinct.cvs) > 0.98
    assert tied.replicas == 5 and tied.seconds > 0


def test_whole_blocks_are_drawn():
    blocks = np.repeat(np.array(["c", "a", "b", "d"]), [3, 1, 2, 4])
    rows = resampled_blocks(blocks, np.random.default_rng(1))
    drawn, counts = np.unique(blocks[rows], return_counts=True)
    sizes = dict(zip(*np.unique(blocks, return_counts=True), strict=True))
    assert all(count % sizes[name] == 0 for name, count in zip(drawn, counts, strict=True))
    assert sum(count // sizes[name] for name, count in zip(drawn, counts, strict=True)) == 4


def test_agreement_of_levels():
    q = np.random.default_rng(0).normal(size=(2, 4000, 3))
    assert level_agreement(q, q) == pytest.approx([1, 1])
    assert level_agreement(q, q[:, ::-1]) == pytest.approx([-1, -1], abs=0.1)  # independent: twice the variance apart
    weights = np.r_[np.ones(2000), np.full(2000, 1e-12)]
    half = np.concatenate([q[:, :2000], -q[:, 2000:]], axis=1)
    assert level_agreement(q, half, weights) == pytest.approx([1, 1])


def test_agreement_of_cvs_forgives_sign_monotone_maps_rotation_and_reflection():
    rng = np.random.default_rng(0)
    x, angle = rng.normal(size=2000), rng.uniform(-np.pi, np.pi, 2000)
    other = np.stack([-np.exp(x), np.angle(np.exp(1j * (2.0 - angle)))], axis=1)
    assert cv_agreement(np.stack([x, angle], 1), other, ["linear", "circular"]) == pytest.approx([1, 1])
    strangers = np.stack([rng.normal(size=2000), rng.uniform(-np.pi, np.pi, 2000)], axis=1)
    assert np.all(cv_agreement(np.stack([x, angle], 1), strangers, ["linear", "circular"]) < 0.1)


def test_weights_are_rows_given_so_often_in_the_agreement_of_cvs():
    rng = np.random.default_rng(0)
    often = rng.integers(0, 4, 300)
    a = np.stack([rng.integers(0, 20, 300), rng.normal(size=300), rng.uniform(-np.pi, np.pi, 300)], axis=1)
    b = a + rng.normal(size=(300, 3)) * [5, 1, 1]
    a[often == 0, 1] = 7  # whatever counts nothing
    kinds = ["linear", "tanh", "circular"]
    repeated = cv_agreement(np.repeat(a, often, axis=0), np.repeat(b, often, axis=0), kinds)
    np.testing.assert_allclose(cv_agreement(a, b, kinds, often), repeated, rtol=1e-12)
    for k in range(2):
        assert repeated[k] == pytest.approx(abs(spearmanr(np.repeat(a[:, k], often), np.repeat(b[:, k], often)).statistic))
    still = np.where(often[:, None] > 0, 1.0, a)
    assert cv_agreement(a, still, ["linear"] * 3, often).tolist() == [0, 0, 0]


def test_replicas_are_compared_with_the_weights_of_the_rows():
    x = np.random.default_rng(0).normal(size=(200, 1))
    other = np.where(np.arange(200)[:, None] < 100, x, -x)  # the same in the half that counts
    found = [(cvs, cvs[None]) for cvs in (x, other)]
    weights = np.repeat([1.0, 1e-9], 100)
    assert agreement(found, ["linear"], weights).cvs == pytest.approx([1])
    assert agreement(found, ["linear"]).cvs[0] < 0.5


def test_tied_levels():
    assert tied_levels([0.99, 0.5, 0.97]) == ((2, 3),)
    assert tied_levels([0.5, 0.6, 0.97]) == ((2, 3),)
    assert tied_levels([0.99, 0.98]) == ()


def test_replicas_of_a_model(tmp_path):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(2000, 3)) * [2, 1, 0.1]
    model = HierarchicalAutoencoder(n_cvs=2, hidden=(), activation="identity", n_seeds=1, max_epochs=15, batch_size=32, learning_rate=0.02)
    model.fit(X, groups=np.repeat(["a", "b"], 1000))
    found = stability_of(model, replicas=2)
    assert min(found.levels) > 0.98 and found.tied == () and found.replicas == 2
    model.save(tmp_path / "model")
    with pytest.raises(BadInput, match="fit again"):
        stability_of(HierarchicalAutoencoder.load(tmp_path / "model"))
