"""Stage simulate: alanine dipeptide by OpenMM, walkers side by side, as a topology and one DCD file a walker."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import sys
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
from tqdm import tqdm

from hae.engine import cores
from hae.errors import BadInput
from pipelines import params, paths
from pipelines.stages import run_stage

__all__ = ["STARTS", "STEP_PS", "TOPOLOGY", "alanine_dipeptide", "main", "run_walkers", "simulate", "starts"]

TOPOLOGY = Path(__file__).with_name("alanine-dipeptide.pdb")
STEP_PS = 0.004  # hydrogens of 3 Da, their bonds fixed
FRICTION_PER_PS = 1.0  # phi crosses its barrier about 1.5 times as often as with 5
SETTLE_PS = 40  # run after the start and not saved
# Peptide bonds (atoms of each omega) stay trans, as at room temperature, by a wall that trans molecules don't feel. Without it
# one of them turns in about 10 ns at 700 K and stays for up to a nanosecond: a state seen once, which no hold-out can judge.
OMEGAS = ((1, 4, 6, 8), (8, 14, 16, 18))
TRANS_WALL = "200 * max(0, cos(theta) + 0.5)^2"  # kJ/mol: 0 beyond 120 degrees, 50 at 90
# Where the walkers start, one after the other: phi and psi in degrees, in every basin of the molecule.
STARTS = ((-75, 150), (-75, -20), (55, 40), (-150, 160), (65, -160), (-90, 60))


def simulate() -> None:
    """Make data/raw/topology.pdb and data/raw/walker-<i>.dcd as the section simulate of params.yaml says."""
    section = params.load().simulate
    if section is None:
        raise BadInput("params.yaml: simulate: missing; allowed: the section simulate, or data of one's own (no such stage)")
    run_walkers(section, paths.RAW, cores())


def run_walkers(settings, folder: Path, threads: int) -> None:
    """Run the walkers as processes, `threads` at a time, and move their files to `folder` when all are there.

    settings: temperature (K), walkers, nanoseconds (of each), save_every_ps, seed. The same settings
    give the same files on one machine. Raises BadInput if a walker fails; `folder` then stays as it was.
    """
    try:
        import openmm  # noqa: F401
    except ImportError:
        raise BadInput("simulate: OpenMM is not installed; allowed: pip install 'hae[md]'") from None
    frames = round(settings.nanoseconds * 1000 / settings.save_every_ps)
    if settings.save_every_ps < STEP_PS or frames < 1:
        raise BadInput(
            f"params.yaml: simulate.save_every_ps: {settings.save_every_ps:g} is not allowed; "
            f"allowed: from {STEP_PS:g} (one step) to the length of a walker"
        )
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)  # of a run that was killed
    partial.mkdir(parents=True)
    context = multiprocessing.get_context("spawn")
    done = context.Array("q", settings.walkers, lock=False)
    waiting = [
        context.Process(target=_walk, args=(i, settings, frames, partial, done, os.getpid()), name=f"walker-{i}")
        for i in range(settings.walkers)
    ]
    running: list[BaseProcess] = []
    bar = tqdm(
        total=settings.walkers * settings.nanoseconds,
        desc=f"simulate: {settings.walkers} walkers at {settings.temperature:g} K",
        unit="ns",
        bar_format="{desc}: {percentage:3.0f}%|{bar}| {n:.1f}/{total:.1f} ns [{elapsed}<{remaining}]",
        mininterval=0.5 if sys.stderr.isatty() else 10,
    )
    try:
        while waiting or running:
            while waiting and len(running) < threads:
                running.append(waiting.pop(0))
                running[-1].start()
            wait([process.sentinel for process in running], timeout=0.25)
            bar.update(sum(done) / frames * settings.nanoseconds - bar.n)
            for process in [process for process in running if process.exitcode is not None]:
                if process.exitcode != 0:
                    raise BadInput(f"simulate: {process.name} failed: {_reason(partial, process)}; nothing was kept")
                running.remove(process)
        shutil.copyfile(TOPOLOGY, partial / "topology.pdb")
        folder.mkdir(exist_ok=True)
        for old in folder.glob("walker-*.dcd"):  # of an earlier run, perhaps of more walkers
            old.unlink()
        for new in partial.iterdir():
            os.replace(new, folder / new.name)
    finally:
        for process in running:
            process.kill()
            process.join()
        bar.close()
        shutil.rmtree(partial, ignore_errors=True)


def _reason(partial: Path, process: BaseProcess) -> str:
    words = partial / f"{process.name}.error"
    if words.exists():
        return words.read_text().split("\n")[0].split(". ")[0]
    assert process.exitcode is not None  # it has ended
    return f"killed by signal {-process.exitcode}" if process.exitcode < 0 else f"exit code {process.exitcode}"


def _walk(number: int, settings, frames: int, folder: Path, done, parent: int) -> None:
    """One walker, in a process of its own, that ends with `parent` however that one ends."""
    try:
        _simulate_walker(number, settings, frames, folder, done, parent)
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:  # OpenMM's own kind: the parent says it in one line
        (folder / f"walker-{number}.error").write_text(str(error))
        sys.exit(1)


def _simulate_walker(number: int, settings, frames: int, folder: Path, done, parent: int) -> None:
    from openmm import LangevinMiddleIntegrator, Platform, app, unit

    pdb = app.PDBFile(str(TOPOLOGY))
    system = alanine_dipeptide()
    integrator = LangevinMiddleIntegrator(settings.temperature * unit.kelvin, FRICTION_PER_PS / unit.picosecond, STEP_PS * unit.picosecond)
    seeds = np.random.SeedSequence([settings.seed, number]).generate_state(2) >> 1
    integrator.setRandomNumberSeed(int(seeds[0]) or 1)  # 0 would mean a random one
    # Reference: for 22 atoms the fastest platform, and the same numbers every time.
    simulation = app.Simulation(pdb.topology, system, integrator, Platform.getPlatformByName("Reference"))
    simulation.context.setPositions(starts()[number % len(STARTS)])
    simulation.minimizeEnergy()
    simulation.context.setVelocitiesToTemperature(settings.temperature * unit.kelvin, int(seeds[1]) or 1)
    simulation.step(round(SETTLE_PS / STEP_PS))
    steps = round(settings.save_every_ps / STEP_PS)
    path = folder / f"walker-{number}.dcd"
    with open(path, "w+b") as file:
        dcd = app.DCDFile(file, pdb.topology, STEP_PS, interval=steps)
        for i in range(frames):
            simulation.step(steps)
            dcd.writeModel(simulation.context.getState(getPositions=True).getPositions(asNumpy=True))
            done[number] = i + 1
            if os.getppid() != parent:
                os._exit(1)
        file.seek(180)
        file.write(b" " * 80)  # the time of writing: the same settings give the same bytes


def alanine_dipeptide():
    """OpenMM's System of the default project: implicit solvent, bonds of hydrogens fixed, peptide bonds kept trans."""
    from openmm import CustomTorsionForce, app, unit

    system = app.ForceField("amber99sbildn.xml", "amber99_obc.xml").createSystem(
        app.PDBFile(str(TOPOLOGY)).topology, nonbondedMethod=app.NoCutoff, constraints=app.HBonds, hydrogenMass=3 * unit.dalton
    )
    keep_trans = CustomTorsionForce(TRANS_WALL)
    for atoms in OMEGAS:
        keep_trans.addTorsion(*atoms, [])
    system.addForce(keep_trans)
    return system


def starts() -> np.ndarray:
    """Positions (6, 22, 3) in nm, one in each basin of STARTS."""
    from openmm import app, unit

    positions = app.PDBFile(str(TOPOLOGY)).getPositions(asNumpy=True).value_in_unit(unit.nanometer)
    return np.stack([set_torsions(positions, *place) for place in STARTS])


def set_torsions(positions: np.ndarray, phi: float, psi: float) -> np.ndarray:
    """Positions (22, 3) of the topology's atoms, with phi and psi turned to these values in degrees."""
    c, n, ca, c2, n2 = 4, 6, 8, 14, 16  # ACE C, ALA N CA C, NME N; atoms behind a bond come after it in the file
    positions = np.array(positions)
    for atoms, first_moved, wanted in (((c, n, ca, c2), ca + 1, phi), ((n, ca, c2, n2), c2 + 1, psi)):
        _, b, c_, _ = positions[list(atoms)]
        axis = (c_ - b) / np.linalg.norm(c_ - b)
        angle = np.radians(wanted) - torsion(*positions[list(atoms)])
        moved = positions[first_moved:] - b
        along = np.outer(moved @ axis, axis)  # Rodrigues' rotation
        positions[first_moved:] = b + along + (moved - along) * np.cos(angle) + np.cross(axis, moved) * np.sin(angle)
    return positions


def torsion(a: np.ndarray, b: np.ndarray, c: np.ndarray, d: np.ndarray) -> float:
    """Torsion angle of four points in radians (IUPAC sign)."""
    u, v, w = b - a, c - b, d - c
    return float(np.arctan2(np.linalg.norm(v) * u @ np.cross(v, w), np.cross(u, v) @ np.cross(v, w)))


def main() -> None:
    run_stage(simulate)


if __name__ == "__main__":
    main()
