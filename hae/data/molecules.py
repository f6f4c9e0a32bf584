"""Molecules: how raw data become features, as a recipe that travels with a model and needs no other file."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from typing import cast

import numpy as np
import pandas as pd

from hae.data.frames import Frames
from hae.data.positions import align, distances, torsions, whole
from hae.data.tables import table_frames
from hae.errors import BadInput

__all__ = ["KINDS", "Label", "Recipe", "atom_names"]

KINDS = ("coordinates", "distances", "torsions", "columns")
TORSIONS = ("phi", "psi", "omega", "chi1", "chi2", "chi3", "chi4")  # known by name; others as four atoms
EVERY = re.compile(r"(.*?)(?: every ([1-9]\d*))?", re.DOTALL)  # of a selection: "name CA every 4"
LIGHT = ("H", "D", "VS")  # hydrogen, deuterium, virtual sites such as the M of a water model or a lone pair


@dataclass(frozen=True)
class Label:
    """What is looked at beside the CVs: the torsion of four atoms in radians; without atoms, a column of a table.

    Example:
        >>> Label("phi", "rad", 6.283185, ("1:ACE-C", "2:ALA-N", "2:ALA-CA", "2:ALA-C")).name
        'phi'
    """

    name: str
    unit: str = ""
    period: float | None = None
    atoms: tuple[str, ...] = ()


@dataclass(frozen=True)
class Recipe:
    """How raw data become features: complete, written as JSON, and the same for training, gate and new data.

    kind: "coordinates" (x, y, z of `atoms` in nm, aligned to `reference`), "distances" (nm, of `pairs`), "torsions"
    (sine and cosine, of `torsions`), or "columns" (of a table: `names` are the columns, or sine and cosine of those in `periods`).
    names, units: of the D features. Atoms go by name ("CA", or "ALA2-CA" where CA alone is not clear).
    fill: feature of a table -> the number that it has where the table has none; empty: such a table is refused.
    reference: (A, 3) positions in nm with mean zero, from the topology and fitted on nothing.

    Example: An angle in a table becomes its sine and cosine, there and in later tables.
        >>> table = pd.DataFrame({"phi": [0.0, 1.5707963], "d": [1.0, 2.0]})
        >>> frames = table_frames(table, "table.csv", periods={"phi": 6.2831853})
        >>> recipe = Recipe.for_table(frames, {"phi": 6.2831853})
        >>> recipe.names
        ('sin(phi)', 'cos(phi)', 'd')
        >>> Recipe.from_json(recipe.to_json()).features(table).values.round(2)
        array([[0., 1., 1.],
               [1., 0., 2.]])
    """

    kind: str
    names: tuple[str, ...]
    units: tuple[str, ...]
    labels: tuple[Label, ...] = ()
    atoms: tuple[str, ...] = ()
    reference: tuple[tuple[float, float, float], ...] = ()
    pairs: tuple[tuple[str, str], ...] = ()
    torsions: tuple[tuple[str, str, str, str], ...] = ()
    periods: tuple[tuple[str, float], ...] = ()
    fill: tuple[tuple[str, float], ...] = ()
    version: int = 1

    @classmethod
    def for_molecule(
        cls,
        structure,
        kind: str = "coordinates",
        *,
        atoms: str | Sequence[str] = "heavy",
        pairs: Sequence[tuple[str, str]] | None = None,
        torsions: Sequence[str] | Mapping[str, Sequence[str] | None] | None = None,
        labels: Sequence[str] | Mapping[str, Sequence[str] | None] = (),
    ) -> Recipe:
        """The recipe for a molecule.

        structure: mdtraj Trajectory whose first frame is the reference, or for distances and torsions a Topology.
        atoms: "heavy", a selection in mdtraj's language ("name CA", "name CA every 4": each fourth of them), or a list of names; for
        coordinates, distances of all pairs.
        pairs: of atom names. torsions, labels: names out of phi, psi, omega, chi1 to chi4, or a mapping of a name to
        four atoms. Raises BadInput for what the topology has not.
        """
        topology = getattr(structure, "topology", structure)
        full = atom_names(topology)
        label_atoms = _torsions(topology, full, labels)
        marks = tuple(Label(name, "rad", 2 * np.pi, four) for name, four in label_atoms.items())
        if kind == "coordinates":
            chosen = _chosen(topology, full, atoms)
            if len(chosen) < 3:
                raise BadInput(f"topology: {len(chosen)} atoms can't be aligned; allowed: 3 atoms or more")
            if not hasattr(structure, "xyz"):
                raise BadInput("topology: no positions to align to; allowed: a file with positions, such as PDB or GRO")
            reference = whole(structure[0], chosen).astype(float)[0]
            short = _short([full[i] for i in chosen])
            return cls(
                kind,
                names=tuple(f"{name}_{axis}" for name in short for axis in "xyz"),
                units=("nm",) * (3 * len(chosen)),
                labels=marks,
                atoms=tuple(full[i] for i in chosen),
                reference=tuple(map(tuple, (reference - reference.mean(axis=0)).round(6).tolist())),
            )
        if kind == "distances":
            if pairs is None:
                found = [(i, j) for i, j in combinations(_chosen(topology, full, atoms), 2)]
            else:
                found = list(map(tuple, _indices(full, pairs).tolist()))
            if not found or any(len(set(pair)) != 2 for pair in found):
                raise BadInput("pairs: allowed are pairs of two different atoms, at least one")
            used = sorted({i for pair in found for i in pair})
            own = dict(zip(used, _short([full[i] for i in used]), strict=True))
            return cls(
                kind,
                names=tuple(f"d({own[i]}-{own[j]})" for i, j in found),
                units=("nm",) * len(found),
                labels=marks,
                pairs=tuple((full[i], full[j]) for i, j in found),
            )
        if kind == "torsions":
            four = _torsions(topology, full, torsions or ("phi", "psi"))
            return cls(
                kind,
                names=tuple(f"{function}({name})" for name in four for function in ("sin", "cos")),
                units=("",) * (2 * len(four)),
                labels=marks,
                torsions=tuple(four.values()),
            )
        raise BadInput(f"features: '{kind}' is not allowed with a topology; allowed: {', '.join(KINDS[:3])}")

    @classmethod
    def for_table(cls, frames: Frames, periods: Mapping[str, float] | None = None) -> Recipe:
        """The recipe that takes the features of `frames`, as `hae.data.tables.table_frames` made them, from another table.

        periods: of the columns that became sine and cosine.
        """
        labels = zip(frames.labels.columns, frames.label_units, frames.label_periods, strict=True)
        made = {name: float(period) for name, period in (periods or {}).items() if f"sin({name})" in frames.features}
        return cls("columns", frames.features, frames.units, tuple(Label(*label) for label in labels), periods=tuple(made.items()))

    @property
    def columns(self) -> tuple[str, ...]:
        """Of the table that features of the kind "columns" are made from."""
        circle = {f"{function}({name})": name for name, _ in self.periods for function in ("sin", "cos")}
        return tuple(dict.fromkeys(circle.get(name, name) for name in self.names))

    @property
    def groups(self) -> dict[str, str] | None:
        """Feature -> what it is a part of: the atom of a coordinate, the angle of a sine and cosine; None: features stand alone."""
        if self.kind == "coordinates":
            return {name: name.rpartition("_")[0] for name in self.names}
        if self.kind == "torsions" or self.periods:
            angles = dict(self.periods)
            found = {name: re.sub(r"^(sin|cos)\((.*)\)$", r"\2", name) for name in self.names}
            return {name: base if self.kind == "torsions" or base in angles else name for name, base in found.items()}
        return None

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1)

    @classmethod
    def from_json(cls, text: str) -> Recipe:
        """Raises BadInput for a recipe of another version of hae, or something else altogether."""
        try:
            about = json.loads(text)
            if about["version"] != 1:
                raise BadInput(f"recipe: version {about['version']} is not known; allowed: 1")
            about = {key: _tuples(value) for key, value in about.items()}
            about["labels"] = tuple(Label(**{**label, "atoms": tuple(label["atoms"])}) for label in about["labels"])
            return cls(**about)
        except (KeyError, TypeError, AttributeError, json.JSONDecodeError) as error:
            raise BadInput(f"recipe: not a recipe ({error}); allowed: recipe.json as the stage prepare wrote it") from None

    def features(self, raw, name: str = "", first_frame: int = 0, labels: bool = True, **table) -> Frames:
        """Frames of raw data: an mdtraj Trajectory, or a DataFrame for the kind "columns".

        name: trajectory of all rows (for a table: its file, and `table` what else `hae.data.tables.table_frames` takes).
        first_frame: number of the first row. labels: leave them out where new data may lack them.
        """
        if self.kind == "columns":
            if not isinstance(raw, pd.DataFrame):
                raise BadInput(f"{name}: the recipe takes columns; allowed: a table with {', '.join(self.names[:5])}, ...")
            marks = self.labels if labels else ()
            found = table_frames(
                raw,
                name,
                columns=self.columns,
                labels=[label.name for label in marks],
                units={**dict(zip(self.names, self.units, strict=True)), **{label.name: label.unit for label in marks}},
                periods={**dict.fromkeys(self.columns), **{label.name: label.period for label in marks}, **dict(self.periods)},
                missing="mask" if self.fill else "error",
                **table,
            )
            return self.filled(found) if self.fill else found
        if not hasattr(raw, "xyz"):
            raise BadInput(f"{name}: the recipe takes {self.kind} of a molecule; allowed: a topology and trajectories")
        names = atom_names(raw.topology)
        marks = self.labels if labels else ()
        angles = _torsion_angles(raw, names, [label.atoms for label in marks])
        return Frames(
            values=self._values(raw, names).astype(np.float32),
            features=self.names,
            units=self.units,
            trajectory=np.full(len(raw), name),
            frame=np.arange(first_frame, first_frame + len(raw)),
            labels=pd.DataFrame(angles.astype(float), columns=[label.name for label in marks]),
            label_units=tuple(label.unit for label in marks),
            label_periods=tuple(label.period for label in marks),
        )

    def filled(self, frames: Frames) -> Frames:
        """The frames with the numbers of `fill` where a feature is missing."""
        known = dict(self.fill)
        return replace(frames, values=np.where(np.isnan(frames.values), [known[name] for name in frames.features], frames.values))

    def _values(self, raw, names: Sequence[str]) -> np.ndarray:
        if self.kind == "coordinates":
            reference = np.array(self.reference)
            return align(whole(raw, _indices(names, [self.atoms])[0].tolist(), reference), reference).reshape(len(raw), -1)
        if self.kind == "distances":
            return distances(raw, _indices(names, self.pairs))
        angles = _torsion_angles(raw, names, self.torsions)
        return np.stack([np.sin(angles), np.cos(angles)], axis=-1).reshape(len(raw), -1)


def atom_names(topology) -> list[str]:
    """A name for every atom, as "ALA2-CA", or "1:ALA2-CA", with the chain's number, where that is in two chains.

    Where a chain has several of them, as some PSF files do, they are numbered on: "0:PA1-C#2".
    """
    names = [str(atom) for atom in topology.atoms]
    count = Counter(names)
    if len(count) == len(names):
        return names
    names = [name if count[name] == 1 else f"{atom.residue.chain.index}:{name}" for name, atom in zip(names, topology.atoms, strict=True)]
    count, seen = Counter(names), Counter[str]()
    for i, name in enumerate(names):
        if count[name] > 1:
            seen[name] += 1
            names[i] = f"{name}#{seen[name]}"
    return names


def _short(names: Sequence[str]) -> list[str]:
    """The atom's own name where no other of these has it."""
    own = [name.rpartition("-")[2] for name in names]
    count = Counter(own)
    return [short if count[short] == 1 else name for short, name in zip(own, names, strict=True)]


def _indices(names: Sequence[str], wanted: Sequence[Sequence[str]]) -> np.ndarray:
    """Numbers (P, k) of the atoms of P pairs or torsions, by one look at the names however many they are."""
    own: dict[str, list[int]] = defaultdict(list)
    for i, name in enumerate(names):
        own[name.rpartition("-")[2]].append(i)
    known = {name: found[0] for name, found in own.items() if len(found) == 1} | {name: i for i, name in enumerate(names)}
    return np.array([[known[name] if name in known else _index(names, name) for name in some] for some in wanted])


def _index(names: Sequence[str], wanted: str) -> int:
    """Number of the atom with this full name, or with this name of its own if only one has it."""
    found = [i for i, name in enumerate(names) if name == wanted]
    found = found or [i for i, name in enumerate(names) if name.rpartition("-")[2] == wanted]
    if len(found) == 1:
        return found[0]
    if found:
        raise BadInput(f"topology: {len(found)} atoms are named '{wanted}'; allowed: {', '.join(names[i] for i in found[:6])}")
    raise BadInput(f"topology: no atom '{wanted}'; allowed: {', '.join(names[:6])}{', ...' if len(names) > 6 else ''}")


def _chosen(topology, names: Sequence[str], atoms: str | Sequence[str]) -> list[int]:
    if not isinstance(atoms, str):
        return [_index(names, name) for name in atoms]
    words, every = cast(re.Match, EVERY.fullmatch(atoms)).groups()
    try:
        chosen = np.array(_heavy(topology)) if words == "heavy" else topology.select(words)
    except Exception as error:  # mdtraj passes on whatever its parser met
        reason = str(error).splitlines()[0]
        raise BadInput(f"atoms: '{atoms}' is not a selection ({reason}); allowed: heavy, a list of names, mdtraj's language, of "
                       "these every second (... every 2)") from None
    if not len(chosen):
        raise BadInput(f"atoms: '{atoms}' chooses no atom of the topology; allowed: a selection that does")
    return chosen[:: int(every or 1)].tolist()


def _heavy(topology) -> list[int]:
    """Atoms that are not of water, and not light. One that is alone in its residue is an ion or a bead, whatever it was taken for."""
    return [
        atom.index for atom in topology.atoms
        if not atom.residue.is_water and (atom.residue.n_atoms == 1 or getattr(atom.element, "symbol", "") not in LIGHT)
    ]


def _torsions(topology, names: Sequence[str], wanted) -> dict[str, tuple[str, str, str, str]]:
    """Name -> four atoms. A name that is in several residues becomes one torsion for each, as "phi(ALA2)"."""
    import mdtraj

    found: dict[str, tuple] = {}
    for name, atoms in (wanted if isinstance(wanted, Mapping) else dict.fromkeys(wanted)).items():
        if atoms is not None:
            if len(atoms) != 4:
                raise BadInput(f"torsion '{name}': {len(atoms)} atoms; allowed: four")
            found[name] = tuple(names[_index(names, atom)] for atom in atoms)
            continue
        if name not in TORSIONS:
            raise BadInput(f"torsion '{name}' is not known; allowed: {', '.join(TORSIONS)}, or a name with four atoms")
        empty = mdtraj.Trajectory(np.zeros((1, topology.n_atoms, 3), np.float32), topology)
        fours = getattr(mdtraj, f"compute_{name}")(empty)[0]
        if not len(fours):
            raise BadInput(f"topology: no torsion '{name}'; allowed: one that its residues have, or a name with four atoms")
        for four in fours:
            residue = topology.atom(four[1]).residue
            found[name if len(fours) == 1 else f"{name}({residue})"] = tuple(names[i] for i in four)
    return found


def _torsion_angles(raw, names: Sequence[str], fours: Sequence[Sequence[str]]) -> np.ndarray:
    """Angles (N, T) in radians of T torsions of four atoms each."""
    return torsions(raw, _indices(names, fours))


def _tuples(value):
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value
