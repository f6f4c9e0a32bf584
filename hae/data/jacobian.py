"""Features of a recipe from positions, and gradients by features taken back to gradients by positions, in closed form and float64."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from hae.data.molecules import Recipe, atom_names
from hae.data.positions import whole
from hae.errors import BadInput

__all__ = ["atoms_read", "featurise", "positions_read"]

DEGENERATE = 1e-6  # of the largest: where less is left, an alignment or a torsion has no one answer
SAME = 1e-3  # nm, or of a sine: features in float32 and those of the positions that they are of differ by less
Pull = Callable[[np.ndarray], np.ndarray]


def atoms_read(recipe: Recipe) -> tuple[str, ...]:
    """Full names of the atoms that a recipe reads, each once: the order in which `featurise` takes positions.

    Raises BadInput for a recipe of columns, which reads no atoms.
    """
    if recipe.kind == "columns":
        raise BadInput("recipe: it reads columns of a table, not atoms; allowed: coordinates, distances or torsions of a molecule")
    return recipe.atoms or tuple(dict.fromkeys(name for group in (*recipe.pairs, *recipe.torsions) for name in group))


def positions_read(recipe: Recipe, raw) -> np.ndarray:
    """Positions (N, A, 3) in nm of `atoms_read` in an mdtraj Trajectory of the recipe's molecule, whole where a periodic box cut them."""
    place = {name: number for number, name in enumerate(atom_names(raw.topology))}
    return whole(raw, [place[name] for name in atoms_read(recipe)], np.array(recipe.reference) if recipe.reference else None)


def featurise(recipe: Recipe, positions: np.ndarray) -> tuple[np.ndarray, Pull]:
    """Features (N, D) of positions (N, A, 3) in nm of `atoms_read`, whole where a periodic box cut them, and the way back:
    ``pull(g)`` takes gradients (N, C, D) of C functions by the features to gradients (N, C, A, 3) by the positions, per nm.

    Raises:
        BadInput: a frame where the alignment or a torsion is not defined, as with all atoms on a line.
    """
    positions = np.asarray(positions, dtype=np.float64)
    place = {name: number for number, name in enumerate(atoms_read(recipe))}
    if recipe.kind == "coordinates":
        return _aligned(positions, np.array(recipe.reference))
    groups = np.array([[place[name] for name in group] for group in recipe.pairs or recipe.torsions])
    return _distances(positions, groups) if recipe.kind == "distances" else _torsions(positions, groups)


def _aligned(positions: np.ndarray, reference: np.ndarray) -> tuple[np.ndarray, Pull]:
    """The derivative of the optimal rotation without that of the SVD. With y the centred positions and c the reference turned to them,
    sum y x c = 0 at the optimum. Moving y by dy turns the rotation by w with (tr M - M) w = sum dy x c, M = sum y c^T.
    """
    y = positions - positions.mean(axis=1, keepdims=True)
    u, _, vt = np.linalg.svd(y.swapaxes(1, 2) @ reference)
    u[:, :, 2] *= np.sign(np.linalg.det(u @ vt))[:, None]
    rotation = u @ vt
    c = reference @ rotation.swapaxes(1, 2)
    m = y.swapaxes(1, 2) @ c
    stiffness = np.trace(m, axis1=1, axis2=2)[:, None, None] * np.eye(3) - (m + m.swapaxes(1, 2)) / 2
    strengths = np.linalg.eigvalsh(stiffness)
    _defined(strengths[:, 0] > DEGENERATE * np.abs(strengths[:, 2]), "the alignment to the reference")

    def pull(gradients: np.ndarray) -> np.ndarray:
        g = gradients.reshape(*gradients.shape[:2], *reference.shape) @ rotation.swapaxes(1, 2)[:, None]
        torque = np.cross(y[:, None], g).sum(axis=2)
        turn = np.linalg.solve(stiffness, torque.swapaxes(1, 2)).swapaxes(1, 2)
        h = g + np.cross(c[:, None], turn[:, :, None])
        return h - h.mean(axis=2, keepdims=True)

    return (y @ rotation).reshape(len(y), -1), pull


def _distances(positions: np.ndarray, pairs: np.ndarray) -> tuple[np.ndarray, Pull]:
    between = positions[:, pairs[:, 1]] - positions[:, pairs[:, 0]]
    lengths = np.linalg.norm(between, axis=-1)
    _defined((lengths > 0).all(axis=1), "the direction of a distance")
    steps = between / lengths[..., None]
    return lengths, lambda gradients: _gather(gradients, np.stack([-steps, steps], axis=2), pairs, positions.shape[1])


def _torsions(positions: np.ndarray, fours: np.ndarray) -> tuple[np.ndarray, Pull]:
    """The angle's gradient by the four atoms: Blondel and Karplus, J. Comput. Chem. 17, 1132 (1996)."""
    p = positions[:, fours]
    f, g, h = p[:, :, 0] - p[:, :, 1], p[:, :, 1] - p[:, :, 2], p[:, :, 3] - p[:, :, 2]
    a, b = np.cross(f, g), np.cross(h, g)
    length, a2, b2 = (np.linalg.norm(v, axis=-1, keepdims=True) ** power for v, power in ((g, 1), (a, 2), (b, 2)))
    scale = np.linalg.norm(f, axis=-1) * np.linalg.norm(h, axis=-1) * length[..., 0] ** 2
    _defined((np.sqrt(a2 * b2)[..., 0] > DEGENERATE * scale).all(axis=1), "a torsion")
    angle = np.arctan2(length[..., 0] * (np.cross(b, a) * g).sum(-1) / length[..., 0] ** 2, (a * b).sum(-1))
    first, last = -length / a2 * a, length / b2 * b
    inner = (f * g).sum(-1, keepdims=True) / (a2 * length) * a - (h * g).sum(-1, keepdims=True) / (b2 * length) * b
    steps = np.stack([first, -first + inner, -last - inner, last], axis=2)
    sine, cosine = np.sin(angle), np.cos(angle)

    def pull(gradients: np.ndarray) -> np.ndarray:
        by_angle = gradients[..., 0::2] * cosine[:, None] - gradients[..., 1::2] * sine[:, None]
        return _gather(by_angle, steps, fours, positions.shape[1])

    return np.stack([sine, cosine], axis=-1).reshape(len(p), -1), pull


def _gather(gradients: np.ndarray, steps: np.ndarray, groups: np.ndarray, n_atoms: int) -> np.ndarray:
    """sum over groups p of gradients (N, C, P) times steps (N, P, a, 3) of the group's atoms (P, a), as (N, C, n_atoms, 3)."""
    onto = np.zeros((groups.size, n_atoms))
    onto[np.arange(groups.size), groups.ravel()] = 1
    parts = gradients[..., None, None] * steps[:, None]
    return np.einsum("ncpx,pa->ncax", parts.reshape(*gradients.shape[:2], groups.size, 3), onto)


def _defined(fine: np.ndarray, what: str) -> None:
    if not fine.all():
        raise BadInput(f"positions: frame {int(np.argmin(fine))}: {what} is not defined there; allowed: atoms that are not all on a line")
