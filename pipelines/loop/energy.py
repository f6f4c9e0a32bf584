"""Free energies from all biased rounds, by reweighting: between regions, with an interval."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from hae.data.frames import Frames
from hae.data.molecules import Recipe, atom_names
from hae.data.trajectories import load_structure, read_trajectories
from hae.data.units import BOLTZMANN
from hae.errors import BadInput
from hae.sampling import plumed_files
from hae.sampling.reweighting import Difference, Profile, difference, profile, weights_of
from hae.sampling.umbrella import Windows, groups, mbar, pooled
from pipelines import params
from pipelines.loop.sampling import rounds

__all__ = ["Between", "Pool", "along", "between", "rows", "seen", "settled", "within"]

BESIDE = ("weight", "block", "round", "walker", "frame", "stratum", "time")
BINS = 40
DEEP = 4.0  # kT: places above are visited too seldom to be asked
SETTLE = 0.3  # of a walker's time, left out: while the bias grows fast, what was visited first weighs too much (docs/biasing.md)


@dataclass(frozen=True)
class Between:
    """Free energy of the first region less that of the second, in kJ/mol, from so many rounds and nanoseconds. apart: rounds whose windows
    fall into groups that do not reach into each other; crossings: from one region to the other, back too, by so many walkers of so many;
    version: whose CVs the regions are of, "" where they name none."""

    difference: Difference
    rounds: int
    nanoseconds: float
    frames: tuple[int, int]  # seen in each region
    apart: tuple[str, ...] = ()
    crossings: tuple[int, int, int] = (0, 0, 0)
    version: str = ""


def between(project: Path, first: str, second: str) -> Between:
    """Regions as conditions on labels (torsions in radians) and CVs: "phi > 0", "phi < 0 and cv1 > 1".

    Raises:
        BadInput: as `rows`; a condition that can't be read or names no column, or CVs where rounds were biased along several versions,
            whose CVs are not the same; a region without a frame.
    """
    table = rows(project)
    named, versions = re.search(r"\bcv\d+\b", f"{first} {second}"), table.attrs["versions"]
    if named and len(versions) > 1:
        raise BadInput(f"--between: {named[0]} is not the same in all rounds, which were biased along versions {', '.join(versions)}; "
                       "allowed: labels")
    inside = [_inside(table, text) for text in (first, second)]
    for text, mask in zip((first, second), inside):
        if not mask.any():
            raise BadInput(f"--between {text!r}: no frame of {len(table)} lies there; "
                           f"allowed: regions that were visited, of {_columns(table)}")
    if (inside[0] & inside[1]).any():
        raise BadInput(f"--between {first!r} {second!r}: {int((inside[0] & inside[1]).sum())} frames lie in both; allowed: regions apart")
    found = difference(inside[0], inside[1], **_drawn(table))
    told = table.groupby("round")["time"].agg(["max", "size"])
    return Between(found, len(told), table.attrs["nanoseconds"], (int(inside[0].sum()), int(inside[1].sum())),
                   tuple(table.attrs["apart"]), _crossings(table, *inside), versions[0] if named else "")


def _crossings(table: pd.DataFrame, first: np.ndarray, second: np.ndarray) -> tuple[int, int, int]:
    """How often walkers went from one region to the other; of how many walkers that is, and how many there are."""
    place = table[["round", "walker"]].assign(place=first)[first | second]
    of_each = [int(np.abs(np.diff(walker.to_numpy().astype(int))).sum()) for _, walker in place.groupby(["round", "walker"])["place"]]
    return sum(of_each), sum(number > 0 for number in of_each), len(table[["round", "walker"]].drop_duplicates())


def along(table: pd.DataFrame, values: np.ndarray, period: float | None = None, edges: np.ndarray | None = None) -> Profile:
    """Free energy along a variable (N,) of the rows that `rows` gives; period: of an angle in radians, which goes from -pi to pi.
    edges (B + 1,): of the bins; None: 40 from end to end."""
    return profile(values, _edges(values, period) if edges is None else edges, **_drawn(table))


def _edges(values: np.ndarray, period: float | None) -> np.ndarray:
    low, high = (-period / 2, period / 2) if period else np.nanquantile(values, [0.0, 1.0])
    return np.linspace(low, high, BINS + 1)


def seen(table: pd.DataFrame, frames: Frames) -> np.ndarray:
    """(N, n) CVs of the rows, from those of the encoded frames; nan where a row is not among them (the split cuts gaps)."""
    place = pd.MultiIndex.from_arrays([frames.trajectory, frames.frame])
    wanted = pd.MultiIndex.from_arrays([table["round"] + "/walker-" + table["walker"].astype(str), table["frame"]])
    at = place.get_indexer(wanted)
    return np.where((at >= 0)[:, None], frames.values[at], np.nan)


def within(project: Path, frames: Frames, periods: Sequence[float | None], newest: str) -> float | None:
    """How far the free energy along the CVs of the encoded frames has settled: the share of places up to `DEEP` kT above the
    lowest whose value from all rounds lies in the interval at 90 % from the rounds before the newest. An interval without an upper end
    holds nothing. None where the newest or none before it was biased."""
    try:
        table = rows(project)
    except BadInput:
        return None
    old = (table["round"].astype(int) < int(newest)).to_numpy()
    if not old.any() or old.all():
        return None
    before = table[old]
    before.attrs = table.attrs | {"pools": [pool for pool in table.attrs["pools"] if pool.first < old.sum()]}
    values, found = seen(table, frames), list[np.ndarray]()
    for k, period in enumerate(periods):
        edges = _edges(values[:, k], period)
        found.append(settled(along(before, values[old, k], edges=edges), along(table, values[:, k], edges=edges),
                             DEEP * BOLTZMANN * table.attrs["temperature"]))
    return float(np.concatenate(found).mean())


def settled(before: Profile, after: Profile, deep: float) -> np.ndarray:
    """Of each place up to `deep` kJ/mol in `after`, whether it lies in the interval of `before`; both against the lowest place of
    `before`, which is left out."""
    lowest = int(np.nanargmin(before.values))
    with np.errstate(invalid="ignore"):
        value = after.values - after.values[lowest]
        inside = (before.low <= value) & (value <= before.high) & np.isfinite(before.high)
        asked = after.values <= deep
    asked[lowest] = False
    return inside[asked]


def _drawn(table: pd.DataFrame) -> dict:
    """What `difference` and `profile` ask for of the rows."""
    weights, pools = table["weight"].to_numpy(), table.attrs["pools"]
    return {"weights": weights, "blocks": table["block"].to_numpy(), "temperature": float(table.attrs["temperature"]),
            "strata": table["stratum"].to_numpy(), "again": partial(_again, pools, weights) if pools else None}


def rows(project: Path) -> pd.DataFrame:
    """A row a frame of all biased rounds: labels, CVs, weight (mean 1 in a round), round, block (a quarter of a walker), stratum (of a
    window; else ""), time in ps. In attrs: temperature, nanoseconds, versions along which rounds were biased, pools (of each round of
    windows what `Pool` says) and apart, the rounds whose windows do not all reach into each other.

    Raises:
        BadInput: no biased round, one at another temperature than that of params.yaml, or with other rows than frames.
    """
    content = params.load(project / "params.yaml")
    section = content.sample
    done = [folder for folder in rounds(project) if any("cv1" in plumed_files.read(path) for path in sorted(folder.glob("COLVAR.*"))[:1])]
    if section is None or not done:
        raise BadInput(f"{project / 'data' / 'rounds'}: no biased round; allowed: hae sample first")
    parts, pools, versions, apart = list[pd.DataFrame](), list[Pool](), list[str](), list[str]()
    for folder in done:
        told = _told(folder, section.temperature)
        versions.append(str(told.get("about", {}).get("version", "")))
        part = _round(folder, content.prepare.labels, section.temperature)
        if "windows" in told:
            cvs = part[[f"cv{k + 1}" for k in range(len(told["windows"]["strength"]))]].to_numpy()
            pool = Pool(sum(len(before) for before in parts), Windows.of(told["windows"]).energies(cvs), part["walker"].to_numpy(),
                        section.temperature)
            pools.append(pool)
            apart += [folder.name] if pool.groups > 1 else []
            part["weight"] = pool.weights(np.ones(len(part)))
        part["stratum"] = folder.name + " " + part["walker"].astype(str) if "windows" in told else ""
        part["weight"] /= part["weight"].mean()
        parts.append(part)
    table = pd.concat(parts, ignore_index=True)
    table.attrs |= {"temperature": section.temperature, "nanoseconds": sum(part.attrs["nanoseconds"] for part in parts), "pools": pools,
                    "versions": list(dict.fromkeys(versions)), "apart": apart}
    return table


def _told(folder: Path, temperature: float) -> dict:
    """What a round says of itself. Raises BadInput where it was simulated at another temperature (kelvin)."""
    told = json.loads((folder / "round.json").read_text())
    own = told.get("dynamics", {}).get("temperature", temperature)
    if own != temperature:
        raise BadInput(f"{folder}: simulated at {own:g} K, sample.temperature in params.yaml is {temperature:g}; "
                       "allowed: rounds of one temperature")
    return told


@dataclass(frozen=True)
class Pool:
    """The frames of a round of umbrella windows: the row at which they begin, their energies in every window (N, W), the window each was
    seen in (N,). Their weights come from all of them together."""

    first: int
    energies: np.ndarray
    window: np.ndarray
    temperature: float

    @property
    def groups(self) -> int:
        """Of windows that reach into each other."""
        return groups(self.energies, self.window, self.temperature, mbar(self.energies, self.window, self.temperature))

    def weights(self, counts: np.ndarray) -> np.ndarray:
        """(N,) of mean 1 over frames that count so often (N,)."""
        bias = pooled(self.energies, self.window, self.temperature, mbar(self.energies, self.window, self.temperature, counts), counts)
        weights = np.exp((bias - bias.max()) / (BOLTZMANN * self.temperature))
        return weights / (weights @ counts / counts.sum())


def _round(folder: Path, labels, temperature: float) -> pd.DataFrame:
    """The rows of one round, without the first `SETTLE` of each walker."""
    structure = load_structure(folder / "topology.pdb")
    two = atom_names(structure.topology)[:2]  # any feature: the labels alone are looked at, and not every molecule has torsions with names
    recipe = Recipe.for_molecule(structure, "distances", pairs=[(two[0], two[-1])], labels=labels)
    parts, nanoseconds = [], 0.0
    for path in sorted(folder.glob("walker-*.dcd")):
        walker = path.stem.partition("-")[2]
        colvar = plumed_files.read(folder / f"COLVAR.{walker}")
        bias = next(values for name, values in colvar.items() if name.endswith(plumed_files.RBIAS))
        frames = read_trajectories(recipe, {path.stem: path}, structure)
        n = len(frames)
        if len(bias) != n:
            raise BadInput(f"{folder / f'COLVAR.{walker}'}: {len(bias)} rows for {n} frames; allowed: a row for each frame")
        part = frames.labels.assign(
            **{name: values for name, values in colvar.items() if name.startswith("cv")}, time=colvar["time"],
            weight=weights_of(bias, temperature), round=folder.name, walker=int(walker), frame=range(n),
            block=[f"{folder.name} {path.stem} {4 * i // n}" for i in range(n)])
        parts.append(part[part["time"] > SETTLE * part["time"].max()])
        nanoseconds += float(colvar["time"][-1]) / 1000
    table = pd.concat(parts, ignore_index=True)
    table.attrs["nanoseconds"] = nanoseconds
    return table


def _again(pools: list[Pool], weights: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """The weights of frames that were drawn so often: those of windows are found anew."""
    weights = weights.copy()
    for pool in pools:
        mine = slice(pool.first, pool.first + len(pool.window))
        weights[mine] = pool.weights(counts[mine])
    return weights


def _columns(table: pd.DataFrame) -> str:
    names = [str(name) for name in table.columns if name not in BESIDE and not str(name).startswith("cv")]
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
