"""Whether a force can act along a CV: how steep it is at the frames, and where it is steepest."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

import numpy as np
import torch

from hae.data.jacobian import atoms_read, featurise
from hae.data.molecules import Recipe
from hae.errors import BadInput
from hae.network.hierarchy import HierarchicalNetwork
from hae.network.scoring import chunked, filled

__all__ = ["CLIFF", "STEEP", "Slope", "Smoothness", "smoothness"]

# Per nm, of the steepest frame: docs/biasing.md. Below the first no biased walker was torn apart at 4 fs, above the second most were.
STEEP, CLIFF = 150.0, 250.0


@dataclass(frozen=True)
class Slope:
    """|ds/dx| of one CV over the frames, and the row where it is largest. verdict: smooth, steep or cliff; "" for a table, of which no
    biased simulation has told what is too steep."""

    cv: str
    median: float
    high: float
    largest: float
    row: int
    verdict: str = ""


@dataclass(frozen=True)
class Smoothness:
    """Of every CV. unit: of |ds/dx|, "1/nm" or "1/standard deviation"; high: the 99.9 % quantile."""

    unit: str
    slopes: tuple[Slope, ...]

    @property
    def sentence(self) -> str:
        """In words: which CVs a force can act along."""
        unit = "per nm" if self.unit == "1/nm" else "per standard deviation of the inputs"
        steepest = max(self.slopes, key=lambda slope: slope.largest)
        told = f"steepest {steepest.cv}, {steepest.largest:.0f} {unit} at row {steepest.row} (median {steepest.median:.2g})"
        if not steepest.verdict:
            return f"{told}."
        names = {word: ", ".join(s.cv for s in self.slopes if s.verdict == word) for word in ("cliff", "steep")}
        if names["cliff"]:
            return f"A bias along {names['cliff']} may tear molecules apart (cliff: above {CLIFF:.0f} {unit}): {told}."
        if names["steep"]:
            return f"A bias along {names['steep']} needs care (steep: above {STEEP:.0f} {unit}): {told}."
        return f"A bias can act along every CV: {told}."

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Smoothness:
        """Raises BadInput for anything but what `to_json` wrote."""
        try:
            about = json.loads(text)
            return cls(about["unit"], tuple(Slope(**slope) for slope in about["slopes"]))
        except (KeyError, TypeError, json.JSONDecodeError) as error:
            raise BadInput(f"smoothness: not what hae wrote ({error}); allowed: the text of Smoothness.to_json") from None


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
