"""The gradient of each CV at the frames, where it is largest, and how the CV goes along that passage."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from hae.data.jacobian import SAME, atoms_read, featurise
from hae.data.molecules import Recipe
from hae.data.rows import IN_MEMORY, FileRows, MadeRows, Rows, Shelf, pieces_of
from hae.errors import BadInput
from hae.importance.relation import deviations
from hae.importance.series import quantiles
from hae.importance.smoothness import PER_NM, Gradient, Smoothness, verdict
from hae.network.hierarchy import HierarchicalNetwork
from hae.network.kinds import PERIODS
from hae.network.scoring import chunk_rows, chunked, encode, filled

__all__ = ["Gradients", "gradients"]

REACH = {PER_NM: 0.03, "1/standard deviation": 1.0}  # of a passage, to each side of the frame
STEPS = 121  # of a passage
ROWS = 65536  # at a time
NUMBERS_TOGETHER = 2**24  # of the chain rule to positions, held at once


@dataclass(frozen=True)
class Gradients:
    """sizes (N, n): |ds/dx| of every CV at every row, s over its standard deviation (an angle in radians), x in nm or, for a table, in
    standard deviations of its columns; unit: of them.

    steps (T,), in nm or standard deviations, and passages (n, T): each CV, in its standard deviation and 0 at the frame, along the straight
    line through the frame where its gradient is largest, in the direction of that gradient. weights (N,) of the rows, or None.

    Example: A CV that is a column itself changes by one standard deviation a standard deviation, everywhere.
        >>> network = HierarchicalNetwork.mlp(2, ("linear",), hidden=(), activation="identity").double().reset(0)
        >>> with torch.no_grad():
        ...     _ = network.encoder.layers[0].weight.copy_(torch.tensor([[1.0], [0.0]]))
        >>> found = gradients(network, np.random.default_rng(0).normal(size=(100, 2)))
        >>> found.unit, float(found.sizes.max().round(6)), float((found.passages[0] - found.steps).max().round(6))
        ('1/standard deviation', 1.0, 0.0)
    """

    unit: str
    sizes: np.ndarray | FileRows
    steps: np.ndarray
    passages: np.ndarray
    weights: np.ndarray | FileRows | None = None

    @property
    def smoothness(self) -> Smoothness:
        """What is reported of them."""
        return Smoothness(self.unit, tuple(self._of(k) for k in range(self.sizes.shape[1])))

    def _of(self, k: int) -> Gradient:
        row = int(self.steepest_rows[k])
        median, high = quantiles(self.sizes, k, [0.5, 0.999], self.weights)
        largest = float(self.sizes[row : row + 1][0, k])
        return Gradient(f"CV{k + 1}", median, high, largest, row, verdict(largest) if self.unit == PER_NM else "")

    @cached_property
    def steepest_rows(self) -> np.ndarray:
        """(n,): the first row where the gradient of each CV is largest."""
        return _largest(self.sizes)


def gradients(
    network: HierarchicalNetwork,
    X: np.ndarray | FileRows,
    recipe: Recipe | None = None,
    positions: np.ndarray | FileRows | None = None,
    shelf: Shelf = IN_MEMORY,
    weights: np.ndarray | FileRows | None = None,
) -> Gradients:
    """Of every CV over rows X (N, D) in raw units, with weights (N,); x are a molecule's positions in nm, by the chain rule through
    alignment, distances and torsions, or the columns of a table over their standard deviations.

    recipe: of the features. positions (N, A, 3) in nm of `hae.data.jacobian.atoms_read`: needed for distances and torsions, which do not
    hold them; aligned coordinates are positions. shelf: for the sizes.

    Raises:
        BadInput: positions are missing, of another shape or not those of X, or the alignment or a torsion is not defined at a row.
    """
    kind = "columns" if recipe is None else recipe.kind
    unit, scale = ("1/standard deviation", deviations(X, weights)) if kind == "columns" else (PER_NM, np.ones(()))
    together = chunk_rows(network)
    if recipe is not None and kind != "columns":
        _check_positions(recipe, len(X), positions)

    def piece(start: int) -> tuple[np.ndarray, np.ndarray, Callable[[slice], np.ndarray], tuple[int, ...]]:
        """CVs, places and what gives the gradients of the rows from there on."""
        rows = slice(start, start + together)
        s = np.asarray(X[rows])
        cvs, by_inputs = _by_inputs(network, s)
        if recipe is None or kind == "columns":
            return cvs, s, lambda rows: by_inputs[rows] * scale, by_inputs.shape
        x = np.asarray(s if positions is None else positions[rows], dtype=np.float64).reshape(len(s), -1, 3)
        return cvs, x, _to_positions(recipe, x, s, by_inputs), by_inputs.shape

    def both(rows: slice) -> np.ndarray:
        cvs, _, back, shape = piece(rows.start)
        return np.concatenate([cvs, _sizes(back, *shape)], axis=1)

    n = network.n_cvs
    found = shelf.keep(map(both, pieces_of(len(X), together)))
    moved = deviations(MadeRows(found, n, lambda rows: rows[:, :n]) if isinstance(found, FileRows) else found[:, :n], weights)
    spread = np.where([PERIODS[kind] is not None for kind in network.bottleneck.kinds], 1.0, moved)
    over = np.divide(1.0, spread, out=np.zeros_like(spread), where=spread > 0)  # a CV that stands still has no gradient
    sizes = shelf.keep(found[rows][:, n:] * over for rows in pieces_of(len(X), together))
    steps = np.linspace(-REACH[unit], REACH[unit], STEPS)
    passages = []
    for k, row in enumerate(_largest(sizes)):
        place = int(row) % together
        _, x, back, _ = piece(int(row) - place)
        along = _unit(back(slice(place, place + 1))[0, k])
        line = x[place] + steps.reshape(-1, *[1] * (x.ndim - 1)) * scale * along
        features = line if recipe is None or kind == "columns" else featurise(recipe, line)[0]
        passages.append(_passage(network, features, k, over[k]))
    return Gradients(unit, sizes, steps, np.stack(passages), weights)


def _largest(sizes: Rows) -> np.ndarray:
    """(n,): the first row of the largest value in each column."""
    most, rows = np.full(sizes.shape[1], -np.inf), np.zeros(sizes.shape[1], dtype=int)
    for piece in pieces_of(len(sizes), ROWS):
        values = sizes[piece]
        at = values.argmax(0)
        found = values[at, np.arange(len(at))]
        rows, most = np.where(found > most, piece.start + at, rows), np.maximum(found, most)
    return rows


def _by_inputs(network: HierarchicalNetwork, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """CVs (N, n) and their gradients (N, n, D) by the inputs in raw units, one backward pass a CV."""

    def pieces(net, s):
        with torch.enable_grad():
            s = filled(net, s).to(s.dtype).requires_grad_()
            cvs = net.encode(s)
            found = [torch.autograd.grad(cvs[:, k].sum(), s, retain_graph=True)[0] for k in range(cvs.shape[1])]
        return cvs.detach().double().cpu().numpy(), torch.stack(found, 1).double().cpu().numpy()

    cvs, found = zip(*chunked(network, X, pieces))
    return np.concatenate(cvs), np.concatenate(found)


def _check_positions(recipe: Recipe, rows: int, positions: np.ndarray | FileRows | None) -> None:
    shape = (rows, len(atoms_read(recipe)), 3)
    if positions is None and recipe.kind != "coordinates":
        raise BadInput(f"positions: missing; {recipe.kind} do not hold them; allowed: an array {shape} in nm of the recipe's atoms")
    if positions is not None and positions.shape != shape:
        raise BadInput(f"positions: shape {positions.shape}; allowed: {shape}, the recipe's atoms at every row, in nm")


def _to_positions(recipe: Recipe, x: np.ndarray, X: np.ndarray, by_inputs: np.ndarray) -> Callable[[slice], np.ndarray]:
    def back(rows: slice) -> np.ndarray:
        features, pull = featurise(recipe, x[rows])
        if recipe.kind != "coordinates" and not np.allclose(features, X[rows], rtol=0, atol=SAME):
            raise BadInput(f"positions: their {recipe.kind} are not the features of the rows; allowed: the same frames, in nm, whole")
        return pull(by_inputs[rows])

    return back


def _sizes(back: Callable[[slice], np.ndarray], n_rows: int, n_cvs: int, n_features: int) -> np.ndarray:
    """(N, n) from what gives the gradients of some rows; a piece at a time, since the chain rule needs much room."""
    some = max(1, NUMBERS_TOGETHER // (12 * n_cvs * n_features))  # a feature moves at most four atoms
    pieces = [back(slice(start, start + some)) for start in range(0, n_rows, some)]
    return np.concatenate([np.sqrt(np.square(piece.reshape(*piece.shape[:2], -1)).sum(-1)) for piece in pieces])


def _unit(direction: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(direction)
    return direction / length if length > 0 else direction


def _passage(network: HierarchicalNetwork, features: np.ndarray, k: int, over: float) -> np.ndarray:
    """CV k (T,) along features (T, D), 0 in the middle, an angle followed round the circle."""
    s = encode(network, features)[:, k].astype(np.float64)
    s = np.unwrap(s) if PERIODS[network.bottleneck.kinds[k]] else s
    return (s - s[len(s) // 2]) * over
