"""The bias on a grid is the sum of its hills, and its slopes are its own."""

import numpy as np
import pytest

from hae.data.units import BOLTZMANN
from hae.errors import BadInput
from hae.sampling.metadynamics import Axis, Grid, value

ANGLE, LINE = Axis(-np.pi, np.pi, 0.35, True), Axis(-3.0, 4.0, 0.2)
AXES = {"line": (LINE,), "angle": (ANGLE,), "lines": (LINE, LINE), "angles": (ANGLE, ANGLE), "both": (ANGLE, LINE)}


def filled(axes, hills=200):
    """A grid, and its hills as (centre, height)."""
    grid, random = Grid(axes, 1.2, 10.0, 300.0), np.random.default_rng(0)
    centres = random.normal(0, 1, (hills, len(axes)))
    return grid, [(centre, grid.add(centre)) for centre in centres]


def exact(axes, hills, s):
    total = 0.0
    for centre, height in hills:
        d = np.array([np.angle(np.exp(1j * x)) if axis.periodic else x for axis, x in zip(axes, s - centre)])
        total += height * np.exp(-0.5 * ((d / [axis.width for axis in axes]) ** 2).sum())
    return total


def slopes(grid, s):
    return np.array(value(np.array([*s, 0.0])[:2], *grid.plain)[1 : 1 + len(s)])


@pytest.mark.parametrize("name", AXES)
def test_the_bias_is_the_sum_of_the_hills(name):
    axes = AXES[name]
    grid, hills = filled(axes)
    for s in np.random.default_rng(1).uniform(-2.9, 2.9, (50, len(axes))):
        assert grid.at(s) == pytest.approx(exact(axes, hills, s), abs=2e-3)
        for k in range(len(axes)):
            step = np.eye(len(axes))[k] * 1e-6
            assert slopes(grid, s)[k] == pytest.approx((grid.at(s + step) - grid.at(s - step)) / 2e-6, abs=1e-5)


def test_heights_shrink_as_the_bias_grows():
    grid = Grid((LINE,), 1.2, 10.0, 300.0)
    place, before = np.zeros(1), 0.0
    for _ in range(100):
        height = grid.add(place)
        assert height == pytest.approx(1.2 * np.exp(-before / (9 * BOLTZMANN * 300)), rel=1e-9)
        before = grid.at(place)


def test_an_angle_has_no_edge_and_a_line_keeps_the_value_of_its_own():
    angle = Grid((ANGLE,), 1.2, 10.0, 300.0)
    angle.put(np.array([3.1]), 1.0)
    assert angle.at(np.array([-3.1])) == pytest.approx(np.exp(-0.5 * ((2 * np.pi - 6.2) / 0.35) ** 2), abs=1e-3)
    assert angle.at(np.array([3.1 + 2 * np.pi])) == pytest.approx(1.0, abs=1e-3)
    line = Grid((LINE,), 1.2, 10.0, 300.0)
    line.put(np.array([3.95]), 1.0)
    assert line.at(np.array([9.0])) == line.at(np.array([4.0])) > 0.9
    assert slopes(line, np.array([9.0])) == 0


def test_the_shift_is_that_of_the_formula():
    grid, _ = filled((LINE,))
    kt, bias = BOLTZMANN * 300, grid.values[0][:, 0]
    assert grid.shift() == pytest.approx(kt * np.log(np.exp(10 / 9 * bias / kt).sum() / np.exp(bias / 9 / kt).sum()), rel=1e-9)
    assert Grid((LINE,), 1.2, 10.0, 300.0).shift() == 0


def test_the_shift_of_an_angle_does_not_know_where_it_is_cut():
    shifts = []
    for centre in (0.0, np.pi):
        angle = Grid((ANGLE,), 1.2, 10.0, 300.0)
        angle.put(np.array([centre]), 30.0)
        shifts.append(angle.shift())
    assert shifts[0] == pytest.approx(shifts[1], abs=0.01)


@pytest.mark.parametrize(("axes", "factor", "says"), [
    ((), 10.0, "0 CVs; allowed: 1 or 2"), ((LINE,) * 3, 10.0, "3 CVs"), ((Axis(0.0, 1.0, 2.0),), 10.0, "a range wider than a hill"),
    ((LINE,), 1.0, "factor above 1"),
])
def test_what_no_grid_can_hold_is_refused(axes, factor, says):
    with pytest.raises(BadInput, match=says):
        Grid(axes, 1.2, factor, 300.0)
