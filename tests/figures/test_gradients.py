"""Pictures of gradients: the largest at its place, passages as they are, a cliff's line where there is one."""

import numpy as np
import pytest

from hae.figures import plots
from hae.figures.gradients import gradient_map, passages
from hae.figures.maps import Variable


@pytest.fixture
def axis():
    return plots.figure()[1]


def test_each_place_shows_the_largest_gradient_there_and_a_ring_the_largest_of_all(axis):
    random = np.random.default_rng(0)
    phi, psi = random.uniform(-np.pi, np.pi, (2, 2000))
    gradient = random.uniform(0, 10, 2000)
    gradient[7], phi[7], psi[7] = 90.0, np.radians(100.0), np.radians(-50.0)
    gradient_map(Variable(phi, "phi", "rad", 2 * np.pi), Variable(psi, "psi", "rad", 2 * np.pi), gradient, axis, "CV2")
    (image,) = axis.get_images()
    shown, bins = image.get_array(), image.get_array().shape[0]
    row, column = np.unravel_index(shown.argmax(), shown.shape)
    assert shown.max() == 90 and shown.compressed().size == bins**2 == shown.size
    assert abs(-180 + (column + 0.5) * 360 / bins - 100) <= 180 / bins and abs(-180 + (row + 0.5) * 360 / bins + 50) <= 180 / bins
    (ring,) = axis.get_lines()
    np.testing.assert_allclose(ring.get_xydata(), [[100, -50]])
    assert "CV2 (1/nm)" in axis.figure.axes[1].get_ylabel()


@pytest.mark.parametrize(("unit", "lines"), [("1/nm", 2), ("1/standard deviation", 1)])
def test_a_passage_is_drawn_as_it_is_beside_the_slope_of_a_cliff(axis, unit, lines):
    steps = np.linspace(-0.03, 0.03, 31)
    cv = np.tanh(100 * steps)
    passages(steps, cv[None], axis, unit)
    named = [line for line in axis.get_lines() if not line.get_label().startswith("_")]
    np.testing.assert_array_equal(named[0].get_ydata(), cv)
    assert len(named) == lines and ("nm" in axis.get_xlabel()) == (lines == 2)
    if lines == 2:
        x, y = named[1].get_data()
        np.testing.assert_allclose(y, 250 * x)
