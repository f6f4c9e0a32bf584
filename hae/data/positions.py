"""Positions of atoms: whole where a periodic box cut them, beside each other as in a reference, and aligned to it."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from itertools import product

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import breadth_first_order, connected_components

from hae.errors import BadInput

__all__ = ["align", "distances", "has_box", "torsions", "unbroken", "whole"]

STEPS = np.array(list(product((-1, 0, 1), repeat=3)))  # images around the nearest one
# Of the shortest side of the box: two images whose misfits differ by less can't be told apart; an image is clearly nearer by more.
UNDECIDED, CLEARLY = 0.02, 0.1


def align(positions: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Positions (N, A, 3), each frame moved and turned, never mirrored, as near as can be to the reference (A, 3).

    Least squares, with the reference's mean at zero. The rotation is Kabsch's, by singular values (Acta Cryst. A32,
    922, 1976, and A34, 827, 1978), for all frames at once.
    """
    centred = positions - positions.mean(axis=1, keepdims=True, dtype=float)
    u, _, vt = np.linalg.svd(centred.swapaxes(1, 2) @ reference)
    u[:, :, 2] *= np.sign(np.linalg.det(u @ vt))[:, None]
    return centred @ (u @ vt)


def has_box(raw) -> bool:
    """Some programs write a box of length 0 for none."""
    return raw.unitcell_lengths is not None and bool(np.all(raw.unitcell_lengths > 0))


def unbroken(raw):
    """A trajectory whose molecules are made whole, in place, where a periodic box cut them; without bonds it stays as it is."""
    if has_box(raw) and raw.topology.n_bonds:
        raw.make_molecules_whole(inplace=True, sorted_bonds=_from_atom_to_atom(raw.topology))
    return raw


def whole(raw, atoms: Sequence[int], reference: np.ndarray | None = None) -> np.ndarray:
    """Positions (N, A, 3) of atoms in nm, with molecules that a periodic box cuts made whole.

    Where the atoms belong to several molecules, each is put into the image with which those placed so far, the largest first, fit the
    reference (A, 3) best; without a reference it stays where it is, unless another image is clearly nearer to them. Frames in which two
    images fit as well are counted in a warning.

    Raises:
        BadInput: without bonds nothing can be made whole, and the atoms span more than half of the box.
    """
    atoms = list(atoms)
    if not has_box(raw):
        return raw.xyz[:, atoms]
    if not raw.topology.n_bonds:
        positions = raw.xyz[:, atoms]
        if np.any(np.ptp(positions, axis=1) > raw.unitcell_lengths.min(axis=1)[:, None] / 2):
            raise BadInput("topology: no bonds, so molecules cut by the periodic box can't be made whole; allowed: bonds (CONECT)")
        return positions
    molecule = _molecules(raw.topology)
    kept = np.flatnonzero(np.isin(molecule, molecule[atoms]))
    part = unbroken(raw.atom_slice(kept))
    positions, own = part.xyz[:, np.searchsorted(kept, atoms)], molecule[atoms]
    if len(set(own.tolist())) == 1:
        return positions
    return _beside(positions, own, raw.unitcell_vectors, reference)


def distances(raw, pairs: Sequence[tuple[int, int]] | np.ndarray) -> np.ndarray:
    """Distances (N, P) in nm. Within a molecule as it is when whole, however long; between two molecules to the nearest image."""
    import mdtraj

    ends = np.asarray(pairs)
    if not has_box(raw) or not raw.topology.n_bonds:
        return mdtraj.compute_distances(raw, ends, periodic=has_box(raw))
    molecule = _molecules(raw.topology)
    within = molecule[ends[:, 0]] == molecule[ends[:, 1]]
    found = np.empty((len(raw), len(ends)), dtype=np.float32)
    if within.any():
        found[:, within] = mdtraj.compute_distances(*_made_whole(raw, ends[within]), periodic=False)
    if not within.all():
        found[:, ~within] = mdtraj.compute_distances(raw, ends[~within], periodic=True)
    return found


def torsions(raw, fours: Sequence[Sequence[int]] | np.ndarray) -> np.ndarray:
    """Angles (N, T) in radians of T torsions of four atoms each, of whole molecules."""
    import mdtraj

    if not len(fours):
        return np.empty((len(raw), 0))
    if not has_box(raw) or not raw.topology.n_bonds:
        return mdtraj.compute_dihedrals(raw, fours, periodic=has_box(raw))
    return mdtraj.compute_dihedrals(*_made_whole(raw, np.asarray(fours)), periodic=False)


def _made_whole(raw, groups: np.ndarray):
    """A trajectory of the atoms of groups (G, k) alone, whole, and the groups by their numbers in it."""
    import mdtraj

    atoms = np.unique(groups)
    return mdtraj.Trajectory(whole(raw, atoms.tolist()), raw.topology.subset(atoms)), np.searchsorted(atoms, groups)


def _bonds(topology) -> coo_array:
    ends = np.array([[bond[0].index, bond[1].index] for bond in topology.bonds]).reshape(-1, 2)
    return coo_array((np.ones(len(ends)), (ends[:, 0], ends[:, 1])), shape=(topology.n_atoms,) * 2)


def _molecules(topology) -> np.ndarray:
    """(A,): number of the molecule of each atom; a lone ion is one."""
    return connected_components(_bonds(topology), directed=False)[1]


def _from_atom_to_atom(topology) -> np.ndarray:
    """Bonds (B, 2) in an order in which the first atom of each has its place already: how far a bond reaches is all that is asked."""
    bonds = _bonds(topology).tocsr()
    molecule = connected_components(bonds, directed=False)[1]
    steps = []
    for start in np.unique(molecule, return_index=True)[1]:
        order, before = breadth_first_order(bonds, start, directed=False)
        steps += [(before[atom], atom) for atom in order[1:]]
    return np.array(steps, dtype=np.int32).reshape(-1, 2)


def _beside(positions: np.ndarray, own: np.ndarray, box: np.ndarray, reference: np.ndarray | None) -> np.ndarray:
    """Molecules, numbered by own (A,), each in its best image beside those before it, the largest first; box: (N, 3, 3)."""
    names, counts = np.unique(own, return_counts=True)
    names = names[np.argsort(-counts, kind="stable")]
    positions, doubtful = positions.astype(np.float64), np.zeros(len(positions), dtype=bool)
    for i, name in enumerate(names[1:], 1):
        placed, mine = np.isin(own, names[:i]), own == name
        away = positions[:, mine].mean(axis=1) - positions[:, placed].mean(axis=1)
        nearest = np.round(np.einsum("ni,nij->nj", away, np.linalg.inv(box)))
        images = np.einsum("nsi,nij->nsj", nearest[:, None] + STEPS, box)  # of a skewed box the rounded one need not be the nearest
        if reference is None:  # where it is, unless another image is clearly nearer
            moved = (images != 0).any(axis=-1)
            misfit = np.linalg.norm(away[:, None] - images, axis=-1) + CLEARLY * _width(box)[:, None] * moved
        else:
            misfit = np.stack([_misfit(positions, placed, mine, image, reference) for image in images.swapaxes(0, 1)], axis=1)
            best, second = np.partition(misfit, 1, axis=1)[:, :2].T
            doubtful |= second - best < UNDECIDED * _width(box)
        positions[:, mine] -= images[np.arange(len(images)), misfit.argmin(axis=1)][:, None]
    if doubtful.any():
        warnings.warn(f"{doubtful.sum()} of {len(doubtful)} frames: two images of a molecule in the periodic box fit the reference about "
                      "as well; the better one was taken, which may be the wrong one", stacklevel=3)
    return positions.astype(np.float32)


def _misfit(positions: np.ndarray, placed: np.ndarray, mine: np.ndarray, image: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """(N,): root mean square distance from the reference of the molecules placed and of one moved by -image (N, 3), superposed."""
    moved = np.concatenate([positions[:, placed], positions[:, mine] - image[:, None]], axis=1)
    both = np.concatenate([reference[placed], reference[mine]])
    both = both - both.mean(axis=0)
    return np.sqrt(((align(moved, both) - both) ** 2).sum(axis=-1).mean(axis=-1))


def _width(box: np.ndarray) -> np.ndarray:
    return np.linalg.norm(box, axis=-1).min(axis=1)
