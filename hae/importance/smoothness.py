"""Whether a force can act along a CV: how steep it is at the frames, and where it is steepest."""

from __future__ import annotations

import numpy as np
import torch

from hae.data.jacobian import atoms_read, featurise
from hae.data.molecules import Recipe
from hae.errors import BadInput
from hae.importance.slopes import CLIFF, STEEP, Slope, Smoothness
from hae.network.hierarchy import HierarchicalNetwork
from hae.network.scoring import chunked, filled

__all__ = ["smoothness"]

def smoothness(
    network: HierarchicalNetwork, X: np.ndarray, recipe: Recipe | None = None, positions: np.ndarray | None = None
) -> Smoothness:
    """How steep every CV is over rows X (N, D) in raw units: s over its standard deviation (an angle in radians), x the positions in nm
    of a molecule, by the chain rule through alignment, distances and torsions, or the columns over their standard deviations.

    recipe: of the features. positions (N, A, 3) in nm of `hae.data.jacobian.atoms_read`: needed for distances and torsions, which do not
    hold them; aligned coordinates are positions.

    Raises:
        BadInput: positions are missing or of another shape, or the alignment or a torsion is not defined at a row.
    """
    X = np.asarray(X)
    cvs, gradients = _gradients(network, X)
    if recipe is None or recipe.kind == "columns":
        unit, steps = "1/standard deviation", gradients * np.nanstd(X, axis=0)
    else:
        unit, steps = "1/nm", _by_positions(recipe, X, positions, gradients)
    size = np.sqrt(np.square(steps).reshape(*steps.shape[:2], -1).sum(-1))
    return Smoothness(unit, tuple(_slope(k, kind, cvs[:, k], size[:, k], unit) for k, kind in enumerate(network.bottleneck.kinds)))


def _slope(k: int, kind: str, s: np.ndarray, size: np.ndarray, unit: str) -> Slope:
    spread = 1.0 if kind == "circular" else float(s.std())
    size = size / spread if spread > 0 else np.zeros_like(size)
    largest = float(size.max())
    verdict = "" if unit != "1/nm" else "cliff" if largest > CLIFF else "steep" if largest >= STEEP else "smooth"
    return Slope(f"CV{k + 1}", float(np.median(size)), float(np.quantile(size, 0.999)), largest, int(size.argmax()), verdict)


def _gradients(network: HierarchicalNetwork, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """CVs (N, n) and their gradients (N, n, D) by the inputs in raw units, one backward pass a CV."""

    def pieces(net, s):
        with torch.enable_grad():
            s = filled(net, s).to(s.dtype).requires_grad_()
            cvs = net.encode(s)
            slopes = [torch.autograd.grad(cvs[:, k].sum(), s, retain_graph=True)[0] for k in range(cvs.shape[1])]
        return cvs.detach().double().cpu().numpy(), torch.stack(slopes, 1).double().cpu().numpy()

    cvs, gradients = zip(*chunked(network, X, pieces))
    return np.concatenate(cvs), np.concatenate(gradients)


def _by_positions(recipe: Recipe, X: np.ndarray, positions: np.ndarray | None, gradients: np.ndarray) -> np.ndarray:
    shape = (len(X), len(atoms_read(recipe)), 3)
    if positions is None and recipe.kind != "coordinates":
        raise BadInput(f"positions: missing; {recipe.kind} do not hold them; allowed: an array {shape} in nm of the recipe's atoms")
    x = np.asarray(X if positions is None else positions, dtype=np.float64)
    if positions is not None and x.shape != shape:
        raise BadInput(f"positions: shape {x.shape}; allowed: {shape}, the recipe's atoms at every row, in nm")
    return featurise(recipe, x.reshape(shape))[1](gradients)
