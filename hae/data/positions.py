"""Positions of atoms: whole where a periodic box cut them, and aligned to a reference."""

from __future__ import annotations

import numpy as np

from hae.errors import BadInput

__all__ = ["align", "has_box", "whole"]


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


def whole(raw, atoms: list[int]) -> np.ndarray:
    """Positions (N, A, 3) of atoms, with molecules that a periodic box cuts made whole and beside each other."""
    if not has_box(raw):
        return raw.xyz[:, atoms]
    wanted = set(atoms)
    molecules = [{atom.index for atom in molecule} for molecule in raw.topology.find_molecules()]
    kept = sorted(set().union(*(molecule for molecule in molecules if molecule & wanted)))
    part = raw.atom_slice(kept)
    if part.topology.n_bonds:
        parts = part.topology.find_molecules()
        part.image_molecules(inplace=True, anchor_molecules=parts, other_molecules=[])
    positions = part.xyz[:, np.searchsorted(kept, atoms)]
    if not part.topology.n_bonds and np.any(np.ptp(positions, axis=1) > raw.unitcell_lengths.min(axis=1)[:, None] / 2):
        raise BadInput("topology: no bonds, so molecules cut by the periodic box can't be made whole; allowed: bonds (CONECT)")
    return positions
