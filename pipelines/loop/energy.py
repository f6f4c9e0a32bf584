"""Free energies from all biased rounds, by reweighting: between regions, with an interval."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from hae.data.molecules import Recipe
from hae.data.trajectories import load_structure, read_trajectories
from hae.errors import BadInput
from hae.sampling import plumed_files
from hae.sampling.reweighting import Difference, difference, weights_of
from pipelines import params
from pipelines.loop.sampling import rounds

__all__ = ["Between", "between", "rows"]

SETTLE = 0.3  # of a walker's time, left out: while the bias grows fast, what was visited first weighs too much (docs/biasing.md)


@dataclass(frozen=True)
class Between:
    """Free energy of the first region less that of the second, in kJ/mol, from so many rounds and nanoseconds."""

    difference: Difference
    rounds: int
    nanoseconds: float
    frames: tuple[int, int]  # seen in each region


def between(project: Path, first: str, second: str) -> Between:
    """Regions as conditions on labels (torsions in radians) and CVs: "phi > 0", "phi < 0 and cv1 > 1".

    Raises:
        BadInput: no biased round, a condition that can't be read or names no column, a region without a frame.
    """
    table = rows(project)
    inside = [_inside(table, text) for text in (first, second)]
    for text, mask in zip((first, second), inside):
        if not mask.any():
            raise BadInput(f"--between {text!r}: no frame of {len(table)} lies there; "
                           f"allowed: regions that were visited, of {_columns(table)}")
    if (inside[0] & inside[1]).any():
        raise BadInput(f"--between {first!r} {second!r}: {int((inside[0] & inside[1]).sum())} frames lie in both; allowed: regions apart")
    found = difference(inside[0], inside[1], table["weight"].to_numpy(), table["block"].to_numpy(), float(table.attrs["temperature"]))
    told = table.groupby("round")["time"].agg(["max", "size"])
    return Between(found, len(told), table.attrs["nanoseconds"], (int(inside[0].sum()), int(inside[1].sum())))


def rows(project: Path) -> pd.DataFrame:
    """A row a frame of all biased rounds: labels, CVs, weight (mean 1 in a round), round, block (a quarter of a walker), time in ps."""
    content = params.load(project / "params.yaml")
    section = content.sample
    done = [folder for folder in rounds(project) if (folder / "HILLS").exists() or list(folder.glob("HILLS.*"))]
    done = [folder for folder in done if "cv1" in plumed_files.read(folder / "COLVAR.0")]
    if section is None or not done:
        raise BadInput(f"{project / 'data' / 'rounds'}: no biased round; allowed: hae sample first")
    parts, nanoseconds = [], 0.0
    for folder in done:
        structure = load_structure(folder / "topology.pdb")
        recipe = Recipe.for_molecule(structure, "torsions", labels=content.prepare.labels)
        for path in sorted(folder.glob("walker-*.dcd")):
            colvar = plumed_files.read(folder / f"COLVAR.{path.stem.partition('-')[2]}")
            frames = read_trajectories(recipe, {path.stem: path}, structure)
            n = min(len(frames), len(colvar["time"]))
            part = frames.labels.iloc[:n].reset_index(drop=True)
            part = part.assign(**{name: values[:n] for name, values in colvar.items() if name.startswith("cv")}, time=colvar["time"][:n],
                               weight=weights_of(colvar["metad.rbias"][:n], section.temperature), round=folder.name,
                               block=[f"{folder.name} {path.stem} {4 * i // n}" for i in range(n)])
            parts.append(part[part["time"] > SETTLE * part["time"].max()])
            nanoseconds += float(colvar["time"][-1]) / 1000
    table = pd.concat(parts, ignore_index=True)
    table["weight"] /= table.groupby("round")["weight"].transform("mean")
    table.attrs |= {"temperature": section.temperature, "nanoseconds": nanoseconds}
    return table


def _columns(table: pd.DataFrame) -> str:
    names = [str(name) for name in table.columns if name not in ("weight", "block", "round", "time") and not str(name).startswith("cv")]
    cvs = [str(name) for name in table.columns if str(name).startswith("cv")]
    return f"{', '.join(names)} (torsions in radians), {', '.join(cvs)}, time (ps)"


def _inside(table: pd.DataFrame, text: str) -> np.ndarray:
    try:
        found = np.asarray(table.eval(text, engine="python", local_dict={}, global_dict={}))
    except Exception as error:
        said = " ".join(str(error).split())
        raise BadInput(f"--between {text!r}: {said}; allowed: conditions such as 'phi > 0', of {_columns(table)}") from None
    if found.dtype != bool or found.shape != (len(table),):
        raise BadInput(f"--between {text!r}: not a condition; allowed: such as 'phi > 0 and psi < 90', of {_columns(table)}")
    return found
