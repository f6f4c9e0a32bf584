"""What the estimator accepts: each parameter that can't be is named, with what is allowed."""

import numpy as np
import pytest

from hae import HierarchicalAutoencoder
from hae.arguments import checked_kinds, metric_root
from hae.errors import BadInput


@pytest.mark.parametrize(("name", "value", "allowed"), [
    ("n_cvs", 0, "1 or more"), ("n_cvs", "most", "auto"), ("n_seeds", 1.5, "1 or more"), ("hidden", (8, 0), "widths of 1 or more"),
    ("variant", "both", "collective"), ("activation", "sine", "tanh"), ("cv", ("linear",), "a list of 3"), ("scale", None, "global"),
    ("patience", 0, "or None"), ("learning_rate", -1, "above 0"), ("level_weights", (1, 2), "3 numbers above 0"), ("lag", -1, "0 or more"),
    ("augment", "noise", "a function"), ("random_state", -1, "0 or more"), ("smooth", -0.5, "0 or more"),
])
def test_a_parameter_that_can_t_be_is_named(name, value, allowed):
    with pytest.raises(BadInput, match=f"^{name}: .*{allowed}"):
        checked_kinds(HierarchicalAutoencoder(**{name: value}), 5)


def test_kinds_are_one_a_cv_and_auto_asks_for_no_more_than_features():
    assert checked_kinds(HierarchicalAutoencoder(n_cvs=2, cv=("circular", "tanh")), 5) == ("circular", "tanh")
    assert checked_kinds(HierarchicalAutoencoder(n_cvs="auto", max_cvs=6), 4) == ("linear",) * 4


def test_the_root_of_a_metric_gives_the_metric_back():
    rng = np.random.default_rng(0)
    half = rng.normal(size=(4, 4))
    W = half @ half.T
    root = metric_root(W, 4)
    assert np.allclose(root @ root.T, W) and np.allclose(metric_root([1, 4, 9], 3), [1, 2, 3]) and metric_root(None, 3) is None


@pytest.mark.parametrize("W", [[1, -1, 1], [0, 0, 0], [[1, 2], [0, 1]], "heavy", np.diag([1.0, -1.0, 1.0])])
def test_what_is_no_metric_is_refused(W):
    with pytest.raises(BadInput, match=r"^feature_weights: "):
        metric_root(W, 3)


def test_a_missing_value_names_the_choice_for_it():
    X = np.random.default_rng(0).normal(size=(50, 3))
    X[7, 1] = np.nan
    with pytest.raises(BadInput, match=r'X: NaN in 1 of 50 rows, the first of them row 7; .*missing="mask"'):
        HierarchicalAutoencoder(n_cvs=1).fit(X)


def test_frame_numbers_without_a_sign_are_as_any_others():
    """Beside signed numbers NumPy makes floats of them, and no place in a series is a float."""
    X, groups, frame = np.random.default_rng(0).normal(size=(600, 2)), np.repeat(["a", "b"], 300), np.tile(np.arange(300), 2)
    how = {"n_cvs": 1, "n_seeds": 1, "max_epochs": 1, "hidden": (), "block_frames": 10, "gap_frames": 0, "device": "cpu"}
    signed, unsigned = (HierarchicalAutoencoder(**how).fit(X, groups=groups, frame=frame.astype(kind)) for kind in ("int64", "uint64"))
    np.testing.assert_array_equal(unsigned.split_, signed.split_)
    assert unsigned.importance_.n_eff == signed.importance_.n_eff
