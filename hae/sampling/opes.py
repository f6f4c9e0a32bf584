"""OPES along one or two CVs on a grid: Invernizzi and Parrinello, J. Phys. Chem. Lett. 11, 2731 (2020)."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numba import njit

from hae.data.units import BOLTZMANN
from hae.errors import BadInput
from hae.sampling.metadynamics import Axis, Grid, both, hill

__all__ = ["Opes"]


class Opes(Grid):
    """The bias V = (1 - 1 / factor) kT log(P / Z + eps), P the probability along the CVs estimated on the fly: a sum of Gaussians of one
    width, each with the weight exp(V / kT) that the bias had there. Z is the mean of P over the nodes visited so far, eps holds the bias
    within `barrier`. V has its own slopes at the nodes and bicubic pieces between, so energy and force belong together.

    The sum is kept on the grid and not as a list of kernels, so nothing has to be compressed; widths do not shrink (PLUMED's FIXED_SIGMA).

    axes: of one or two CVs. barrier: kJ/mol, the highest that is to be crossed; the factor is barrier / kT. temperature: kelvin.

    Raises:
        BadInput: as `Grid`; a barrier of kT or less.

    Example: Where nothing was seen yet the bias is lowest; a kernel lifts it where it stands.
        >>> bias = Opes((Axis(-1.0, 1.0, 0.1),), barrier=30.0, temperature=300.0)
        >>> round(bias.at(np.zeros(1)), 6)
        -30.0
        >>> weight = bias.add(np.zeros(1))
        >>> bias.at(np.zeros(1)) > 0 > bias.at(np.full(1, 0.9))
        True
    """

    def __init__(self, axes: tuple[Axis, ...], barrier: float, temperature: float):
        if not barrier > BOLTZMANN * temperature:
            raise BadInput(f"opes: a barrier of {barrier:g} kJ/mol; "
                           f"allowed: more than kT, {BOLTZMANN * temperature:.2f} kJ/mol at {temperature:g} K")
        super().__init__(axes, 1.0, barrier / (BOLTZMANN * temperature), temperature)
        self.scale = (1 - 1 / self.factor) * self.kt
        self.floor = math.exp(-barrier / self.scale)
        self.density, self.seen = np.zeros_like(self.values), np.zeros(self.values.shape[1:], dtype=bool)
        self._stale = True  # values are those of the density once they are asked for: kernels of one moment cost one pass

    @property
    def plain(self) -> tuple[np.ndarray, ...]:
        if self._stale:
            seen = self.once(self.seen)
            mean = float(self.once(self.density[0])[seen].mean()) if seen.any() else 1.0
            _bias(self.density, mean, self.floor, self.scale, self.values)
            self._stale = False
        return super().plain

    def add(self, cvs: np.ndarray) -> float:
        """Add a kernel at CVs (n,); gives its weight."""
        weight = math.exp(self.at(cvs) / self.kt)
        self.put(cvs, weight)
        return weight

    def put(self, cvs: np.ndarray, height: float) -> None:
        """Add a kernel of a known weight."""
        hill(both(cvs), height, self.low, self.step, self.period, self.width, self.density)
        _visit(both(cvs), self.low, self.step, self.period, self.width, self.seen)
        self._stale = True

    def told(self, height: float) -> tuple[float, float]:
        """What a file of kernels has of one: its height, which is its weight, and the logarithm of that."""
        return height, math.log(height)

    def shift(self) -> float:
        """0: Z holds the bias where it is, and a frame's weight is exp(V / kT)."""
        return 0.0

    def state(self) -> dict[str, np.ndarray]:
        return {"density": self.density, "seen": self.seen}

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        self.density, self.seen, self._stale = np.array(state["density"]), np.array(state["seen"]), True


@njit(cache=True)
def _visit(centre, low, step, period, width, seen):
    """Mark the nodes within a width of a centre."""
    for i in range(seen.shape[0]):
        a = _widths(low[0] + i * step[0] - centre[0], width[0], period[0])
        for j in range(seen.shape[1]):
            b = _widths(low[1] + j * step[1] - centre[1], width[1], period[1])
            if a * a + b * b <= 1.0:
                seen[i, j] = True


@njit(cache=True)
def _widths(d, width, period):
    if period > 0:
        d -= period * round(d / period)
    return 0.0 if math.isinf(width) else d / width


@njit(cache=True)
def _bias(density, mean, floor, scale, values):
    """V and its slopes at the nodes, from those of the density."""
    for i in range(density.shape[1]):
        for j in range(density.shape[2]):
            p = density[0, i, j] / mean + floor
            by_0, by_1 = density[1, i, j] / mean / p, density[2, i, j] / mean / p
            values[0, i, j] = scale * math.log(p)
            values[1, i, j], values[2, i, j] = scale * by_0, scale * by_1
            values[3, i, j] = scale * (density[3, i, j] / mean / p - by_0 * by_1)
