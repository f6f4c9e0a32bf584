"""The metric and the loss, against sums written out."""

import numpy as np
import pytest
import torch
from sklearn.metrics import mean_squared_error
from sklearn.preprocessing import StandardScaler

from hae.errors import BadInput
from hae.network.objective import Objective, frame_errors, standardisation


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def case(rng):
    """levels (3, 8, 4), target (8, 4)."""
    return torch.from_numpy(rng.normal(size=(3, 8, 4))), torch.from_numpy(rng.normal(size=(8, 4)))


def test_scale_feature_is_scikit_learns_standard_scaler(rng):
    X, weights = rng.normal(3, [1, 5, 0.1], (200, 3)), rng.uniform(0.5, 2, 200)
    for given in (None, weights):
        mean, scale = standardisation(X, "feature", given)
        expected = StandardScaler().fit(X, sample_weight=given)
        np.testing.assert_allclose(mean, expected.mean_)
        np.testing.assert_allclose(scale, expected.scale_)


def test_scale_global_is_one_number_that_makes_the_mean_variance_one(rng):
    X = rng.normal(3, [1, 5, 0.1], (200, 3))
    mean, scale = standardisation(X, "global")
    assert len(set(scale)) == 1
    assert ((X - mean) / scale).var(0).mean() == pytest.approx(1)
    np.testing.assert_array_equal(standardisation(X, "none")[1], np.ones(3))


def test_missing_entries_are_left_out(rng):
    X = rng.normal(size=(50, 2))
    X[:10, 0] = np.nan
    mean, scale = standardisation(X, "feature")
    np.testing.assert_allclose(mean, np.nanmean(X, axis=0))
    np.testing.assert_allclose(scale, np.nanstd(X, axis=0))


@pytest.mark.parametrize("constant", [0.1, 1e8 / 3, 0.0, np.nan])
def test_a_column_that_never_changes_divides_nothing(rng, constant):
    X = np.stack([rng.normal(size=999), np.full(999, constant, dtype=np.float32)], axis=1)
    assert standardisation(X, "feature")[1][1] == 1
    assert np.isfinite(standardisation(X[:, 1:], "global")).all()


@pytest.mark.parametrize("scale", ["global", "feature", "none"])
@pytest.mark.parametrize("spread", [1 + 1e-14 * np.arange(99), 1e-160 * np.arange(99), 1e-200 * np.arange(99)])
def test_a_column_that_changes_by_rounding_alone_counts_as_constant_and_is_named(rng, spread, scale):
    X = np.stack([rng.normal(size=99), spread], axis=1)
    with pytest.warns(UserWarning, match=r"columns \[1\]: they change by rounding alone, count as constant"):
        both = standardisation(X, scale)[1]
    alone = standardisation(X[:, :1], scale)[1]
    assert both[1] == pytest.approx(alone[0] / np.sqrt(2) if scale == "global" else 1)


def test_an_unknown_metric_is_named():
    with pytest.raises(BadInput, match="scale: 'local' is not a metric; allowed: auto, global, feature, none"):
        standardisation(np.ones((2, 2)), "local")


def test_the_plain_loss_is_the_mean_of_the_levels_mean_squared_errors(case):
    levels, target = case
    errors = Objective().level_errors(levels, target)
    expected = [mean_squared_error(target, level) for level in levels]
    np.testing.assert_allclose(errors, expected)
    assert float(Objective().loss(errors)) == pytest.approx(np.mean(expected))


def test_level_weights_are_a_weighted_mean(case):
    errors = Objective().level_errors(*case)
    weighted = Objective(torch.tensor([1.0, 5.0, 0.5], dtype=torch.float64)).loss(errors)
    assert float(weighted) == pytest.approx(np.average(errors, weights=[1, 5, 0.5]))


@pytest.mark.parametrize("root", [None, "vector", "matrix"])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_errors_are_the_sums_written_out(case, rng, root, masked, weighted):
    levels, target = case
    vector = rng.uniform(0.5, 2, 4)
    matrix = {None: np.eye(4), "vector": np.diag(vector), "matrix": rng.normal(size=(4, 4))}[root]
    observed = rng.integers(0, 2, (8, 4)) if masked else np.ones((8, 4))
    weights = rng.uniform(0.5, 2, 8) if weighted else np.ones(8)
    W = matrix @ matrix.T
    expected = np.zeros((3, 8))
    for k in range(3):
        for i in range(8):
            r = (target[i] - levels[k, i]).numpy() * observed[i]
            expected[k, i] = r @ W @ r / 4
    given = None if root is None else torch.from_numpy(vector if root == "vector" else matrix)
    seen = torch.from_numpy(observed).double() if masked else None
    np.testing.assert_allclose(frame_errors(levels, target, given, seen), expected)
    per_row = torch.from_numpy(weights) if weighted else None
    np.testing.assert_allclose(Objective(root=given).level_errors(levels, target, per_row, seen), (expected * weights).mean(1))


def test_a_stack_of_members_is_each_by_itself(case):
    levels, target = case
    errors = Objective().level_errors(torch.stack([levels, 2 * levels]), torch.stack([target, target]))
    torch.testing.assert_close(errors[1], Objective().level_errors(2 * levels, target))
