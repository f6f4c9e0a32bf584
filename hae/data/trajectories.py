"""Trajectories: files of molecules, read in pieces, checked, and turned into Frames by a recipe."""

from __future__ import annotations

import ctypes
import importlib.util
import io
import os
import re
import struct
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, suppress
from itertools import islice
from pathlib import Path
from typing import Any, cast

import numpy as np
from tqdm import tqdm

from hae.data.frames import Frames, concatenate
from hae.data.molecules import Recipe
from hae.data.universes import FORMATS, pieces_of, structure_of
from hae.errors import BadInput

__all__ = ["check_atoms", "frames_of", "load_frame", "load_structure", "molecule_of", "read_trajectories", "with_positions", "write_movie"]

NAME = re.compile(r"(?:(\d+):)?(.*?)(-?\d+)?-(.+)")  # of an atom, as `hae.data.molecules.atom_names` has it: 1:ALA2-CA
PIECE_BYTES = 100e6  # of positions or features held at once
AT_ONCE = (".cif", ".mmcif", ".pdbx")  # that mdtraj reads, but not in pieces
DOUBTFUL = (".crd", ".gsd", ".mol2", ".rst7", ".restrt", ".inpcrd", ".xyz", *AT_ONCE)  # that mdtraj knows one kind or use of


def load_structure(path: str | os.PathLike):
    """The topology file as an mdtraj Trajectory, or as a Topology where it has no positions."""
    mdtraj = _mdtraj()
    if not Path(path).is_file():
        raise BadInput(f"{path}: no such file; allowed: a topology, such as PDB or GRO")
    try:
        with warnings.catch_warnings(), _quiet():
            warnings.simplefilter("ignore")
            try:
                structure = mdtraj.load(str(path))
            except (ValueError, TypeError, OSError):  # asks for a topology, or knows no positions of it: PSF, PRMTOP
                structure = mdtraj.load_topology(str(path))
    except Exception as error:  # mdtraj's parsers raise whatever they meet
        structure = _second(Path(path), error)
    if structure.n_atoms == 0:
        raise BadInput(f"{path}: a topology without atoms; allowed: one atom or more")
    return structure


def _second(path: Path, first: Exception):
    """The structure by the second reader. Raises BadInput with what the first one said, where the second one is no better."""
    try:
        with _quiet():
            return structure_of(path)
    except BadInput as missing:
        raise (missing if _unknown_to_mdtraj(path) or isinstance(first, ImportError) else _no_topology(path, first)) from None
    except Exception as second:  # MDAnalysis' parsers raise whatever they meet
        raise _no_topology(path, second if _unknown_to_mdtraj(path) else first) from None


def _no_topology(path: Path, error: Exception) -> BadInput:
    return BadInput(f"{path}: not a topology that can be read ({_line(error)}); allowed: {FORMATS}")


def with_positions(structure, files: Mapping[str, str | os.PathLike]):
    """The structure, where its own file has no positions (PSF, PRMTOP) with those of the first frame of the first trajectory."""
    return structure if hasattr(structure, "xyz") else next(_pieces(Path(next(iter(files.values()))), structure))[:1]


def _unknown_to_mdtraj(path: Path) -> bool:
    from mdtraj.core.trajectory import _TOPOLOGY_EXTS

    return not path.name.lower().endswith(tuple(_TOPOLOGY_EXTS))


def check_atoms(files: Mapping[str, str | os.PathLike], structure) -> None:
    """Raises BadInput for the first file that is missing or whose number of atoms is not that of the structure."""
    for path in map(Path, files.values()):
        if not path.is_file():
            raise BadInput(f"{path}: no such file; allowed: a trajectory")
        atoms = _atoms(path)
        if atoms not in (None, structure.n_atoms):  # None: the reader will say what is wrong
            raise _does_not_fit(path, atoms, structure.n_atoms)


def read_trajectories(
    recipe: Recipe, files: Mapping[str, str | os.PathLike], structure, labels: bool = True, look: Callable[[Any], None] | None = None
) -> Frames:
    """Frames of the trajectories in `files` (name -> path), one after the other; arguments and errors as in `frames_of`."""
    return concatenate(list(frames_of(recipe, files, structure, labels, look)))


def frames_of(
    recipe: Recipe, files: Mapping[str, str | os.PathLike], structure, labels: bool = True, look: Callable[[Any], None] | None = None
) -> Iterator[Frames]:
    """The same in pieces, one in memory at a time.

    structure: what `load_structure` gave. look: is shown every piece as it was read, an mdtraj Trajectory. Raises BadInput for a file
    that is missing, cut short, not readable or not of this topology, and for positions that are not finite.
    """
    topology = getattr(structure, "topology", structure)
    if not files:
        raise BadInput("trajectories: no file; allowed: one or more")
    check_atoms(files, structure)
    shown = tqdm(desc="reading", unit=" frames", delay=3, leave=False)  # what takes long is seen to go on
    for name, path in files.items():
        first = 0
        for piece in _pieces(Path(path), topology, len(recipe.names)):
            part = recipe.features(piece, name=name, first_frame=first, labels=labels)
            if look is not None:
                look(piece)
            yield part
            first += len(part)
            shown.update(len(part))
        if first == 0:
            raise BadInput(f"{path}: no frames; allowed: one frame or more")
    shown.close()


def load_frame(path: str | os.PathLike, frame: int, topology):
    """One frame of a trajectory, as an mdtraj Trajectory. Raises BadInput as `frames_of`, and where it has no such frame."""
    first = 0
    with suppress(Exception), _quiet():
        return _mdtraj().load_frame(str(path), frame, top=topology)[0]
    for piece in _pieces(Path(path), topology):  # of a kind that mdtraj does not know
        if frame < first + len(piece):
            return piece[frame - first]
        first += len(piece)
    raise BadInput(f"{path}: {first} frames, no frame {frame}; allowed: the trajectory as it was when it was prepared")


def molecule_of(recipe: Recipe, values: np.ndarray):
    """Features (N, D) of the kind "coordinates" as an mdtraj Trajectory of the recipe's atoms, without bonds.

    Its atoms stand chain by chain and residue by residue, as files of molecules have them, whatever their order in the recipe.
    """
    mdtraj = _mdtraj()
    chains: dict[str | None, dict[tuple[str, str | None], list[tuple[int, str]]]] = {}
    chain = None
    for i, full in enumerate(recipe.atoms):
        named, kind, number, name = cast(re.Match, NAME.fullmatch(full)).groups()
        chain = named or chain  # a name without its chain is in no other: that of the atom before it
        chains.setdefault(chain, {}).setdefault((kind, number), []).append((i, name))
    topology, order = mdtraj.Topology(), []
    for residues in chains.values():
        group = topology.add_chain()
        for (kind, number), atoms in residues.items():
            residue = topology.add_residue(kind, group, resSeq=int(number or 1))
            for i, name in atoms:
                symbol = name.lstrip("0123456789")[:1].upper()  # nothing but the name is known: C for CA, as of proteins
                known = symbol and symbol in "BCFHIKNOPSUVWY"
                topology.add_atom(name, mdtraj.element.Element.getBySymbol(symbol) if known else mdtraj.element.virtual, residue)
                order.append(i)
    return mdtraj.Trajectory(values.reshape(len(values), -1, 3)[:, order], topology)


def write_movie(path: str | os.PathLike, recipe: Recipe, values: np.ndarray) -> None:
    """Features (N, D) of the kind "coordinates" as a PDB file of N models. By OpenMM: mdtraj writes residue -3 as 9997."""
    molecule = molecule_of(recipe, values)
    try:
        from openmm.app import PDBFile
    except ImportError:
        raise BadInput("molecules: OpenMM is not installed; allowed: pip install 'hae[md]'") from None
    topology = molecule.topology.to_openmm()
    for residue in topology.residues():
        if len(residue.id) > 4:  # a PDB file has four places for it
            residue.id = str(int(residue.id) % 10_000)
    with open(path, "w", encoding="utf-8") as file:  # without the header, which has the day in it
        for number, positions in enumerate(10 * molecule.xyz, start=1):
            PDBFile.writeModel(topology, positions, file, modelIndex=number, keepIds=True)
        PDBFile.writeFooter(topology, file)


def _pieces(path: Path, topology, n_features: int = 0) -> Iterator:
    """The frames, so many at a time that positions and features fit in memory, each looked at."""
    frames = max(1, int(PIECE_BYTES / max(12 * topology.n_atoms, 4 * n_features)))
    most, first = _whole_frames(path) if path.suffix == ".dcd" else None, 0
    for piece in _by_a_reader(path, topology, frames):
        if most is not None:
            piece = piece[: most - first]
        if not len(piece):
            return
        if piece.n_atoms != topology.n_atoms:  # formats that bring their own topology
            raise _does_not_fit(path, piece.n_atoms, topology.n_atoms)
        bad = ~(abs(piece.xyz).max(axis=(1, 2)) < 1e6)
        if bad.any():
            raise BadInput(f"{path}: frame {first + int(bad.argmax())}: a position that is not finite; allowed: finite positions")
        yield piece
        first += len(piece)


def _by_a_reader(path: Path, topology, frames: int) -> Iterator:
    """By mdtraj where it knows the kind of file, else, or where it is often wrong about it, by the second reader."""
    from mdtraj.formats.registry import FormatRegistry

    kind = path.suffix.lower()
    if kind in FormatRegistry.loaders:
        given = False
        try:
            for piece in _by_mdtraj(path, topology, frames):
                given = True
                yield piece
            return
        except BadInput:
            if given or kind not in DOUBTFUL or importlib.util.find_spec("MDAnalysis") is None:
                raise
    first, pieces = 0, pieces_of(path, topology, frames)
    while True:
        try:
            with _quiet():
                piece = next(pieces, None)
        except BadInput:
            raise
        except Exception as error:  # MDAnalysis' readers raise whatever they meet
            raise BadInput(f"{path}: can't be read after frame {first} ({_line(error)}); allowed: {FORMATS}") from None
        if piece is None:
            return
        yield piece
        first += len(piece)


def _by_mdtraj(path: Path, topology, frames: int) -> Iterator:
    whole = path.suffix.lower() in AT_ONCE
    pieces, first = None, 0
    while True:
        try:
            with _quiet():
                if pieces is None:
                    pieces = iter([_mdtraj().load(str(path))]) if whole else _mdtraj().iterload(str(path), top=topology, chunk=frames)
                piece = next(pieces, None)
        except ImportError as error:  # of a format that mdtraj leaves to another package
            package = getattr(error.__context__, "name", None) or "another package"
            raise BadInput(f"{path}: reading {path.suffix} needs the Python package {package}; allowed: pip install {package}") from None
        except Exception as error:  # mdtraj's readers raise whatever they meet
            place = first + _readable(path, topology, first, frames)
            raise BadInput(f"{path}: can't be read after frame {place} ({_line(error)}); allowed: a whole trajectory") from None
        if piece is None:
            return
        yield piece
        first += len(piece)


def _readable(path: Path, topology, first: int, most: int) -> int:
    """Number of frames behind the first ones that can be read one by one: a piece fails as a whole, wherever in it the fault is."""
    found = 0
    try:
        with _quiet():
            for frame in islice(_mdtraj().iterload(str(path), top=topology, chunk=1, skip=first), most):
                found += len(frame)
    except Exception:  # the same fault again
        pass
    return found


def _does_not_fit(path: Path, atoms: int, wanted: int) -> BadInput:
    return BadInput(f"{path}: {atoms} atoms, but the topology has {wanted}; allowed: trajectories of this topology")


def _atoms(path: Path) -> int | None:
    """Number of atoms of a trajectory file, or None where the reader can't say."""
    try:
        with _quiet(), _mdtraj().open(str(path)) as file:
            positions = file.read(n_frames=1)
        return (positions[0] if isinstance(positions, tuple) else positions).shape[-2]
    except Exception:
        return None


def _whole_frames(path: Path) -> int:
    """Of a DCD. One that ended early reads as a shorter one without an error, but its header may know how many frames were to come."""
    with open(path, "rb") as file:
        head = file.read(12)
    with _quiet():
        try:
            with _mdtraj().open(str(path)) as file:
                found = len(file)
        except Exception as error:
            raise BadInput(f"{path}: can't be read ({_line(error)}); allowed: a whole DCD file") from None
    order = "<" if head[:4] == struct.pack("<i", 84) else ">"
    told = struct.unpack(order + "i", head[8:12])[0]
    if told > found > 0:
        warnings.warn(f"{path}: ended early: {found} whole frames are there and are taken, its header says {told}", stacklevel=2)
    return found


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what mdtraj's C readers print on stdout, and what it prints on stderr where a package is missing."""
    sys.stdout.flush()
    flush = ctypes.CDLL(None).fflush
    flush(None)
    kept, nothing = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    try:
        with redirect_stderr(io.StringIO()):
            yield
    finally:
        flush(None)
        os.dup2(kept, 1)
        os.close(kept)
        os.close(nothing)


def _line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:120]


def _mdtraj():
    try:
        import mdtraj
    except ImportError:
        raise BadInput("molecules: mdtraj is not installed; allowed: pip install 'hae[md]'") from None
    return mdtraj
