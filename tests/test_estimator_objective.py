"""What the estimator may be asked to learn: lag, target, weights, missing values, augmentation."""

import numpy as np
import pytest
import torch
from generators import curve, gaussian
from quick import GOOD, LINEAR, quick

from hae import HierarchicalAutoencoder
from hae.errors import BadInput
from hae.network.scoring import score_frames


@pytest.fixture(scope="module")
def X():
    return gaussian([5.0, 2.5, 1.2, 0.6], n=500, mean=2.0)[0]


def slow_process(n: int = 2000) -> np.ndarray:
    """(n, 3): a slow coordinate of small size and two fast large ones."""
    rng, z = np.random.default_rng(0), np.zeros((n, 3))
    for i in range(1, n):
        z[i] = np.array([0.99, 0.2, 0.1]) * z[i - 1] + rng.normal(size=3)
    return z / z.std(0) * [1.0, 3.0, 3.0]


def test_a_lag_finds_what_lasts_and_not_what_is_large():
    x = slow_process()
    settings = {**LINEAR, "n_cvs": 1, "scale": "none", "max_epochs": 30}
    fits = {lag: HierarchicalAutoencoder(**settings, lag=lag).fit(x) for lag in (0, 20)}
    share = {lag: abs(np.corrcoef(model.transform(x)[:, 0], x[:, 0])[0, 1]) for lag, model in fits.items()}
    assert share[20] > 0.95 > 0.5 > share[0]


def test_a_lag_is_scored_on_the_later_row_of_the_same_trajectory():
    x = slow_process(600)
    model = HierarchicalAutoencoder(**{**LINEAR, "max_epochs": 3}, lag=5).fit(x)
    names = np.repeat(["a", "b", "c"], 200)
    now = np.concatenate([np.arange(195) + 200 * i for i in range(3)])
    expected = score_frames(model.network_, x[now], x[now + 5]).fve[-1]
    assert model.score(x, groups=names) == pytest.approx(expected, abs=1e-6)
    now = np.arange(595)
    assert model.score(x) == pytest.approx(score_frames(model.network_, x[now], x[now + 5]).fve[-1], abs=1e-6)


def test_another_target_is_what_is_reconstructed(X):
    y = X[:, :2] * [10, 0.1] + 5
    model = HierarchicalAutoencoder(**LINEAR, scale="feature").fit(X, target=y)
    assert model.reconstruct(X).shape == (500, 2)
    assert model.score(X, target=y) > 0.99
    one = HierarchicalAutoencoder(**{**LINEAR, "n_cvs": 1}).fit(X, target=y[:, 0])
    assert one.score(X, target=y[:, 0]) > 0.99
    for measure in (model.score, model.importance):
        with pytest.raises(BadInput, match="target: is missing; allowed: 2 columns, as in fit"):
            measure(X)
        with pytest.raises(BadInput, match="target: 4 columns; allowed: 2, as in fit"):
            measure(X, target=X)
        with pytest.raises(BadInput, match="target: 499 rows, but X has 500; allowed: as many"):
            measure(X, target=y[1:])
        with pytest.raises(BadInput, match=r"target: shape \(500, 2, 1\) is not allowed; \(N,\) or \(N, D'\)"):
            measure(X, target=y[:, :, None])


def test_a_forgotten_target_of_as_many_columns_as_the_input_is_refused(tmp_path, X):
    model = HierarchicalAutoencoder(**{**LINEAR, "max_epochs": 2}).fit(X, target=X[:, ::-1])
    model.save(tmp_path)
    for fitted in (model, HierarchicalAutoencoder.load(tmp_path)):
        with pytest.raises(BadInput, match="target: is missing; allowed: 4 columns, as in fit"):
            fitted.score(X)


def test_level_weights_are_what_is_trained_on_and_chosen_by(X):
    equal, weighted = quick(n_seeds=1).fit(X), quick(n_seeds=1, level_weights=[1, 9]).fit(X)
    assert np.abs(equal.transform(X) - weighted.transform(X)).max() > 1e-3
    for model, weights in ((equal, [1, 1]), (weighted, [1, 9])):
        assert model.validation_loss_ == pytest.approx(np.average(1 - model.validation_fve_, weights=weights))


@pytest.mark.parametrize("shape", ["vector", "matrix"])
def test_feature_weights_choose_what_the_first_cv_follows(X, shape):
    rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(4, 4)))[0] if shape == "matrix" else np.eye(4)
    W = rotation @ np.diag([0.01, 0.01, 0.01, 100.0]) @ rotation.T
    model = HierarchicalAutoencoder(**{**LINEAR, "n_cvs": 1}, feature_weights=W if shape == "matrix" else np.diag(W)).fit(X)
    assert abs(np.corrcoef(model.transform(X)[:, 0], X @ rotation[:, 3])[0, 1]) > 0.99
    assert model.score(X) > 0.95


def test_sample_weights_move_the_mean_and_the_metric(X):
    heavy = np.where(X[:, 0] > 2, 10.0, 1.0)
    model = quick(n_seeds=1).fit(X, sample_weight=heavy)
    rows = model.split_ == "train"
    np.testing.assert_allclose(model.network_.input_mean, np.average(X[rows], axis=0, weights=heavy[rows]), rtol=1e-5)


def test_missing_values_are_refused_or_masked(X):
    holes = X.copy()
    holes[np.random.default_rng(0).random(X.shape) < 0.1] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        quick().fit(holes)
    model = HierarchicalAutoencoder(**LINEAR, missing="mask").fit(holes)
    assert np.isfinite(model.transform(holes)).all() and np.isfinite(model.score(holes))
    full = HierarchicalAutoencoder(**LINEAR).fit(X)
    assert model.score(X) > full.score(X) - 0.1
    with pytest.raises(ValueError, match="infinity"):
        model.transform(np.where(np.isnan(holes), np.inf, holes))


@pytest.mark.parametrize("value", [np.inf, -np.inf, 1e300])
def test_an_infinite_target_is_refused_where_missing_ones_are_not(X, value):
    target = X.astype(np.float32).astype(np.float64)
    target[3, 1], target[4, 1] = value, np.nan
    model = quick(missing="mask").fit(X.astype(np.float32))
    for measure in (quick(missing="mask").fit, model.score, model.importance):
        with pytest.raises(BadInput, match="target: infinite values are not allowed; finite numbers, or NaN where they are missing"):
            measure(X.astype(np.float32), target=target)


def test_frame_numbers_may_be_whole_floats(X):
    names, frame = np.repeat(["a", "b"], 250), np.tile(np.arange(250), 2)
    whole, floats = (quick(lag=2).fit(X, groups=names, frame=of) for of in (frame, frame.astype(float)))
    np.testing.assert_array_equal(whole.transform(X), floats.transform(X))
    reports = [model.importance(X, names, frame=of) for model, of in ((whole, frame), (floats, frame.astype(float)))]
    assert reports[0].to_frame().equals(reports[1].to_frame())


def test_scholzs_missing_value_error_can_tell_models_apart():
    """Scholz (2012): leave out known values, and ask how well a model fills them in."""
    x, rng = curve(1200), np.random.default_rng(0)
    hidden = np.zeros(x.shape, dtype=bool)
    hidden[np.arange(len(x)), rng.integers(0, 3, len(x))] = rng.random(len(x)) < 0.3
    holes = np.where(hidden, np.nan, x)

    def error(**settings):
        model = HierarchicalAutoencoder(**{**GOOD, "n_cvs": 1, **settings}, missing="mask").fit(holes)
        return np.mean((model.reconstruct(holes)[hidden] - x[hidden]) ** 2)

    nonlinear, linear = error(), error(hidden=(), activation="identity")
    assert nonlinear < 0.7 * linear


def turned(x, generator):
    """Rows of points in the plane, each turned by its own angle."""
    angle = (torch.rand(len(x), 1, generator=generator) * 2 * torch.pi).to(x)
    return torch.cat([x[:, :1] * angle.cos() - x[:, 1:] * angle.sin(), x[:, :1] * angle.sin() + x[:, 1:] * angle.cos()], dim=1)


def test_an_augmentation_teaches_cvs_what_does_not_matter():
    rng = np.random.default_rng(0)
    radius, angle = rng.uniform(1, 3, 1500), rng.uniform(-np.pi, np.pi, 1500)
    x, aligned = radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1), np.stack([radius, 0 * radius], axis=1)
    one_sided = np.abs(angle) < 1  # seen in training from one side alone

    def moved(augment):
        model = HierarchicalAutoencoder(**{**GOOD, "n_cvs": 1}, augment=augment).fit(x[one_sided], target=aligned[one_sided])
        return np.abs(model.transform(x[~one_sided])[:, 0] - model.transform(aligned[~one_sided])[:, 0]).mean()

    assert moved(turned) < 0.5 * moved(None)


def test_an_augmentation_sees_raw_numbers_far_from_zero_as_they_are():
    """In float32 a number of 1e6 is known to 0.06, and these vary by 1e-2."""
    X, seen = 1e6 + 0.01 * np.random.default_rng(0).normal(size=(300, 2)), []
    quick(augment=lambda x, generator: seen.append(x) or x, max_epochs=1).fit(X)
    given, rows = torch.cat(seen), torch.from_numpy(X)
    assert max(float((rows - row).norm(dim=1).min()) for row in given[:50]) < 1e-6


def test_each_member_has_augmentations_of_its_own_that_repeat(X):
    def noisy(x, generator):
        return x + torch.randn(x.shape, generator=generator)

    one, again, three = (quick(n_seeds=n, augment=noisy).fit(X) for n in (1, 1, 3))
    np.testing.assert_array_equal(one.transform(X), again.transform(X))
    alone = one.reconstruct(X, 1)
    nearest = min(np.abs(member(torch.from_numpy(X).float())[1].numpy()[0] - alone).max() for member in three.members_)
    assert nearest < 1e-3  # however many there are
