"""hae init --system: a project for a molecule of one's own. It runs a short unbiased round, and is set up for what that round holds."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version as installed
from pathlib import Path

import numpy as np

from hae.engine import cores
from hae.errors import BadInput
from hae.sampling.round import Sampling, run
from hae.sampling.system import Dynamics, Molecule
from pipelines import params, paths, settings
from pipelines.loop.systems import BUILT_IN, molecule, take
from pipelines.project.init import Choices, init
from pipelines.stages import simulate

__all__ = ["start"]

HOME = Path("data/system")
TRIED = 100  # steps, to see that the system is sane
ENOUGH = 500  # frames of a first round: fewer can't be split and judged


def start(folder: Path, system: str, topology: Path | None, choices: Choices, section: params.Sample, say: Callable[[str], None],
          progress: Callable[[float, str], None] = lambda done, words: None) -> list[str]:
    """Write a project into `folder` for a system (see `pipelines.loop.systems`) and give what was found, in lines.

    topology: PDB, where walkers start. choices: of the features, without data. section: walkers, nanoseconds and the rest of a round.

    Raises:
        BadInput: a project is there, files that can't be read, a system that 100 steps tear apart, too few frames. The folder is as before.
    """
    folder = Path(folder).resolve()
    if (folder / "params.yaml").exists() or (folder / "data").exists():
        raise BadInput(f"{folder}: a project or data are there already; allowed: a folder without them")
    existed = folder.exists()
    try:
        return _start(folder, system, topology, choices, section, say, progress)
    except BaseException:
        for path in [folder / "data", folder / ".hae"] if existed else [folder]:
            shutil.rmtree(path, ignore_errors=True)
        raise


def _start(folder: Path, system: str, topology: Path | None, choices: Choices, section: params.Sample, say, progress) -> list[str]:
    (folder / HOME).mkdir(parents=True)
    if system == BUILT_IN:
        topology = simulate.TOPOLOGY
    if topology is None or not topology.is_file():
        raise BadInput(f"--topology: {topology or 'missing'}; allowed: a PDB file with the molecule, where walkers start")
    taken = take(system, topology, folder / HOME)
    named = str(HOME / taken) if (folder / HOME / taken).is_file() else taken
    section = section.model_copy(update={"system": named, "topology": None if system == BUILT_IN else str(HOME / "topology.pdb")})
    made = molecule(folder, section)
    dynamics = Dynamics(section.temperature, section.step_ps, section.friction, section.platform)
    say(f"system: {system}, {made.starts.shape[1]} atoms; {_tried(made, dynamics)}")
    frames = round(section.walkers * section.nanoseconds * 1000 / section.save_ps)
    if frames < ENOUGH:
        raise BadInput(f"--ns: {section.walkers} walkers of {section.nanoseconds:g} ns give {frames} frames; allowed: {ENOUGH} or more")
    sampling = Sampling(walkers=section.walkers, nanoseconds=section.nanoseconds, method="none", pace_ps=section.pace_ps,
                        save_ps=section.save_ps, seed=section.seed)
    about = {"packages": {name: installed(name) for name in ("hae", "openmm", "numpy", "numba")}}
    work = settings.home(folder) / "rounds" / "000"
    work.parent.mkdir(parents=True, exist_ok=True)
    first = folder / paths.ROUNDS / "000"
    told = run(first, made, dynamics, None, [], sampling, about, cores(), progress, work)
    say(f"round 000: {told['nanoseconds']:.2f} ns, unbiased, {len(told['faults'])} walkers torn apart")
    data = tuple(sorted(first.glob("walker-*.dcd")))
    found = replace(choices, data=data, topology=folder / HOME / "topology.pdb", temperature=section.temperature)
    return init(folder, found, say, section.model_dump(exclude_defaults=True) | {"system": named})


def _tried(made: Molecule, dynamics: Dynamics) -> str:
    """In words how 100 steps went. Raises BadInput where they did not."""
    try:
        simulation = made.simulation(dynamics, 0, 0)
        simulation.minimizeEnergy(maxIterations=200)
        before = simulation.context.getState(energy=True).getPotentialEnergy()._value
        simulation.step(TRIED)
        state = simulation.context.getState(energy=True)
        after, kinetic = state.getPotentialEnergy()._value, state.getKineticEnergy()._value
    except Exception as error:  # OpenMM's own kind
        raise BadInput(f"--system: {TRIED} steps of {dynamics.step_ps:g} ps fail: {' '.join(str(error).split())[:200]}; "
                       "allowed: a system that can be simulated, perhaps in shorter steps") from None
    if not np.isfinite([before, after, kinetic]).all():
        raise BadInput(f"--system: {TRIED} steps of {dynamics.step_ps:g} ps fail: the energy is then {after} kJ/mol; "
                       "allowed: a system that can be simulated, perhaps in shorter steps")
    return f"{before:.0f} kJ/mol at its minimum, {after:.0f} after {TRIED} steps"
