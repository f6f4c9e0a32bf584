"""hae init: looks at data, says what it found, and writes a project for them: params.yaml, dvc.yaml, and the data in data/raw."""

from __future__ import annotations

import re
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd

from hae.data.frames import Frames
from hae.data.molecules import KINDS, Recipe
from hae.data.readers import is_table, load_table
from hae.data.sources import without_ending
from hae.data.tables import FILE
from hae.data.trajectories import check_atoms, load_structure
from hae.errors import BadInput, listed
from hae.files import written_whole
from pipelines import paths
from pipelines.project import code, suggest, written
from pipelines.stages.prepare import from_tables, from_trajectories

__all__ = ["Choices", "init"]

SMOOTH, STEEPEST = 40, 250  # of molecules: their CVs are to be pushed on (docs/smooth.md, docs/biasing.md)
BIAS = re.compile(r"(^|\.)(bias|rbias|rct|work)$")  # what PLUMED calls them
MANY_ATOMS = 300  # heavy atoms beyond which the alpha carbons are taken
FEW_LABELS = 3  # torsions of one name that are looked at without being asked for


@dataclass(frozen=True)
class Choices:
    """What people say on the command line; None or empty: as the data suggest."""

    data: tuple[Path, ...]
    topology: Path | None = None
    features: str | None = None
    atoms: str | None = None
    columns: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    group: str | None = None
    id: str | None = None
    weights: str | None = None
    bias: str | None = None
    temperature: float | None = None


def init(folder: Path, choices: Choices) -> list[str]:
    """Write a project into `folder` and say what was found, in lines. Nothing is run, recorded or put under DVC yet.

    Data from elsewhere are copied to folder/data/raw. Raises BadInput for what can't be used; the folder is then as it was.
    """
    folder = Path(folder).resolve()
    for name in ("params.yaml", "dvc.yaml"):
        if (folder / name).exists():
            raise BadInput(f"{folder / name}: there is a project already; allowed: a folder without one")
    data = [Path(path).resolve() for path in choices.data]
    topology = [Path(choices.topology).resolve()] if choices.topology else []
    for path in (*data, *topology):
        if not path.is_file():
            raise BadInput(f"{path}: no such file; allowed: files that are there")
    tables = [is_table(path) for path in data]
    if any(tables) and not all(tables):
        raise BadInput(f"{data[tables.index(False)]}: not a table, as {data[tables.index(True)].name} is; "
                       "allowed: tables alone, or trajectories with --topology")
    homes = _homes(folder, list(dict.fromkeys(data + topology)))
    files = _named(list(homes)[: len(data)], homes)
    look = _look_at_tables if all(tables) else _look_at_molecules
    section, frames, recipe, said = look(choices, files)
    known = suggest.memory(frames)
    split, told = suggest.split_for(frames, known)
    if (frames.trajectory == "").all() and known.time > 3:
        told.append(
            f"neighbouring rows are correlated, over about {known.time:.0f} rows. If they are a series in time, say --series (each file is "
            "one trajectory) or --group COLUMN; otherwise every figure will be too good. If they are sorted, shuffle them; otherwise every "
            "interval will be too wide"
        )
    texts = written.texts(
        {
            **section,
            "trajectories": _patterns(folder, list(homes)[: len(data)], [path.suffix for path in topology]),
            "topology": next((str(home.relative_to(folder)) for home, path in homes.items() if path in topology), None),
            "temperature": choices.temperature,
            "split": asdict(split),
        },
        **suggest.training_for(int(len(frames) * split.shares[0])),
        data=_dependencies(folder, list(homes)),
        n_cvs=min(3, len(recipe.columns)),
        scale="feature" if all(tables) else "global",
        smooth=0 if all(tables) else SMOOTH,
        gradient=None if all(tables) else STEEPEST,
        model_name=re.sub(r"[^A-Za-z0-9._-]+", "-", folder.name).strip("-._") or "model",
    )
    _write(folder, homes, texts)
    copied = sum(home != path for home, path in homes.items())
    return [
        *said,
        *told,
        f"wrote {folder}: params.yaml, dvc.yaml{f', and a copy of the data in data/raw ({copied} files)' if copied else ''}",
        f"next: cd {folder} && hae retrain",
    ]


def _homes(folder: Path, files: Sequence[Path]) -> dict[Path, Path]:
    """Where each file will be in the project -> where it is. What lies in the project stays there."""
    count = Counter(path.name for path in files)
    homes: dict[Path, Path] = {}
    for path in files:
        own = path.name if count[path.name] == 1 else f"{path.parent.name}-{path.name}"  # a/md.xtc and b/md.xtc
        home = path if folder in path.parents else folder / paths.RAW / own
        if home in homes or (home != path and home.exists()):
            raise BadInput(f"{path}: there would be two files {home.relative_to(folder)} in the project; allowed: different names")
        homes[home] = path
    return homes


def _named(homes: Sequence[Path], paths: dict[Path, Path]) -> dict[str, Path]:
    """Name of each trajectory or table, as prepare will name it -> where it is now."""
    files: dict[str, Path] = {}
    for home in homes:
        name = without_ending(Path(home.name))
        if name in files:
            raise BadInput(f"{paths[home]}: would be named '{name}', as {files[name]} is; allowed: different names")
        files[name] = paths[home]
    return files


def _look_at_tables(choices: Choices, files: dict[str, Path]) -> tuple[dict, Frames, Recipe, list[str]]:
    """Keys of the section prepare, the frames, their recipe, and what was found."""
    for name in ("topology", "features", "atoms"):
        if getattr(choices, name) is not None:
            raise BadInput(f"--{name}: not allowed with tables, whose columns are the features; allowed: trajectories with --topology")
    first_file = next(iter(files.values()))
    first = load_table(first_file)
    duties = {*choices.labels, choices.group, choices.id, choices.weights, choices.bias} - {None}
    group = first[choices.group] if choices.group in first.columns else None
    left = {} if choices.columns else {name: _no_feature(name, first[name], group) for name in first.columns if name not in duties}
    left = {name: reason for name, reason in left.items() if reason}
    columns = choices.columns or (tuple(name for name in first.columns if name not in left and name not in duties) if left else ())
    if left and not columns:
        reasons = ", ".join(f"{name} ({reason})" for name, reason in left.items())
        raise BadInput(f"{first_file}: no column is left for the features: {reasons}; allowed: --columns NAME,...")
    periodic = first.attrs.get("periods", {})
    section = {
        "features": "columns",
        "atoms": "heavy",
        "columns": columns or None,
        "labels": choices.labels,
        "group": choices.group or (FILE if "periods" in first.attrs else None),  # PLUMED writes series
        "id": choices.id,
        "weights": choices.weights,
        "bias": choices.bias,
        "periods": {name: period for name, period in periodic.items() if name in (*(columns or first.columns), *choices.labels)},
    }
    if choices.bias is not None and choices.temperature is None:
        raise BadInput("--bias: needs --temperature, as its weights are exp(bias / kT); allowed: kelvin, above 0")
    frames, recipe, _ = from_tables(SimpleNamespace(**section, units={}), files, choices.temperature)
    series = len(set(frames.trajectory) - {""})
    said = [f"found: {len(frames)} rows in {_counted(len(files), 'table')}" + (f", {_counted(series, 'trajectory')}" if series else ""),
            f"features: {_counted(len(recipe.columns), 'column')} ({listed(recipe.columns)})"]
    circular = [name for name, _ in recipe.periods]
    if circular:
        said.append(f"periodic: {listed(circular)}; each becomes its sine and cosine")
    said += [f"left out: {name} ({reason})" for name, reason in left.items()]
    biases = [name for name in left if BIAS.search(name)]
    if biases and frames.weights is None:
        chosen = next((name for name in biases if name.endswith("rbias")), biases[0])
        said.append(f"the data look biased: --bias {chosen} --temperature KELVIN would weight the rows by exp(bias / kT)")
    if frames.weights is not None:
        share = frames.weights.sum() ** 2 / (frames.weights**2).sum() / len(frames)
        said.append(f"weights: the rows say as much as {share:.0%} of them would with equal weights")
    return section, frames, recipe, said


def _look_at_molecules(choices: Choices, files: dict[str, Path]) -> tuple[dict, Frames, Recipe, list[str]]:
    if choices.topology is None:
        path = next(iter(files.values()))
        raise BadInput(f"{path}: a trajectory needs its atoms, or this is no table that can be read; allowed: --topology PDB, or tables "
                       "(.csv, .parquet, .npy, .npz, COLVAR)")
    for name in ("columns", "group", "id", "weights", "bias"):
        if getattr(choices, name):
            raise BadInput(f"--{name}: not allowed with trajectories; allowed: tables")
    structure = load_structure(choices.topology)
    check_atoms(files, structure)
    topology, said = getattr(structure, "topology", structure), []
    features, atoms = choices.features or "coordinates", choices.atoms
    if atoms is None:
        heavy, carbons = (len(topology.select(words)) for words in ("not water and not element H", "name CA"))
        atoms = "name CA" if heavy > MANY_ATOMS and carbons >= 10 else "heavy"
        if atoms != "heavy" and features != "torsions":
            said.append(f"atoms: the {carbons} alpha carbons, as there are {heavy} heavy atoms (--atoms heavy takes them all)")
    labels = choices.labels or tuple(name for name in ("phi", "psi") if _few(structure, name))
    section: dict[str, object] = {
        "features": features, "atoms": atoms, "columns": None, "labels": labels, "group": None, "id": None, "weights": None, "bias": None,
        "periods": {},
    }
    settings = SimpleNamespace(**section, topology=choices.topology, pairs=None, torsions=None)
    frames, recipe = from_trajectories(settings, files)
    lengths = Counter(frames.trajectory.tolist())
    found = [
        f"found: {len(frames)} frames in {_counted(len(files), 'trajectory')} "
        f"({listed([f'{name} {length}' for name, length in lengths.items()])}), {structure.n_atoms} atoms",
        f"features: {frames.n_features} ({recipe.kind}{', nm' if recipe.kind in KINDS[:2] else ''}; "
        f"{listed(_atoms_shown(recipe.atoms) or recipe.names)})",
        f"labels: {listed(labels) or 'none'}",
    ]
    return section, frames, recipe, found[:2] + said + found[2:]


def _no_feature(name: str, column: pd.Series, group: pd.Series | None) -> str:
    """Why a column is no feature unless it is asked for, or "". group: names the trajectory of each row, where there are several."""
    numeric = pd.to_numeric(column, errors="coerce").to_numpy(dtype=float)
    if np.isnan(numeric).mean() > 0.5 and not pd.api.types.is_numeric_dtype(column):
        return "not numbers"
    if BIAS.search(name):
        return "a bias"
    if not np.isfinite(numeric).all():
        return ""  # its fault will be named
    steps = np.diff(numeric)
    if group is not None:
        steps = steps[group.to_numpy()[1:] == group.to_numpy()[:-1]]
    if np.ptp(numeric) == 0:
        return "one value in all rows"
    if len(steps) > 1 and steps[0] != 0 and np.allclose(steps, steps[0], rtol=1e-6, atol=0):
        return "counts the rows"
    if name.lower() == "time" and (steps > 0).all():
        return "the time"
    return ""


def _atoms_shown(atoms: Sequence[str]) -> list[str]:
    """Without the residue, where that tells them apart."""
    short = [name.rpartition("-")[2] for name in atoms]
    return short if len(set(short)) == len(short) else list(atoms)


def _few(structure, torsion: str) -> bool:
    """Whether the molecule has this torsion, and not too often to look at each."""
    try:
        return len(Recipe.for_molecule(getattr(structure, "topology", structure), "distances", atoms="all", pairs=[_two_atoms(structure)],
                                       labels=[torsion]).labels) <= FEW_LABELS
    except (BadInput, ValueError):  # no such torsion, or one atom alone
        return False


def _two_atoms(structure) -> tuple[str, str]:
    from hae.data.molecules import atom_names

    first, second = atom_names(getattr(structure, "topology", structure))[:2]
    return first, second


def _patterns(folder: Path, homes: list[Path], others: list[str]) -> list[str]:
    """A pattern for files of one ending in data/raw, so that later ones are read too; else every file."""
    raw = folder / paths.RAW
    ending = homes[0].suffix
    alike = ending and ending not in others and all(home.parent == raw and home.suffix == ending for home in homes)
    if alike and not set(raw.glob(f"*{ending}")) - set(homes):
        return [f"data/raw/*{ending}"]
    return [str(home.relative_to(folder)) for home in homes]


def _dependencies(folder: Path, homes: list[Path]) -> list[str]:
    if all(home.parent == folder / paths.RAW for home in homes):
        return ["data/raw"]
    return sorted(str(home.relative_to(folder)) for home in homes)


def _write(folder: Path, homes: dict[Path, Path], texts: dict[str, str]) -> None:
    """Data, then the files of `texts`, params.yaml last, which makes it a project; taken back if something fails."""
    made = []
    try:
        for home, path in homes.items():
            if home != path:
                made.append(home)
                with written_whole(home) as partial:
                    shutil.copy2(path, partial)
        made.append(folder / code.FILE)
        code.write(folder)
        for name, text in texts.items():
            made.append(folder / name)
            with written_whole(folder / name) as partial:
                partial.write_text(text, encoding="utf-8")
    except BaseException:
        for path in made:
            path.unlink(missing_ok=True)
        raise


def _counted(number: int, thing: str) -> str:
    if number == 1:
        return f"1 {thing}"
    return f"{number} {thing[:-1] + 'ies' if thing.endswith('y') else thing + 's'}"
