"""The second reader: files of molecules that mdtraj does not take, read by MDAnalysis, if that is installed, as mdtraj has them."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from hae.errors import BadInput

__all__ = ["FORMATS", "OWN_ATOMS", "pieces_of", "structure_of"]

OWN_ATOMS = (".pdb", ".ent", ".gro", ".mol2", ".pqr", ".pdbqt", ".xyz", ".txyz", ".arc", ".cif", ".mmcif", ".pdbx", ".dms", ".gsd", ".data")
FORMATS = ("topologies PDB, GRO, PSF, PRMTOP, PARM7 and TOP of AMBER, TPR, MOL2, PQR, PDBQT, mmCIF, CRD, DMS, GSD, XYZ, TXYZ, LAMMPS data, "
           "DL_POLY; trajectories DCD, XTC, TRR, TNG, NetCDF, TRJ/MDCRD, CRD, XYZ, LAMMPS dump, H5, H5MD, GSD, TRZ, HISTORY, and those "
           "topologies that hold positions")
# Packages that MDAnalysis leaves some formats to.
PACKAGES = {".h5md": "h5py", ".tng": "pytng", ".gsd": "gsd", ".mmtf": "mmtf-python", ".cif": "gemmi", ".mmcif": "gemmi"}
NAMES = {".dump": "LAMMPSDUMP", ".lammpstrj": "LAMMPSDUMP", ".trj": "TRJ", ".rst7": "RESTRT"}
ANGSTROM = 0.1  # nm


def structure_of(path: Path):
    """What a file says of atoms, as an mdtraj Trajectory where it has positions, else as a Topology.

    Raises BadInput where a package is missing, and whatever MDAnalysis meets in the file.
    """
    universe = _quietly(path, lambda mda: mda.Universe(str(path), **_format(path, "topology_format")))
    topology = _topology(universe)
    try:
        positions = np.array(universe.trajectory[0].positions) * ANGSTROM
        box = universe.trajectory.ts.dimensions
    except (AttributeError, IndexError, ValueError, OSError):  # bonds and names alone
        return topology
    return _trajectory(positions[None].astype(np.float32), topology, [box])


def pieces_of(path: Path, topology, frames: int) -> Iterator:
    """The frames of a trajectory, so many at a time, as mdtraj Trajectories of this topology. Raises as `structure_of`."""
    reader = _quietly(path, lambda mda: mda.coordinates.core.reader(str(path), n_atoms=topology.n_atoms, **_format(path, "format")))
    with closing(reader), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        some: list[np.ndarray] = []
        boxes: list = []
        for step in reader:  # once: at its end a reader begins anew
            if step.n_atoms != topology.n_atoms:
                raise BadInput(f"{path}: {step.n_atoms} atoms, but the topology has {topology.n_atoms}; "
                               "allowed: trajectories of this topology")
            some.append(np.array(step.positions, dtype=np.float32) * np.float32(ANGSTROM))
            boxes.append(None if step.dimensions is None else step.dimensions.copy())
            if len(some) == frames:
                yield _trajectory(np.stack(some), topology, boxes)
                some, boxes = [], []
        if some:
            yield _trajectory(np.stack(some), topology, boxes)


def _quietly(path: Path, make):
    """What `make` makes of MDAnalysis. Raises BadInput where it, or the package that it needs for this file, is missing."""
    try:
        import MDAnalysis
    except ImportError:
        raise BadInput(f"{path}: mdtraj does not read this {path.suffix or 'file'}; allowed: pip install MDAnalysis, which may") from None
    package = PACKAGES.get(path.suffix.lower())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return make(MDAnalysis)
        except (ImportError, RuntimeError, NameError):
            if package is None:
                raise
            raise BadInput(f"{path}: reading {path.suffix} needs the Python package {package}; allowed: pip install {package}") from None


def _format(path: Path, key: str) -> dict[str, str]:
    name = NAMES.get(path.suffix.lower())
    return {key: name} if name else {}


def _trajectory(positions: np.ndarray, topology, boxes: list):
    import mdtraj

    sides = None
    if all(box is not None and np.all(np.asarray(box[:3]) > 0) for box in boxes):
        sides = np.array(boxes, dtype=np.float32)
    made = mdtraj.Trajectory(positions, topology)
    if sides is not None:
        made.unitcell_lengths, made.unitcell_angles = sides[:, :3] * ANGSTROM, sides[:, 3:]
    return made


def _topology(universe):
    """Names, residues, chains, elements and bonds of a Universe; atoms of one name in a residue are numbered on, as C1, C2."""
    import mdtraj

    atoms, topology = universe.atoms, mdtraj.Topology()
    n = len(atoms)
    types = [str(kind) for kind in getattr(atoms, "types", ["X"] * n)]
    names = [str(name) or kind for name, kind in zip(getattr(atoms, "names", types), types, strict=True)]
    kinds = [str(name) for name in getattr(atoms, "resnames", [""] * n)]
    elements = _elements(atoms, names, types)
    chains: dict[str, object] = {}
    residues: dict[int, object] = {}
    owners = atoms.resindices.tolist()
    count, seen = Counter(zip(owners, names, strict=True)), Counter[Any]()
    for i in range(n):
        chain = str(atoms[i].segid)
        if chain not in chains:
            chains[chain] = topology.add_chain()
        if owners[i] not in residues:
            residues[owners[i]] = topology.add_residue(kinds[i] or "UNK", chains[chain], resSeq=int(atoms[i].resid))
        own = (owners[i], names[i])
        seen[own] += 1
        numbered = f"{names[i]}{'_' if names[i][-1].isdigit() else ''}{seen[own]}"
        topology.add_atom(names[i] if count[own] == 1 else numbered, elements[i], residues[owners[i]])
    placed = list(topology.atoms)
    for first, second in (getattr(universe, "bonds", None) and universe.bonds.indices.tolist()) or ():
        topology.add_bond(placed[first], placed[second])
    return topology


def _elements(atoms, names: list[str], types: list[str]) -> list:
    """By the symbols that the file has, else by masses where types are numbers (LAMMPS), else by the letters of names."""
    from mdtraj.core import element

    symbols = [str(symbol) for symbol in getattr(atoms, "elements", [""] * len(names))]
    masses = getattr(atoms, "masses", np.zeros(len(names)))
    found = []
    for symbol, name, kind, mass in zip(symbols, names, types, masses, strict=True):
        if not symbol and kind.isdigit():
            found.append(element.Element.getByMass(mass) if mass > 0.5 else element.virtual)
            continue
        letter = symbol or name.lstrip("0123456789")[:1]
        try:
            found.append(element.Element.getBySymbol(letter.capitalize()))
        except KeyError:
            found.append(element.virtual)
    return found
