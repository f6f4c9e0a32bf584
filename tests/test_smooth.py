"""Smooth CVs and the linear path, as a user meets them."""

import warnings

import numpy as np
import pytest
import torch
from quick import quick
from torch import nn

from hae import HierarchicalAutoencoder
from hae.network.hierarchy import HierarchicalNetwork


@pytest.fixture(scope="module")
def X():
    """A curve that comes back near itself, which a CV can only follow by a cliff between its branches."""
    rng = np.random.default_rng(0)
    t = rng.uniform(-np.pi, np.pi, 1500)
    return np.stack([np.cos(t), np.sin(2 * t) / 2, t / 10], axis=1) + 0.01 * rng.normal(size=(1500, 3))


def steepness(model: HierarchicalAutoencoder, X: np.ndarray) -> float:
    network = model.network_.double()
    return float(network.steepness(network.standardise(torch.from_numpy(X))).detach())


@pytest.mark.parametrize("options", [{}, {"activation": "silu"}, {"linear_path": True}, {"cv": "tanh", "variant": "boosted"}])
def test_smooth_takes_the_cliffs(X, options):
    options = {"hidden": (32, 32), "n_seeds": 1, "max_epochs": 40, "batch_size": 128, "learning_rate": 0.01} | options
    steep, smooth = (quick(smooth=value, **options).fit(X) for value in (0.0, 3.0))
    assert steepness(smooth, X) < 0.6 * steepness(steep, X)


def test_modules_of_ones_own_can_be_smooth(X):
    def own(n, m):
        encoder = nn.Sequential(nn.Linear(n, 24), nn.Tanh(), nn.Linear(24, 2))
        decoder = lambda read: nn.Sequential(nn.Linear(read, 24), nn.Tanh(), nn.Linear(24, m))  # noqa: E731
        return HierarchicalNetwork(encoder, decoder, "collective", ["linear"] * 2)

    options = {"network": own, "n_seeds": 1, "max_epochs": 40, "batch_size": 128, "learning_rate": 0.01}
    steep, smooth = (quick(smooth=value, **options).fit(X) for value in (0.0, 10.0))
    assert steepness(smooth, X) < 0.6 * steepness(steep, X)


@pytest.mark.parametrize("hidden", [(), (6,)])
def test_a_linear_path_that_trains_no_more_is_pca(X, hidden):
    """A rate of nearly nothing: what the encoder starts with, less its perceptron."""
    model = quick(linear_path=True, hidden=hidden, learning_rate=1e-12, max_epochs=1, n_seeds=1).fit(X)
    network = model.network_.double()
    x = network.standardise(torch.from_numpy(X))
    start = (x @ network.encoder.path).numpy()
    train = X[model.split_ == "train"]
    axes = np.linalg.svd(train - train.mean(0), full_matrices=False)[2]
    for k in range(2):
        assert abs(np.corrcoef(start[:, k], (X - train.mean(0)) @ axes[k])[0, 1]) > 0.999999


def test_a_saved_model_keeps_its_linear_path(X, tmp_path):
    model = quick(linear_path=True, smooth=2.0).fit(X)
    model.save(tmp_path)
    back = HierarchicalAutoencoder.load(tmp_path)
    assert back.smooth == 2.0 and back.linear_path and back.network_.spec["linear_path"]
    np.testing.assert_array_equal(back.transform(X), model.transform(X))


def test_a_training_of_one_never_goes_on_as_one_of_another(X, tmp_path):
    """Killed after its first epoch, then trained with another choice."""

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hae.training.loop.CHECKPOINT_SECONDS", -1.0)
        for choice in ({"smooth": 1.0}, {"smooth": 2.0}, {"linear_path": True}):
            told = []

            def killed(rows, told=told):
                told.extend(rows)
                if rows[-1]["epoch"] == 2:
                    raise KeyboardInterrupt

            with pytest.raises(KeyboardInterrupt):
                quick(**choice).fit(X, checkpoints=tmp_path, on_epoch=killed)
            assert told[0]["epoch"] == 1 and len(told) == 4  # from the beginning
    assert len(list(tmp_path.glob("*.pt"))) == 3


@pytest.mark.parametrize("options", [{}, {"smooth": 1.0, "linear_path": True}, {"activation": "silu", "smooth": 1.0}, {"cv": "circular"}])
def test_a_fit_prints_no_warning(X, options):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        quick(**options).fit(X)
