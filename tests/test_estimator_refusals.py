"""What the estimator can't use is named in one line, with what is allowed."""

import numpy as np
import pandas as pd
import pytest
from generators import gaussian
from quick import quick

from hae.errors import BadInput
from hae.network.hierarchy import HierarchicalNetwork

METRIC = "4 numbers of 0 or more, or a symmetric positive semidefinite matrix of that size"
X = gaussian([5.0, 2.5, 1.2, 0.6], n=500, mean=2.0)[0]
NO_NAME = 'has no name; allowed: a name for each row, "" for a row that stands alone'


@pytest.fixture(scope="module")
def model():
    return quick().fit(X)


@pytest.mark.parametrize(
    ("wrong", "line"),
    [
        ({"n_cvs": 0}, 'n_cvs: 0 is not allowed; a whole number of 1 or more, or "auto"'),
        ({"n_cvs": 5}, "n_cvs: 5 is not allowed; 1 to the number of features, here n_features = 4"),
        ({"n_cvs": 2.0}, 'n_cvs: 2.0 is not allowed; a whole number of 1 or more, or "auto"'),
        ({"max_cvs": 0}, "max_cvs: 0 is not allowed; a whole number of 1 or more"),
        ({"variant": "colective"}, "variant: 'colective' is not allowed; one of collective, boosted"),
        ({"variant": "plain"}, "variant: 'plain' is not allowed; one of collective, boosted"),
        ({"hidden": 8}, "hidden: 8 is not allowed; a list of widths of 1 or more, or \"auto\""),
        ({"hidden": (8, 0)}, "hidden: (8, 0) is not allowed; a list of widths of 1 or more, or \"auto\""),
        ({"activation": "sine"}, "activation: 'sine' is not allowed; one of tanh, silu, gelu, relu, identity"),
        ({"cv": "round"}, "cv: 'round' is not allowed; one of linear, tanh, circular, or a list of 2 of these"),
        ({"cv": ["linear"]}, "cv: ['linear'] is not allowed; one of linear, tanh, circular, or a list of 2 of these"),
        ({"cv": None}, "cv: None is not allowed; one of linear, tanh, circular, or a list of 2 of these"),
        ({"scale": "local"}, "scale: 'local' is not allowed; one of auto, global, feature, none"),
        ({"n_seeds": 0}, "n_seeds: 0 is not allowed; a whole number of 1 or more"),
        ({"batch_size": -1}, "batch_size: -1 is not allowed; a whole number of 1 or more"),
        ({"max_epochs": 0}, "max_epochs: 0 is not allowed; a whole number of 1 or more, or None"),
        ({"min_steps": -1}, "min_steps: -1 is not allowed; a whole number of 0 or more"),
        ({"patience": 0}, "patience: 0 is not allowed; a whole number of 1 or more, or None"),
        ({"learning_rate": 0}, "learning_rate: 0 is not allowed; a number above 0"),
        ({"learning_rate": np.inf}, "learning_rate: inf is not allowed; a number above 0"),
        ({"smooth": -1}, "smooth: -1 is not allowed; a number of 0 or more"),
        ({"smooth": np.inf}, "smooth: inf is not allowed; a number of 0 or more"),
        ({"linear_path": 1}, "linear_path: 1 is not allowed; True or False"),
        ({"level_weights": 1.0}, "level_weights: 1.0 is not allowed; 2 numbers above 0, or None"),
        ({"level_weights": [1, 0]}, "level_weights: [1, 0] is not allowed; 2 numbers above 0, or None"),
        ({"lag": -1}, "lag: -1 is not allowed; a whole number of 0 or more"),
        ({"missing": "drop"}, "missing: 'drop' is not allowed; one of error, mask"),
        ({"augment": 3}, "augment: 3 is not allowed; a function, or None"),
        ({"network": "conv"}, "network: 'conv' is not allowed; a function, or None"),
        ({"block_frames": 0}, "block_frames: 0 is not allowed; a whole number of 1 or more"),
        ({"shares": (0.5, 0.5, 0.5)}, "shares: [0.5, 0.5, 0.5] is not allowed: train, validation and test, each 0 or more, with the sum 1"),
        ({"random_state": -1}, "random_state: -1 is not allowed; a whole number of 0 or more, None, or a RandomState"),
        ({"feature_weights": [1, 2]}, f"feature_weights: shape (2,) or its values are not allowed; {METRIC}"),
        ({"feature_weights": -np.eye(4)}, f"feature_weights: shape (4, 4) or its values are not allowed; {METRIC}"),
        ({"feature_weights": "a"}, f"feature_weights: 'a' is not allowed; {METRIC}"),
        ({"device": "gpu"}, "device: 'gpu' is not a device; allowed: auto, cpu, cuda, cuda:0, ..."),
    ],
)
def test_a_parameter_that_is_not_allowed_is_named_in_a_line(wrong, line):
    with pytest.raises(BadInput) as error:
        quick(**wrong).fit(X)
    assert str(error.value) == line


@pytest.mark.parametrize(
    ("wrong", "line"),
    [
        ({"groups": ["a"]}, "groups: shape (1,), but X has 500 rows; allowed: one value for each row"),
        ({"groups": [1.0] * 499 + [np.nan]}, f"groups: row 499 {NO_NAME}"),
        ({"groups": ["a", None, *["a"] * 498]}, f"groups: row 1 {NO_NAME}"),
        ({"groups": pd.Series(["a", pd.NA, *["a"] * 498], dtype="string")}, f"groups: row 1 {NO_NAME}"),
        ({"groups": ["a", np.nan, *["a"] * 498]}, f"groups: row 1 {NO_NAME}"),
        ({"groups": ["a"] * 500, "frame": [0, 0.5, *range(498)]}, "frame: 0.5 in row 1 is not allowed; whole numbers, one for each row"),
        ({"groups": ["a"] * 500, "frame": [np.nan] * 500}, "frame: nan in row 0 is not allowed; whole numbers, one for each row"),
        ({"frame": ["x"] * 500}, "frame: values that are not numbers are not allowed; whole numbers, one for each row"),
        ({"groups": ["a"] * 500, "frame": [0]}, "frame: shape (1,), but X has 500 rows; allowed: one value for each row"),
        ({"split": ["train"]}, "split: shape (1,), but X has 500 rows; allowed: one value for each row"),
        ({"split": ["tran"] * 500}, "split: ['tran'] are not all sides; allowed: train, validation, test, gap"),
        ({"split": ["train", np.nan, *[1] * 498]}, "split: ['1', 'nan', 'train'] are not all sides; allowed: train, validation, test, gap"),
        ({"split": ["test"] * 500}, "split: no training rows; allowed: shares, block_frames and gap_frames that leave some"),
        ({"target": np.ones(3)}, "target: 3 rows, but X has 500; allowed: as many"),
        ({"target": np.ones((500, 0))}, "target: shape (500, 0) is not allowed; (N,) or (N, D')"),
        ({"target": ["a"] * 500}, "target: values that are not numbers are not allowed; an array (N,) or (N, D')"),
        ({"target": np.full(500, np.nan)}, 'target: missing or infinite values are not allowed; finite numbers, or missing="mask"'),
        ({"sample_weight": np.zeros(500)}, "sample_weight: allowed are 500 finite numbers above zero, one for each row"),
    ],
)
def test_rows_that_do_not_fit_are_named_in_a_line(wrong, line):
    with pytest.raises(BadInput) as error:
        quick().fit(X, **wrong)
    assert str(error.value) == line


@pytest.mark.parametrize("level", [0, 3, -1, 1.5, True, "last"])
def test_a_level_that_is_not_there_is_named(model, level):
    with pytest.raises(BadInput, match=r"level: .* is not allowed; 1 to 2, or None for the last"):
        model.reconstruct(X, level=level)


def test_cvs_of_another_shape_are_refused(model):
    with pytest.raises(BadInput, match=r"cvs: shape \(5, 3\) is not allowed; \(N, 2\)"):
        model.inverse_transform(np.zeros((5, 3)))


@pytest.mark.parametrize("wrong", [[["a", "b"]], [[1.0, 2.0], [3.0]], [[None, {}]]])
def test_cvs_that_are_no_numbers_are_one_line(model, wrong):
    with pytest.raises(BadInput, match=r"^cvs: not numbers \(.*\); allowed: \(N, 2\)$"):
        model.inverse_transform(wrong)


def test_a_network_with_other_cvs_than_said_is_refused():
    with pytest.raises(BadInput, match=r"network: has the CVs \('linear',\); allowed with these n_cvs and cv: \('linear', 'linear'\)"):
        quick(network=lambda n, m: HierarchicalNetwork.mlp(n, ["linear"])).fit(X)
