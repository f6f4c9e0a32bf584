"""Well-tempered metadynamics along one or two CVs on a grid: Barducci, Bussi and Parrinello, Phys. Rev. Lett. 100, 020603 (2008)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numba import njit

from hae.data.units import BOLTZMANN
from hae.errors import BadInput

__all__ = ["Axis", "Grid", "both", "hill", "value"]

NODES_A_WIDTH = 3  # of the Gaussians: cubic pieces between nodes are then true to 1e-3 of a hill's height
CUT = 6.0  # widths from its centre, where a hill ends: 1.5e-8 of its height


@dataclass(frozen=True)
class Axis:
    """One CV: hills of `width`, from `low` to `high`; period 2 pi where the CV is an angle. All in the CV's own unit.

    Example:
        >>> axis = Axis(low=-2.0, high=2.0, width=0.2)
        >>> axis.nodes, round(axis.step, 3)
        (61, 0.067)
    """

    low: float
    high: float
    width: float
    periodic: bool = False

    @property
    def nodes(self) -> int:
        return math.ceil((self.high - self.low) / self.width * NODES_A_WIDTH) + 1

    @property
    def step(self) -> float:
        return (self.high - self.low) / (self.nodes - 1)


class Grid:
    """The sum of hills, as energies in kJ/mol with their slopes at the nodes and bicubic pieces between: energy and force belong
    together. Beyond the grid the bias keeps the value of its edge; walls keep walkers inside.

    axes: of one or two CVs. height: of a first hill, kJ/mol. factor: bias factor (T + dT) / T, above 1. temperature: kelvin.

    Raises:
        BadInput: no or more than two axes, a factor of 1 or less, an axis of no length or width.

    Example:
        >>> grid = Grid((Axis(-2.0, 2.0, 0.2),), height=1.2, factor=10.0, temperature=300.0)
        >>> grid.put(np.array([0.5]), 1.2)
        >>> round(grid.at(np.array([0.5])), 3), round(grid.at(np.array([-1.0])), 3)
        (1.2, 0.0)
    """

    def __init__(self, axes: tuple[Axis, ...], height: float, factor: float, temperature: float):
        if not 1 <= len(axes) <= 2:
            raise BadInput(f"metadynamics: {len(axes)} CVs; allowed: 1 or 2, a grid of more fills no better than the space itself")
        for k, axis in enumerate(axes):
            if not (axis.high > axis.low and 0 < axis.width < axis.high - axis.low):
                raise BadInput(f"metadynamics: CV{k + 1} from {axis.low:g} to {axis.high:g} in hills of {axis.width:g}; "
                               "allowed: a range wider than a hill")
        if not (factor > 1 and height > 0 and temperature > 0):
            raise BadInput(f"metadynamics: factor {factor:g}, height {height:g}, {temperature:g} K; "
                           "allowed: factor above 1, others above 0")
        self.axes, self.height, self.factor, self.kt = axes, height, factor, BOLTZMANN * temperature
        idle = Axis(-1.0, 1.0, math.inf)  # a second CV that is not there: 0 everywhere, and hills without an end
        two = (*axes, idle)[:2]
        self.low = np.array([axis.low for axis in two])
        self.step = np.array([axis.step if math.isfinite(axis.width) else 2.0 for axis in two])
        self.width = np.array([axis.width for axis in two])
        self.period = np.array([axis.high - axis.low if axis.periodic else 0.0 for axis in two])
        shape = [axis.nodes if math.isfinite(axis.width) else 2 for axis in two]
        self.values = np.zeros((4, *shape))  # V, its slopes by the first and the second CV, and the mixed one

    @property
    def plain(self) -> tuple[np.ndarray, ...]:
        """The arguments of `value` after the place."""
        return self.low, self.step, self.period, self.values

    def at(self, cvs: np.ndarray) -> float:
        """The bias in kJ/mol at CVs (n,)."""
        return float(value(both(cvs), *self.plain)[0])

    def add(self, cvs: np.ndarray) -> float:
        """A new hill at CVs (n,), lower the higher the bias there is; gives its height."""
        height = self.height * math.exp(-self.at(cvs) / ((self.factor - 1) * self.kt))
        self.put(cvs, height)
        return height

    def put(self, cvs: np.ndarray, height: float) -> None:
        """A hill whose height is known, as where hills are read back."""
        hill(both(cvs), height, self.low, self.step, self.period, self.width, self.values)

    def told(self, height: float) -> tuple[float, float]:
        """What a file of hills has of one after its widths, as PLUMED writes it: height, times factor / (factor - 1), and factor."""
        return height * self.factor / (self.factor - 1), self.factor

    def once(self, nodes: np.ndarray) -> np.ndarray:
        """Of numbers at the nodes those that a mean is over: pi, which is -pi, is left out."""
        return nodes[tuple(slice(-1 if axis.periodic else None) for axis in self.axes)]

    def highest(self) -> float:
        """The largest bias anywhere, kJ/mol."""
        return float(self.plain[-1][0].max())

    def state(self) -> dict[str, np.ndarray]:
        """What a checkpoint keeps."""
        return {"values": self.values}

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Be as `state` was."""
        self.values = np.array(state["values"])

    def shift(self) -> float:
        """c(t) in kJ/mol, by which the bias as a whole has risen: Tiwary and Parrinello, J. Phys. Chem. B 119, 736 (2015), eq. 12."""
        bias = self.once(self.values[0])
        top = bias.max() / self.kt
        scaled = bias / self.kt - top
        share = 1 / (self.factor - 1)
        above = np.log(np.exp(scaled * (1 + share)).mean()) + top * (1 + share)
        below = np.log(np.exp(scaled * share).mean()) + top * share
        return float(self.kt * (above - below))


def both(cvs: np.ndarray) -> np.ndarray:
    """A place (2,) of CVs (n,): 0 for a second one that is not there."""
    return np.array([cvs[0], cvs[1] if len(cvs) > 1 else 0.0])


@njit(cache=True)
def hill(centre, height, low, step, period, width, values):
    """Add a Gaussian to values (4, n, m): itself, its slopes by the first and by the second CV, and the mixed one."""
    first, last = np.zeros(2, np.int64), np.zeros(2, np.int64)
    for d in range(2):
        n = values.shape[d + 1]
        if math.isinf(width[d]) or period[d] > 0:
            first[d], last[d] = 0, n - 1
        else:
            first[d] = max(0, math.ceil((centre[d] - CUT * width[d] - low[d]) / step[d]))
            last[d] = min(n - 1, math.floor((centre[d] + CUT * width[d] - low[d]) / step[d]))
    for i in range(first[0], last[0] + 1):
        a, slope_a = _gauss(low[0] + i * step[0] - centre[0], width[0], period[0])
        for j in range(first[1], last[1] + 1):
            b, slope_b = _gauss(low[1] + j * step[1] - centre[1], width[1], period[1])
            values[0, i, j] += height * a * b
            values[1, i, j] += height * slope_a * b
            values[2, i, j] += height * a * slope_b
            values[3, i, j] += height * slope_a * slope_b


@njit(cache=True)
def _gauss(d, width, period):
    if math.isinf(width):
        return 1.0, 0.0
    if period > 0:
        d -= period * round(d / period)
    if abs(d) > CUT * width:
        return 0.0, 0.0
    v = math.exp(-d * d / (2 * width * width))
    return v, -d / (width * width) * v


@njit(cache=True)
def value(place, low, step, period, values):
    """(V in kJ/mol, its slope by the first and by the second CV) at a place (2,): Hermite's cubic in each direction."""
    index, inside = np.zeros(2, np.int64), np.ones(2)
    h, dh = np.empty((2, 4)), np.empty((2, 4))
    for d in range(2):
        n = values.shape[d + 1]
        u = place[d] - low[d]
        if period[d] > 0:
            u -= period[d] * math.floor(u / period[d])
        u /= step[d]
        if u < 0 or u > n - 1:
            u, inside[d] = min(max(u, 0.0), n - 1.0), 0.0
        index[d] = min(int(u), n - 2)
        _hermite(u - index[d], step[d], h[d], dh[d])
    v, v0, v1 = 0.0, 0.0, 0.0
    for a in range(2):
        for b in range(2):
            i, j = index[0] + a, index[1] + b
            for p in range(2):
                for q in range(2):
                    at = values[p + 2 * q, i, j]
                    v += at * h[0, 2 * p + a] * h[1, 2 * q + b]
                    v0 += at * dh[0, 2 * p + a] * h[1, 2 * q + b]
                    v1 += at * h[0, 2 * p + a] * dh[1, 2 * q + b]
    return v, v0 * inside[0], v1 * inside[1]


@njit(cache=True)
def _hermite(t, step, h, dh):
    """Weights of the values at both ends, then of the slopes there; and the weights' own slopes."""
    h[0], h[1] = (1 + 2 * t) * (1 - t) ** 2, t * t * (3 - 2 * t)
    h[2], h[3] = step * t * (1 - t) ** 2, step * t * t * (t - 1)
    dh[0] = 6 * t * (t - 1) / step
    dh[1] = -dh[0]
    dh[2], dh[3] = 3 * t * t - 4 * t + 1, 3 * t * t - 2 * t
