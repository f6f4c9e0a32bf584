"""Pairs of input and target: lags, sides, missing values, too few rows."""

import warnings

import numpy as np
import pytest
import torch

from hae.data.split import split_rows
from hae.errors import BadInput
from hae.training.pairs import Pairs, Standard, make_pairs, split_or_warn


@pytest.fixture
def walks():
    """X (60, 1) of 0..59 in two interleaved trajectories with a missing frame, their names and frame numbers."""
    names = np.where(np.arange(60) % 2 == 0, "even", "odd")
    frame = np.arange(60) // 2
    frame[frame >= 12] += 1  # frame 12 is missing in both
    return np.arange(60.0)[:, None], names, frame


@pytest.mark.parametrize("lag", [1, 3])
def test_a_lag_joins_a_row_to_the_later_frame_of_its_trajectory_and_no_other(walks, lag):
    X, names, frame = walks
    sides = np.where(frame < 20, "train", "validation")
    pairs = make_pairs(X, names, frame, sides, lag=lag)
    found = {(int(a), int(b), side) for side, part in pairs.items() for a, b in zip(part.inputs[:, 0], part.targets[:, 0])}
    expected = {
        (i, j, sides[i])
        for i in range(60)
        for j in range(60)
        if names[i] == names[j] and frame[j] == frame[i] + lag and sides[i] == sides[j]
    }
    assert found == expected
    assert not any(frame[i] < 20 <= frame[j] for i, j, _ in found)


def test_the_gap_of_a_split_is_never_a_target():
    names, frame = np.repeat(["a", "b"], 500), np.tile(np.arange(500), 2)
    sides = split_rows(names, frame, block_frames=50, gap_frames=5, shares=(0.5, 0.25, 0.25))
    pairs = make_pairs(np.arange(1000.0)[:, None], names, frame, sides, lag=3)
    for side, part in pairs.items():
        assert len(part) and (sides[part.targets[:, 0].astype(int)] == side).all()


def test_rows_without_a_trajectory_have_no_later_row():
    names = np.array([""] * 10 + ["a"] * 10)
    pairs = make_pairs(np.arange(20.0)[:, None], names, None, np.full(20, "train"), lag=2)
    assert pairs["train"].inputs[:, 0].tolist() == list(range(10, 18))


def test_frames_are_counted_in_each_trajectory_when_not_given():
    names = np.array(["b", "a", "b", "a", "b"])
    pairs = make_pairs(np.arange(5.0)[:, None], names, None, np.full(5, "train"), lag=1)
    assert sorted(zip(pairs["train"].inputs[:, 0], pairs["train"].targets[:, 0])) == [(0, 2), (1, 3), (2, 4)]


def test_weights_and_another_target_follow_their_rows(walks):
    X, names, _ = walks
    weights = np.arange(1.0, 61)
    pairs = make_pairs(X, names, None, np.full(60, "train"), lag=2, target=-X[:, 0], weights=weights)["train"]
    np.testing.assert_array_equal(pairs.weights, pairs.inputs[:, 0] + 1)
    np.testing.assert_array_equal(pairs.targets, -(pairs.inputs + 4))


@pytest.mark.parametrize(
    ("wrong", "line"),
    [
        ({"lag": 31}, "lag: 31 leaves no pair of frames in the training rows; allowed: less than the length of a block"),
        ({"target": np.ones(3)}, "target: 3 rows, but X has 60; allowed: as many"),
        ({"weights": np.ones(3)}, "sample_weight: allowed are 60 finite numbers above zero, one for each row"),
        ({"weights": np.zeros(60)}, "sample_weight: allowed are 60 finite numbers above zero, one for each row"),
        ({"weights": np.full(60, np.nan)}, "sample_weight: allowed are 60 finite numbers above zero, one for each row"),
    ],
)
def test_what_does_not_fit_is_named(walks, wrong, line):
    with pytest.raises(BadInput) as error:
        make_pairs(*walks, np.full(60, "train"), **wrong)
    assert str(error.value) == line


def test_a_missing_input_is_the_mean_and_a_missing_target_not_observed():
    X = np.array([[1.0, 10.0], [3.0, np.nan], [np.nan, 30.0]])
    pairs = make_pairs(X, None, None, np.full(3, "train"))["train"]
    rows = pairs.rows(Standard.of(pairs, "none"), torch.device("cpu"))
    assert rows.inputs.tolist() == [[-1, -10], [1, 0], [0, 10]]  # about the means 2 and 20
    assert rows.observed.tolist() == [[1, 1], [1, 0], [0, 1]]
    assert rows.targets is rows.inputs
    assert rows.inputs.dtype == torch.float32


def test_weights_reach_training_with_a_mean_of_one():
    pairs = make_pairs(np.ones((4, 1)), None, None, np.full(4, "train"), weights=np.array([1.0, 2, 3, 6]))["train"]
    assert pairs.rows(Standard.of(pairs, "none"), torch.device("cpu")).weights.tolist() == pytest.approx([1 / 3, 2 / 3, 1, 2])


def test_input_and_target_of_a_lag_share_nothing_but_each_has_its_own_standard():
    X = np.cumsum(np.random.default_rng(0).normal(size=(50, 2)), axis=0)
    pairs = make_pairs(X, np.full(50, "a"), None, np.full(50, "train"), lag=10)["train"]
    standard = Standard.of(pairs, "feature")
    np.testing.assert_allclose(standard.input_mean, X[:40].mean(0))
    np.testing.assert_allclose(standard.output_mean, X[10:].mean(0))


def test_too_few_rows_to_hold_out_all_train_with_a_word():
    X = np.random.default_rng(0).normal(size=(60, 2))
    with pytest.warns(UserWarning, match=r"too few rows to hold some out \(train \d+, validation \d+, test \d+; at least 20"):
        sides = split_or_warn(X, None, None, shares=(0.7, 0.15, 0.15), block_frames=100, gap_frames=10)
    assert set(sides) == {"train"}


def test_enough_rows_are_split_as_the_pipeline_splits_them():
    X, names = np.random.default_rng(0).normal(size=(3000, 2)), np.repeat(["a", "b", "c"], 1000)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sides = split_or_warn(X, names, None, shares=(0.6, 0.2, 0.2), block_frames=100, gap_frames=10)
    expected = split_rows(names, np.tile(np.arange(1000), 3), block_frames=100, gap_frames=10, shares=(0.6, 0.2, 0.2))
    np.testing.assert_array_equal(sides, expected)


def test_rows_named_nothing_stand_alone_beside_trajectories():
    X, rule = np.random.default_rng(0).normal(size=(5000, 2)), {"shares": (0.6, 0.2, 0.2), "block_frames": 100, "gap_frames": 10}
    nothing, mixed = np.full(5000, ""), np.repeat(["", "a"], [1000, 4000])
    alone = split_or_warn(X, None, None, **rule)
    np.testing.assert_array_equal(split_or_warn(X, nothing, None, **rule), alone)
    sides = split_or_warn(X, mixed, None, **rule)
    np.testing.assert_array_equal(sides[:1000], alone[:1000])
    assert make_pairs(X, nothing, None, alone)["test"].blocks(100) is None
    of_trajectory = len(np.unique(np.flatnonzero(sides[1000:] == "test") // 100))
    assert len(np.unique(make_pairs(X, mixed, None, sides)["test"].blocks(100))) == of_trajectory + (sides[:1000] == "test").sum()


def test_sides_are_joined_in_the_order_that_they_were_split_from():
    X, names = np.arange(24.0).reshape(12, 2), np.repeat(["a", "b"], 6)
    split = np.array(["train", "test", "validation"] * 4)
    for groups in (None, names):
        sides = make_pairs(X, groups, None, split, target=-X, weights=np.arange(1.0, 13))
        whole = Pairs.joined([sides[side] for side in ("train", "validation", "test")])
        order = np.lexsort((whole.inputs[:, 0],)) if groups is None else np.argsort(whole.trajectory, kind="stable")
        back = whole.take(order)
        assert (back.inputs == X).all() and (back.targets == -X).all() and (back.weights == np.arange(1, 13)).all()
        assert groups is not None or (whole.inputs == X).all()
