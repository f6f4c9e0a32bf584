"""CVs one by one: each frame at its time, each mean at its place."""

import numpy as np
import pytest

from hae.figures import along, plots
from hae.figures.maps import Variable, skeleton


def test_trajectories_stand_one_after_the_other():
    axes = plots.grid(4, 3, 2, 1)[1][:, 0]
    trajectory, frame = np.array(["run-a"] * 3 + ["run-b"] * 2), np.array([10, 11, 13, 0, 4])
    cvs = [Variable(np.arange(5.0), "CV1"), Variable(-np.arange(5.0), "CV2")]
    along.against_time(cvs, trajectory, frame, axes)
    x, y = axes[0].get_lines()[0].get_data()
    assert x.tolist() == [0, 1, 3, 4, 8] and y.tolist() == [0, 1, 2, 3, 4]
    assert [line.get_xdata()[0] for line in axes[1].get_lines()[1:]] == [4]  # the one border
    assert [text.get_text() for text in axes[0].texts] == ["a", "b"]


def test_one_trajectory_needs_no_border_and_no_name():
    axes = plots.grid(4, 3, 1, 1)[1][:, 0]
    along.against_time([Variable(np.arange(4.0), "CV1")], np.array(["x"] * 4), np.arange(4), axes)
    assert len(axes[0].get_lines()) == 1 and not axes[0].texts and axes[0].get_xlabel() == "frame"


@pytest.fixture
def axis():
    return plots.figure()[1]


def test_a_feature_that_follows_the_cv_goes_from_blue_to_red_and_another_stays(axis):
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, 6000)
    values = np.stack([rng.normal(size=6000), 3 * x + 7], axis=1)
    along.features_along(Variable(x, "CV1"), values, {"other": [0], "same": [1]}, axis)
    shown = axis.images[0].get_array()
    middles = np.linspace(-0.98, 0.98, along.BINS + 1)
    assert np.allclose(shown[1], (middles[1:] + middles[:-1]) / 2 * np.sqrt(3), atol=0.05)  # x has the deviation 1 / sqrt(3)
    assert np.abs(shown[0]).max() < 0.35
    assert [text.get_text() for text in axis.get_yticklabels()] == ["other", "same"]


def test_an_atom_moves_by_the_length_of_its_mean_displacement_and_weights_count(axis):
    x = np.repeat([-1.0, 1.0], 100)
    values = np.stack([0.3 * x, 0.4 * x, 0 * x], axis=1)
    along.features_along(Variable(x, "CV1"), values, {"CA": [0, 1, 2]}, axis, lengths=True)
    shown = axis.images[0].get_array()
    assert shown[0, 0] == pytest.approx(0.5) and shown.mask[0, 1:-1].all()  # nobody was in between
    along.features_along(Variable(x, "CV1"), values, {"CA": [0, 1, 2]}, axis, lengths=True, weights=np.repeat([3.0, 1.0], 100))
    assert axis.images[1].get_array()[0, 0] == pytest.approx(0.25)  # the mean of all is three times nearer to the first


def test_bonds_are_those_of_heavy_atoms_or_the_chain():
    zigzag = np.array([[0, 0, 0], [0.12, 0.08, 0], [0.24, 0, 0], [0.9, 0, 0]])
    assert skeleton(zigzag) == [(0, 1), (1, 2)]
    assert skeleton(3 * zigzag[:3]) == [(0, 1), (1, 2)]  # no bonds: steps of a chain of alpha carbons
