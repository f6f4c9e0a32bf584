"""The force of a bias along CVs in OpenMM: features, network, bias on a grid and walls, compiled, in one pass a step."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit

from hae.errors import BadInput
from hae.export.compiled import Compiled, evaluate
from hae.export.cv import PositionsToCVs
from hae.sampling.metadynamics import Grid, value

__all__ = ["Along", "Walls", "add_force"]


FLAT = np.full(2, -1.0), np.full(2, 2.0), np.zeros(2), np.zeros((4, 2, 2))  # a grid on which the bias is 0


@dataclass(frozen=True)
class Walls:
    """Springs that begin at `low` and `high` (n,): strength / 2 (s - wall)^2 beyond them, strength (n,) in kJ/mol by the CV's unit squared;
    0 for a CV without walls. period (n,): 0 where a CV is not an angle; an angle's two walls stand at one place.

    Example:
        >>> Walls(low=np.array([-2.0]), high=np.array([2.0]), strength=np.array([300.0]), period=np.zeros(1)).strength
        array([300.])
    """

    low: np.ndarray
    high: np.ndarray
    strength: np.ndarray
    period: np.ndarray


class Along:
    """What a PythonForce over the CVs' atoms calls: the bias in kJ/mol and its forces in kJ/mol/nm.

    After a step `cvs` (n,), `bias` (kJ/mol: that of the grid without walls, that of the walls where there is no grid) and `steepest`
    (per nm, the largest |ds/dx| seen) say where it went.

    Example: Walls along a distance of two atoms, before the first step; `add_force` adds it to an OpenMM System.
        >>> from hae.data.molecules import Recipe
        >>> from hae.export.cv import cv
        >>> from hae.network.hierarchy import HierarchicalNetwork
        >>> recipe = Recipe("distances", ("d",), ("nm",), pairs=(("A", "B"),))
        >>> function = cv(HierarchicalNetwork.mlp(1, ["linear"]).reset(0), recipe)
        >>> along = Along(function, None, Walls(np.array([-2.0]), np.array([2.0]), np.array([300.0]), np.zeros(1)))
        >>> along.cvs, along.bias, along.steepest
        (array([0.]), 0.0, array([0.]))
    """

    def __init__(self, function: PositionsToCVs, grid: Grid | None, walls: Walls):
        self.compiled, self.grid, self.walls = Compiled(function), grid, walls
        n = len(function.encoder.kinds)
        self.cvs, self.bias, self.steepest = np.zeros(n), 0.0, np.zeros(n)

    def __call__(self, state):
        return self.at(state.getPositions(asNumpy=True)._value)

    def at(self, positions: np.ndarray) -> tuple[float, np.ndarray]:
        """Energy and forces (A, 3) at positions (A, 3) in nm. Raises BadInput where they are not finite or the CVs are not defined."""
        x = np.ascontiguousarray(positions, dtype=np.float64)
        walls = self.walls.low, self.walls.high, self.walls.strength, self.walls.period
        fine, cvs, bias, energy, forces, size = _biased(x, self.compiled.plain, FLAT if self.grid is None else self.grid.plain, walls)
        if not fine:
            raise BadInput("positions: not finite, or the alignment or a torsion is not defined there")
        self.cvs, self.bias = cvs, energy if self.grid is None else bias
        self.steepest = np.maximum(self.steepest, size)
        return energy, forces


@njit(cache=True)
def _biased(x, network, grid, walls):
    fine, cvs, jacobian = evaluate(x, *network)
    forces = np.zeros(x.shape)
    size = np.zeros(len(cvs))
    if not fine:
        return False, cvs, 0.0, 0.0, forces, size
    place = np.zeros(2)
    place[: min(2, len(cvs))] = cvs[:2]
    bias, first, second = value(place, *grid)
    slopes, energy = np.zeros(len(cvs)), bias
    slopes[0] = first
    if len(cvs) > 1:
        slopes[1] = second
    low, high, strength, period = walls
    for k in range(len(cvs)):
        beyond = min(cvs[k] - low[k], 0.0) + max(cvs[k] - high[k], 0.0)
        if period[k] > 0:
            beyond -= period[k] * round(beyond / period[k])
        if strength[k] > 0 and beyond != 0:
            energy += strength[k] / 2 * beyond * beyond
            slopes[k] += strength[k] * beyond
        size[k] = np.sqrt((jacobian[k] ** 2).sum())
        forces -= slopes[k] * jacobian[k]
    return True, cvs, bias, energy, forces, size


def add_force(system, along: Along, indices) -> None:
    """Add it to an OpenMM System. indices: of the CVs' atoms, see `PositionsToCVs.indices`. Raises BadInput where OpenMM is too old."""
    import openmm

    if not hasattr(openmm, "PythonForce"):
        raise BadInput(f"OpenMM {openmm.version.version}: it has no PythonForce; allowed: OpenMM 8.4 or newer")
    force = openmm.PythonForce(along, {}, [int(i) for i in indices])
    force.setName("hae")
    system.addForce(force)
