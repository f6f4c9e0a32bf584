"""hae sample: a round of walkers biased along the champion's CVs, as data/rounds/NNN."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any

import numpy as np

from hae.data.frames import Frames
from hae.data.patterns import find_files
from hae.data.positions import unbroken
from hae.data.trajectories import load_frame, load_structure
from hae.engine import cores
from hae.errors import BadInput
from hae.export.cv import PositionsToCVs, cv
from hae.sampling.round import CVRange, Sampling, run
from hae.sampling.system import Dynamics, Molecule
from hae.sampling.umbrella import Windows
from pipelines import params, paths, processes, settings
from pipelines.loop.encoded import encoded
from pipelines.loop.systems import molecule
from pipelines.record import packaging, registry
from pipelines.record.store import opened, plainly

__all__ = ["Options", "rounds", "sample"]

BEYOND = 0.5  # of the range of the training data, on each side: as far as walls let a walker go
WINDOW = 20  # frames, over which a CV's fluctuation in a basin is taken
IN_A_BASIN = 0.5  # of that fluctuation: the width of a hill
Options = dict[str, Any]  # of the command line, under the names of the section sample; what is None is left as it stands there


def rounds(project: Path) -> list[Path]:
    """The rounds there are, in order."""
    found = (project / paths.ROUNDS).glob("*/round.json")
    return sorted((path.parent for path in found if re.fullmatch(r"\d+", path.parent.name)), key=lambda folder: int(folder.name))


def sample(project: Path, options: Options | None = None, version: str | None = None,
           say: Callable[[float, str], None] = lambda done, words: None) -> tuple[Path, dict[str, Any]]:
    """Run one round, or go on with the one that was ended: its folder, and what its round.json holds.

    version: of the registered model along which to bias; None: the champion. say: see `hae.sampling.round.run`.

    Raises:
        BadInput: no section sample, no champion, CVs of columns; and as `hae.sampling.round.run`.
    """
    section = params.load(project / "params.yaml").sample
    if section is None:
        raise BadInput("params.yaml: sample: missing; allowed: the section sample, which says what is simulated (hae init --system)")
    chosen = section.model_copy(update={name: value for name, value in (options or {}).items() if value is not None})
    with processes.only_one(project):
        return _sample(project, chosen, version, say)


def _sample(project: Path, section: params.Sample, version: str | None, say) -> tuple[Path, dict[str, Any]]:
    number = int(rounds(project)[-1].name) + 1 if rounds(project) else 0
    folder = project / paths.ROUNDS / f"{number:03d}"
    function, ranges, about = (None, [], {}) if section.method == "none" else _along(project, section, version)
    about |= {"packages": {name: installed(name) for name in ("hae", "openmm", "numpy", "numba")}}
    sampling = Sampling(
        walkers=section.walkers, nanoseconds=section.nanoseconds, method=section.method, pace_ps=section.pace_ps, save_ps=section.save_ps,
        height=section.height, factor=section.factor, barrier=section.barrier, shared=section.shared and section.method != "umbrella",
        seed=section.seed + 1000 * number,
    )
    dynamics = Dynamics(section.temperature, section.step_ps, section.friction, section.platform)
    work = settings.home(project) / "rounds" / folder.name
    work.parent.mkdir(parents=True, exist_ok=True)
    start, windows = molecule(project, section), None
    if function is not None and section.method == "umbrella":
        start, windows = _windows(project, start, function, section)
    elif function is not None and section.start == "frontier":
        start = _frontier(project, start, function, section.walkers, sampling.seed)
    told = run(folder, start, dynamics, function, ranges, sampling, about, cores(), say, work, windows)
    return folder, told


def _along(project: Path, section: params.Sample, version: str | None) -> tuple[PositionsToCVs, list[CVRange], dict[str, Any]]:
    """The CVs of a registered version, how far each may go, and what is to be kept of where they come from."""
    store = opened(project)
    with plainly(store.uri):
        row = registry.champion(store) if version is None else registry.find(store, version)
        if row is None:
            missing = "champion" if version is None else f"version {version}"
            raise BadInput(f"{store.name}: no {missing}; allowed: hae retrain first, or --method none")
        loaded = packaging.load(store, row.version)
    function = cv(loaded, cvs=section.cvs)
    spreads = _spreads(project, loaded, section.cvs)
    ranges = []
    for k, period in enumerate(function.periods):
        low, high = loaded.about["cv_low"][k], loaded.about["cv_high"][k]
        room = BEYOND * (high - low)
        ranges.append(CVRange(None, None, 1.0) if period else CVRange(low - room, high + room, spreads[k]))
    return function, ranges, {"model": store.name, "version": row.version, "variant": row.variant}


def _spreads(project: Path, loaded: packaging.Loaded, n: int) -> list[float]:
    """A spread of each CV such that a hill of 0.2 spreads is half as wide as the CV's fluctuation in a basin: its median standard deviation
    over stretches of the prepared frames; where there are none, that of the training data."""
    if not (project / paths.MANIFEST).is_file():
        return loaded.about["cv_std"][:n]
    (frames,) = encoded(project, loaded.encode)
    s = frames.values
    stretch = [rows for name in dict.fromkeys(frames.trajectory) for rows in _stretches(np.flatnonzero(frames.trajectory == name))]
    if not stretch:
        return loaded.about["cv_std"][:n]
    local = np.median([s[rows].std(axis=0) for rows in stretch], axis=0)
    return [float(min(IN_A_BASIN / 0.2 * here, whole)) for here, whole in zip(local, loaded.about["cv_std"])][:n]


def _frontier(project: Path, molecule: Molecule, function: PositionsToCVs, walkers: int, seed: int) -> Molecule:
    """The molecule with as many frames to start from as there are walkers, far apart along the CVs: a first one at random, then always the
    frame farthest from all before it. As it is where the prepared frames are not of the same atoms."""
    frames = _frames(project, molecule, function)
    if frames is None:
        return molecule
    place = np.concatenate([np.stack([np.cos(s), np.sin(s)], 1) if period else s[:, None] / (s.std() or 1.0)
                            for s, period in zip(frames.values.T, function.periods)], axis=1)
    chosen = [int(np.random.default_rng(seed).integers(len(place)))]
    away = np.full(len(place), np.inf)
    while len(chosen) < walkers:
        away = np.minimum(away, ((place - place[chosen[-1]]) ** 2).sum(1))
        chosen.append(int(away.argmax()))
    return _starting(project, molecule, frames, chosen)


def _windows(project: Path, molecule: Molecule, function: PositionsToCVs, section: params.Sample) -> tuple[Molecule, Windows]:
    """A window for each walker over the prepared frames, and the molecule with the frames nearest to their centres to start from."""
    frames = _frames(project, molecule, function)
    if frames is None:
        raise BadInput(f"{project / paths.FRAMES}: missing, or with other atoms than the simulated system; allowed: --method umbrella "
                       "after hae retrain, since its windows are over the prepared frames")
    windows, nearest = Windows.over(frames.values, [period or 0.0 for period in function.periods],
                                    section.walkers, section.temperature)
    return _starting(project, molecule, frames, nearest.tolist()), windows


def _frames(project: Path, molecule: Molecule, function: PositionsToCVs) -> Frames | None:
    """The prepared frames with their CVs, or None where there are none, or they are not of the same atoms as what is simulated."""
    topology = params.load(project / "params.yaml").prepare.topology
    if not (project / paths.MANIFEST).is_file() or topology is None or not (project / topology).is_file():
        return None
    if load_structure(project / topology).n_atoms != molecule.starts.shape[1]:
        return None
    return encoded(project, lambda values: function.encoder(values)[0])[0]


def _starting(project: Path, molecule: Molecule, frames: Frames, chosen: Sequence[int]) -> Molecule:
    """The molecule with the chosen rows of the prepared frames to start from."""
    prepare = params.load(project / "params.yaml").prepare
    assert prepare.topology is not None  # frames that are not there can't be chosen
    structure, files = load_structure(project / prepare.topology), find_files(prepare.trajectories, project)
    topology = getattr(structure, "topology", structure)
    found = [load_frame(files[frames.trajectory[i]], int(frames.frame[i]), topology) for i in chosen]
    return replace(molecule, starts=np.array([unbroken(frame).xyz[0] for frame in found], dtype=np.float64))


def _stretches(rows: np.ndarray) -> list[np.ndarray]:
    return [rows[i : i + WINDOW] for i in range(0, len(rows) - WINDOW + 1, WINDOW)]
