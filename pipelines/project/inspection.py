"""A look at data: which keys of params.yaml suit them, and what there is to say of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import SimpleNamespace

import pandas as pd

from hae.data.frames import Frames
from hae.data.molecules import KINDS, Recipe, atom_names
from hae.data.readers import TABLES, Form, load_table
from hae.data.tables import FILE
from hae.data.trajectories import check_atoms, load_structure, with_positions
from hae.errors import BadInput, listed
from pipelines import params
from pipelines.project import cost
from pipelines.project.columns import BIAS, all_named, doubts, lacking, no_feature
from pipelines.stages.prepare import from_tables, from_trajectories

__all__ = ["Choices", "Look", "look_at_molecules", "look_at_tables"]

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
    missing: str = "error"
    shuffle: bool = False
    sheet: str | None = None


@dataclass(frozen=True)
class Look:
    """section: keys of params.yaml's section prepare; frames, recipe: as prepare will make them; said: what was found, in lines."""

    section: dict
    frames: Frames
    recipe: Recipe
    said: list[str]


def look_at_tables(choices: Choices, files: dict[str, Path], say: Callable[[str], None]) -> Look:
    """What tables hold. Raises BadInput for what can't be used."""
    for name in ("topology", "features", "atoms"):
        if getattr(choices, name) is not None:
            raise BadInput(f"--{name}: not allowed with tables, whose columns are the features; allowed: trajectories with --topology")
    if choices.bias is not None and choices.temperature is None:
        raise BadInput("--bias: needs --temperature, as its weights are exp(bias / kT); allowed: kelvin, above 0")
    first_file = next(iter(files.values()))
    first = load_table(first_file, Form(sheet=choices.sheet))
    columns, left = _columns(choices, first, first_file)
    periodic = first.attrs.get("periods", {})
    form = Form(**first.attrs.get("form", {}))
    section = {
        "features": "columns",
        "atoms": "heavy",
        "columns": columns if left else choices.columns or None,
        "labels": choices.labels,
        "group": choices.group or (FILE if "periods" in first.attrs else None),  # PLUMED writes series
        "id": choices.id,
        "weights": choices.weights,
        "bias": choices.bias,
        "periods": {name: period for name, period in periodic.items() if name in (*columns, *choices.labels)},
        "table": asdict(form) if form.known() and _all_alike(form, files) else None,
        "missing": choices.missing,
        "shuffle": choices.shuffle,
    }
    if choices.shuffle and section["group"] is not None:
        raise BadInput("--shuffle: not allowed for rows that follow each other in time; allowed: independent rows")
    table = params.Table(sheet=choices.sheet) if choices.sheet else None  # the rest is told anew from each file here
    settings = SimpleNamespace(**{**section, "table": table, "columns": columns}, units={})
    frames, recipe, left_out = from_tables(settings, files, choices.temperature)
    series = len(set(frames.trajectory) - {""})
    said = [f"found: {len(frames)} rows in {_counted(len(files), 'table')}" + (f", {_counted(series, 'trajectory')}" if series else "")]
    said += [f"written: {form.words()} (guessed; see prepare.table in params.yaml)"] if form.known() else []
    said += all_named(f"features: {_counted(len(recipe.columns), 'column')} (", recipe.columns, ")")
    said += _said_of(first, recipe, left, choices, left_out)
    biases = [name for name in left if BIAS.search(name)]
    if biases and frames.weights is None:
        chosen = next((name for name in biases if name.endswith("rbias")), biases[0])
        said.append(f"the data look biased: --bias {chosen} --temperature KELVIN would weight the rows by exp(bias / kT)")
    if frames.weights is not None:
        share = frames.weights.sum() ** 2 / (frames.weights**2).sum() / len(frames)
        said.append(f"weights: effective share of the rows {share:.0%}")
    return Look(section, frames, recipe, said)


def _columns(choices: Choices, first: pd.DataFrame, path: Path) -> tuple[tuple[str, ...], dict[str, str]]:
    """The features, and why other columns are none."""
    if choices.columns:
        return choices.columns, {}
    duties = {*choices.labels, choices.group, choices.id, choices.weights, choices.bias} - {None}
    group = first[choices.group] if choices.group in first.columns else None
    left = {name: no_feature(name, first[name], group) for name in first.columns if name not in duties}
    left = {name: reason for name, reason in left.items() if reason}
    columns = tuple(name for name in first.columns if name not in left and name not in duties)
    if left and not columns:
        reasons = ", ".join(f"{name} ({reason})" for name, reason in left.items())
        raise BadInput(f"{path}: no column is left for the features: {reasons}; allowed: --columns NAME,...")
    return columns, left


def _said_of(first: pd.DataFrame, recipe: Recipe, left: dict[str, str], choices: Choices, left_out: int) -> list[str]:
    """What became of the columns, and what may be wrong with them."""
    said = []
    if recipe.periods:
        said.append(f"periodic: {listed([name for name, _ in recipe.periods])}; each becomes its sine and cosine")
    said += [f"left out: {words}" for words in first.attrs.get("left_out", ())]
    said += [f"left out: {name} ({reason})" for name, reason in left.items()]
    words = lacking(first, (*recipe.columns, *choices.labels))
    if words:
        done = f"{left_out} rows left out" if choices.missing == "drop" else "each has the mean of the training rows instead"
        said.append(f"missing: {words}; {done}")
    return said + doubts(first, recipe.columns)


def _all_alike(form: Form, files: dict[str, Path]) -> bool:
    """Whether all tables are written in one form, so that it can be said once."""
    return all(load_table(path, Form(sheet=form.sheet)).attrs.get("form") == asdict(form) for path in list(files.values())[1:])


def look_at_molecules(choices: Choices, files: dict[str, Path], say: Callable[[str], None]) -> Look:
    """What trajectories hold; `say` hears what it costs before it is paid. Raises BadInput for what can't be used."""
    for name in ("columns", "group", "id", "weights", "bias", "sheet", "shuffle"):
        if getattr(choices, name):
            raise BadInput(f"--{name}: not allowed with trajectories; allowed: tables")
    if choices.topology is None:
        path = next(iter(files.values()))
        raise BadInput(f"{path}: a trajectory needs its atoms, or this is no table that can be read; allowed: --topology FILE, or tables "
                       f"({', '.join(TABLES)}, COLVAR)")
    structure = load_structure(choices.topology)
    check_atoms(files, structure)
    topology, said = getattr(structure, "topology", structure), []
    features, atoms = choices.features or "coordinates", choices.atoms
    if features == "coordinates" and not hasattr(structure, "xyz"):
        structure = with_positions(structure, files)
        said.append(f"aligned to the first frame of {next(iter(files))}, as {choices.topology.name} has no positions")
    if atoms is None:
        heavy, carbons = (len(topology.select(words)) for words in ("not water and not element H", "name CA"))
        atoms = "name CA" if heavy > MANY_ATOMS and carbons >= 10 else "heavy"
        if atoms != "heavy" and features != "torsions":
            said.append(f"atoms: the {carbons} alpha carbons, as there are {heavy} heavy atoms (--atoms heavy takes them all)")
    labels = choices.labels or tuple(name for name in ("phi", "psi") if _few(structure, name))
    section: dict[str, object] = {
        "features": features, "atoms": atoms, "columns": None, "labels": labels, "group": None, "id": None, "weights": None, "bias": None,
        "periods": {}, "table": None, "missing": "error", "shuffle": False,
    }
    for line in cost.words(Recipe.for_molecule(structure, features, atoms=atoms), structure):
        say(line)
    settings = SimpleNamespace(**section, topology=choices.topology, pairs=None, torsions=None)
    frames, recipe = from_trajectories(settings, files)
    lengths = Counter(frames.trajectory.tolist())
    return Look(section, frames, recipe, [
        f"found: {len(frames)} frames in {_counted(len(files), 'trajectory')} "
        f"({listed([f'{name} {length}' for name, length in lengths.items()])}), {structure.n_atoms} atoms",
        *_features_named(recipe),
        *said,
        f"labels: {listed(labels) or 'none'}",
    ])


def _features_named(recipe: Recipe) -> list[str]:
    begin = f"features: {len(recipe.names)} ({recipe.kind}{', nm' if recipe.kind in KINDS[:2] else ''}; "
    if recipe.kind == "coordinates":
        return all_named(f"{begin}x, y, z of ", _atoms_shown(recipe.atoms), ")")
    if recipe.kind == "torsions":
        return all_named(f"{begin}sine and cosine of ", list(dict.fromkeys(recipe.groups.values() if recipe.groups else ())), ")")
    return all_named(begin, recipe.names, ")")


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
    first, second = atom_names(getattr(structure, "topology", structure))[:2]
    return first, second


def _counted(number: int, thing: str) -> str:
    if number == 1:
        return f"1 {thing}"
    return f"{number} {thing[:-1] + 'ies' if thing.endswith('y') else thing + 's'}"
