"""A round: walkers biased along CVs by metadynamics, OPES or windows, from nothing or from its last checkpoint, as a folder of files."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import mdtraj
import numpy as np

from hae.errors import BadInput
from hae.export.cv import PositionsToCVs
from hae.files import write_json
from hae.sampling import plumed_files
from hae.sampling.crew import GOES_ON, Crew, Hill
from hae.sampling.force import Along, Walls
from hae.sampling.metadynamics import Axis, Grid
from hae.sampling.opes import Opes
from hae.sampling.system import Dynamics, Molecule
from hae.sampling.umbrella import Windows, groups, mbar, pooled
from hae.sampling.walker import Place, Walker

__all__ = ["CVRange", "Sampling", "run"]

CHECKPOINT_SECONDS = 30.0
WALL = 200.0  # kJ/mol at one spread beyond a wall
ROOM = 6.0  # widths between a wall and the end of the grid
METHODS = ("metadynamics", "opes", "umbrella", "none")
LABELS = {"metadynamics": "metad", "opes": "opes", "umbrella": "restraint", "none": "metad"}  # of columns, as in PLUMED's manual


@dataclass(frozen=True)
class CVRange:
    """Of one CV, in its own unit: walls at low and high (None: an angle, all round), spread: standard deviation in the training data.

    Example:
        >>> CVRange(low=-1.8, high=2.1, spread=1.0).spread
        1.0
    """

    low: float | None
    high: float | None
    spread: float


@dataclass(frozen=True)
class Sampling:
    """nanoseconds: of each walker. pace_ps: between two hills. height: of a first hill, kJ/mol. factor: bias factor. width: of hills,
    in spreads of a CV, in radians for an angle (None: 0.2, 0.1 for one CV, 0.35). shared: one bias for all walkers, or each its own.
    barrier: of OPES, kJ/mol.

    Example:
        >>> Sampling(walkers=4, nanoseconds=0.5).shared
        True
        >>> try:
        ...     Sampling(save_ps=1.0)
        ... except BadInput as error:
        ...     print(error)
        sample: a frame every 1 ps; allowed: a multiple of 0.4 ps, the time between hills
    """

    walkers: int = 8
    nanoseconds: float = 1.0
    method: str = "metadynamics"
    pace_ps: float = 0.4
    save_ps: float = 0.8
    height: float = 1.2
    factor: float = 10.0
    barrier: float = 40.0
    width: float | None = None
    shared: bool = True
    seed: int = 1

    def __post_init__(self):
        if self.method not in METHODS:
            raise BadInput(f"sample: method {self.method!r} is not allowed; allowed: {', '.join(METHODS)}")
        if self.walkers < 1 or not 0 < self.pace_ps <= self.save_ps <= self.nanoseconds * 1000:
            raise BadInput(f"sample: {self.walkers} walkers of {self.nanoseconds:g} ns, a hill every {self.pace_ps:g} ps, a frame every "
                           f"{self.save_ps:g} ps; allowed: at least one walker and one frame, and no frame before a hill")
        if abs(self.save_ps / self.pace_ps - round(self.save_ps / self.pace_ps)) > 1e-6:
            raise BadInput(f"sample: a frame every {self.save_ps:g} ps; allowed: a multiple of {self.pace_ps:g} ps, the time between hills")


def run(
    folder: Path, molecule: Molecule, dynamics: Dynamics, function: PositionsToCVs | None, ranges: Sequence[CVRange], sampling: Sampling,
    about: dict[str, Any] | None = None, cores: int = 1, say: Callable[[float, str], None] = lambda done, words: None,
    work: Path | None = None, windows: Windows | None = None,
) -> dict[str, Any]:
    """Run a round into `folder`, which appears when the round is done; gives what its round.json holds.

    It has walker-<i>.dcd, COLVAR.<i> (row by row), HILLS (HILLS.<i> where walkers do not share; KERNELS of OPES), topology.pdb and
    round.json. A round that was ended goes on from its last checkpoint, which stands in `work` (None: beside it, .NAME.partial; else on
    the same disk). function: None where there are no CVs yet; then nothing is biased. about: goes into round.json as it is.
    windows: of umbrella sampling, one a walker; window_<i>.pdb is then where each began, and the weights are those of MBAR.
    say(nanoseconds done, words): called as it goes on; words: of a walker that has stopped, or "".

    Raises:
        BadInput: the folder is there, or what stands beside it was begun with other settings; a time between hills that is no number of
            steps; no walker is left; files that can't be written.
    """
    if folder.exists():
        raise BadInput(f"{folder}: it is there already; allowed: a new folder")
    work = work or folder.with_name(f".{folder.name}.partial")
    if function is None and sampling.method != "none":
        raise BadInput(f"sample: method {sampling.method} without CVs; allowed: none")
    if (windows is not None) != (sampling.method == "umbrella") or len(windows or range(sampling.walkers)) != sampling.walkers:
        raise BadInput(f"sample: method {sampling.method}, {sampling.walkers} walkers, {len(windows or [])} windows; "
                       "allowed: a window for each walker with umbrella, none with other methods")
    steps = sampling.pace_ps / dynamics.step_ps
    if round(steps) < 1 or abs(steps - round(steps)) > 1e-6:
        raise BadInput(f"sample: a hill every {sampling.pace_ps:g} ps; allowed: a multiple of {dynamics.step_ps:g} ps, a step")
    plan = {"sampling": asdict(sampling), "dynamics": asdict(dynamics), "ranges": [asdict(r) for r in ranges], "about": about or {}}
    if windows is not None:
        plan["windows"] = windows.plain()
    try:
        result = _begun(work, "round.json", plan)
        if result is None:
            result = _Round(work, molecule, dynamics, function, ranges, sampling, plan, windows).run(cores, say)
            write_json(work / "round.json", result)  # all has run: what follows may be done twice
        result |= _finish(work, molecule, sampling.walkers, windows, dynamics.temperature)
        write_json(work / "round.json", result)
        folder.parent.mkdir(parents=True, exist_ok=True)
        os.replace(work, folder)
    except OSError as error:
        raise BadInput(f"sample: {error.filename or work}: {error.strerror or error}; {GOES_ON}") from None
    return result


def _begun(work: Path, name: str, plan: dict) -> dict[str, Any] | None:
    """What a file of a round under way holds, None where it is not there. Raises BadInput where it is of another plan."""
    try:
        told = json.loads((work / name).read_text())
    except FileNotFoundError:
        return None
    if {key: told.get(key) for key in plan} != json.loads(json.dumps(plan)):
        raise BadInput(f"{work}: a round begun with other settings; allowed: the same settings, or remove the folder")
    return told


def _finish(work: Path, molecule: Molecule, walkers: int, windows: Windows | None, temperature: float) -> dict[str, Any]:
    """Bring the files of a round that has run to what they are to be; done twice it is done once. Gives what it finds."""
    found: dict[str, Any] = {}
    for i in range(walkers):  # torn apart before its first frame: no reader takes a trajectory of none
        colvar = work / f"COLVAR.{i}"
        if colvar.exists() and not len(plumed_files.read(colvar)["time"]):
            (work / f"walker-{i}.dcd").unlink(missing_ok=True)
            colvar.unlink()
    if windows is not None:
        found["groups"] = _pool(work, windows, molecule, [i for i in range(walkers) if (work / f"COLVAR.{i}").exists()], temperature)
    shutil.copyfile(molecule.topology, work / "topology.pdb")
    for scrap in [*work.glob("checkpoint*"), work / "plan.json"]:
        shutil.rmtree(scrap) if scrap.is_dir() else scrap.unlink(missing_ok=True)
    return found


class _Round:
    def __init__(self, work: Path, molecule, dynamics, function, ranges, sampling: Sampling, plan: dict, windows: Windows | None):
        self.work, self.sampling, self.dynamics, self.plan = work, sampling, dynamics, plan
        self.kept = _kept(work, plan)
        self.names = [f"cv{k + 1}" for k in range(len(ranges))]
        self.periodic = [r.low is None for r in ranges]
        axes = tuple(_axis(r, sampling, len(ranges)) for r in ranges)
        self.widths = [axis.width for axis in axes]
        checkpoint = work / self.kept["folder"] if self.kept else None
        grid = partial(_grid, axes, sampling, dynamics.temperature, checkpoint)
        walls = _walls(ranges)
        by_grid = [] if sampling.method in ("umbrella", "none") else [0] if sampling.shared else range(sampling.walkers)
        self.grids = {number: grid(number) for number in by_grid}
        self.stride = round(sampling.pace_ps / dynamics.step_ps)
        self.every = round(sampling.save_ps / sampling.pace_ps)
        self.make = partial(_walker, molecule, dynamics, function, walls if windows is None else windows, sampling, work,
                            self.stride * self.every, checkpoint, self.kept.get("done", 0) // self.every, grid)
        self.tables: dict[str, plumed_files.Table] = {}
        if function is not None:  # compiled here, once, and kept on disk: else each walker's process would compile it for itself
            indices = function.indices(mdtraj.load_topology(str(molecule.topology)))
            Along(function, self.grids.get(0), walls).at(molecule.starts[0][indices])

    def run(self, cores: int, say) -> dict[str, Any]:
        sampling = self.sampling
        faults: dict[str, str] = dict(self.kept.get("faults", {}))
        steepest = {int(i): np.array(v) for i, v in self.kept.get("steepest", {}).items()}
        lived = dict.fromkeys(map(str, range(sampling.walkers)), self.kept.get("done", 0)) | self.kept.get("lived", {})
        total = round(sampling.nanoseconds * 1000 / sampling.pace_ps)
        standing = [i for i in range(sampling.walkers) if str(i) not in faults]
        self._open()
        last = time.monotonic()
        with Crew(standing, cores, self.make) as crew:
            for step in range(self.kept.get("done", 0) + 1, total + 1):
                places = crew.run(self.stride, step % self.every == 0)
                for number, place in places.items():
                    steepest[number] = np.maximum(place.steepest, steepest.get(number, 0.0))  # of before a kill too
                    if place.fault:
                        faults[str(number)] = place.fault
                        say(self._ns(lived), place.fault)
                    else:
                        lived[str(number)] = step
                standing = [number for number, place in places.items() if not place.fault]
                if not standing:
                    raise BadInput(f"sample: no walker is left; {list(faults.values())[-1]}")
                self._write(step, {number: places[number] for number in standing}, crew)
                say(self._ns(lived), "")
                if time.monotonic() - last > CHECKPOINT_SECONDS and step < total:
                    self._checkpoint(crew, step, faults, steepest, lived)
                    last = time.monotonic()
        for table in self.tables.values():
            table.kept()
        return self.plan | {
            "nanoseconds": self._ns(lived), "faults": faults,
            "steepest": np.max([*steepest.values()], axis=0).tolist() if steepest else [],
            "height": {str(i): grid.highest() for i, grid in self.grids.items()},
        }

    def _ns(self, lived: dict[str, int]) -> float:
        return sum(lived.values()) * self.sampling.pace_ps / 1000

    def _open(self) -> None:
        sizes = self.kept.get("sizes", {})
        for i in range(self.sampling.walkers):
            self.tables[f"COLVAR.{i}"] = plumed_files.colvar(self.work / f"COLVAR.{i}", self.names, self.periodic, sizes.get(f"COLVAR.{i}"),
                                                             LABELS[self.sampling.method])
        write = plumed_files.kernels if self.sampling.method == "opes" else plumed_files.hills
        for i in self.grids:
            name = _hills_name(i, self.sampling)
            self.tables[name] = write(self.work / name, self.names, self.periodic, sizes.get(name))

    def _write(self, step: int, places: dict[int, Place], crew: Crew) -> None:
        """A row of each walker's COLVAR where a frame is due, and a hill of each."""
        at = step * self.sampling.pace_ps
        if step % self.every == 0:
            shifts = {i: grid.shift() for i, grid in self.grids.items()}
            for number, place in places.items():
                shift = shifts.get(0 if self.sampling.shared else number, 0.0)
                self.tables[f"COLVAR.{number}"].add([at, *place.cvs, place.bias, place.bias - shift])
        if not self.grids:
            return
        hills: list[Hill] = []
        for number, place in places.items():
            of = 0 if self.sampling.shared else number
            height = self.grids[of].add(place.cvs)
            hills.append((of, place.cvs, height))
            self.tables[_hills_name(of, self.sampling)].add([at, *place.cvs, *self.widths, *self.grids[of].told(height)])
        crew.learn(hills)

    def _checkpoint(self, crew: Crew, step: int, faults, steepest, lived) -> None:
        """First the walkers' states in a folder of its own, then the one file that makes them count."""
        folder, old = f"checkpoint-{step}", self.kept.get("folder")
        crew.checkpoint(self.work / folder)
        for i, grid in self.grids.items():
            np.savez(self.work / folder / f"grid-{i}.npz", **grid.state())  # type: ignore[arg-type]  # its stub knows of one keyword
        self.kept = {
            "folder": folder, "done": step, "sizes": {name: table.kept() for name, table in self.tables.items()}, "faults": faults,
            "steepest": {str(i): v.tolist() for i, v in steepest.items()}, "lived": lived,
        }
        write_json(self.work / "checkpoint.json", self.kept)
        if old:
            shutil.rmtree(self.work / old, ignore_errors=True)


def _kept(work: Path, plan: dict) -> dict[str, Any]:
    """The checkpoint of a round that was ended; {} where there is none, and then the folder is new and holds the plan alone."""
    if (work / "checkpoint.json").exists() and _begun(work, "plan.json", plan) is not None:
        return json.loads((work / "checkpoint.json").read_text())
    shutil.rmtree(work, ignore_errors=True)
    write_json(work / "plan.json", plan)
    return {}


def _hills_name(number: int, sampling: Sampling) -> str:
    name = "KERNELS" if sampling.method == "opes" else "HILLS"
    return name if sampling.shared else f"{name}.{number}"


def _axis(r: CVRange, sampling: Sampling, n: int) -> Axis:
    if r.low is None or r.high is None:
        return Axis(-np.pi, np.pi, 0.35 if sampling.width is None else sampling.width, True)
    width = r.spread * ((0.1 if n == 1 else 0.2) if sampling.width is None else sampling.width)
    return Axis(r.low - ROOM * width, r.high + ROOM * width, width)


def _walls(ranges: Sequence[CVRange]) -> Walls:
    return Walls(
        np.array([-np.inf if r.low is None else r.low for r in ranges]), np.array([np.inf if r.high is None else r.high for r in ranges]),
        np.array([0.0 if r.low is None else 2 * WALL / r.spread**2 for r in ranges]), np.zeros(len(ranges)),
    )


def _grid(axes: tuple[Axis, ...], sampling: Sampling, temperature: float, checkpoint: Path | None, number: int) -> Grid:
    """The grid with the hills of the checkpoint."""
    grid = (Opes(axes, sampling.barrier, temperature) if sampling.method == "opes"
            else Grid(axes, sampling.height, sampling.factor, temperature))
    if checkpoint is not None:
        with np.load(checkpoint / f"grid-{number}.npz") as state:
            grid.restore(state)
    return grid


def _walker(molecule, dynamics, function, walls, sampling: Sampling, work, save_steps, checkpoint, done, grid, number: int):
    """In the walker's process: the walker, its grid, and the grid's number. walls: of all walkers, or a window for each."""
    of = 0 if sampling.shared else number
    filled = grid(of) if sampling.method in ("metadynamics", "opes") else None
    mine = walls.walls(number) if isinstance(walls, Windows) else walls
    at = None if checkpoint is None else checkpoint / f"walker-{number}.chk"
    return Walker(number, molecule, dynamics, function, filled, mine, sampling.seed, work, save_steps, at, done), filled, of


def _pool(work: Path, windows: Windows, molecule: Molecule, walkers: Sequence[int], temperature: float) -> int:
    """Put the weights of MBAR where each COLVAR has the bias of its window alone, and write where each walker began. Gives the number of
    groups into which the windows fall."""
    tables = [plumed_files.read(work / f"COLVAR.{i}") for i in walkers]
    energies = [windows.energies(np.stack([table[f"cv{k + 1}"] for k in range(len(windows.strength))], 1)) for table in tables]
    window = np.repeat(walkers, [len(rows) for rows in energies])
    every = np.concatenate(energies)
    free = mbar(every, window, temperature)
    bias = pooled(every, window, temperature, free)
    topology = mdtraj.load_topology(str(molecule.topology))
    for i in walkers:
        plumed_files.put(work / f"COLVAR.{i}", LABELS["umbrella"] + plumed_files.RBIAS, bias[window == i])
        mdtraj.Trajectory(molecule.starts[i % len(molecule.starts)], topology).save_pdb(str(work / f"window_{i}.pdb"))
    return groups(every, window, temperature, free)
