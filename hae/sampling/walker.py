"""One walker: a simulation that runs from hill to hill, writes its frames, and ends without the others where its forces tear it apart."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hae.data.units import BOLTZMANN
from hae.errors import BadInput
from hae.export.cv import PositionsToCVs
from hae.files import written_whole
from hae.sampling.force import Along, Walls, add_force
from hae.sampling.metadynamics import Grid
from hae.sampling.system import Dynamics, Molecule

__all__ = ["Place", "Walker"]

TORN = 4.0  # times the temperature: a molecule of 20 atoms never gets there by chance
DCD_HEADER = 276  # bytes, as OpenMM writes it


@dataclass(frozen=True)
class Place:
    """Where a walker is after a stretch: its CVs (n,), the bias there before new hills (kJ/mol), largest |ds/dx| so far (n,), per nm;
    fault: why it has stopped, in words, "" while it runs.

    Example: See also `Walker`.
        >>> place = Place(cvs=np.array([0.3]), bias=1.2, steepest=np.array([5.0]))
        >>> place.fault == ""  # it runs
        True
    """

    cvs: np.ndarray
    bias: float
    steepest: np.ndarray
    fault: str = ""


class Walker:
    """number: from 0. function: None where nothing is biased; grid: None where the walls alone are the bias. Its frames go to
    `folder`/walker-<number>.dcd, from frame `done` on; its state comes from the checkpoint, where one is given.

    Example: One atom without a bias, and its first frame.
        >>> import tempfile, openmm
        >>> topology = Path(tempfile.mkdtemp(), "argon.pdb")
        >>> _ = topology.write_text("HETATM    1 AR   AR  A   1       0.000   0.000   0.000  1.00  0.00          AR\\nEND\\n")
        >>> system = openmm.System()
        >>> _ = system.addParticle(39.9)
        >>> molecule, none = Molecule.of(system, topology, np.zeros((1, 3))), np.zeros(0)
        >>> walker = Walker(0, molecule, Dynamics(), None, None, Walls(none, none, none, none), 0, topology.parent, save_steps=10)
        >>> walker.run(steps=10, save=True).fault, walker.path.name
        ('', 'walker-0.dcd')
    """

    def __init__(self, number: int, molecule: Molecule, dynamics: Dynamics, function: PositionsToCVs | None, grid: Grid | None,
                 walls: Walls, seed: int, folder: Path, save_steps: int, checkpoint: Path | None = None, done: int = 0):
        from openmm import app

        self.number, self.dynamics = number, dynamics
        topology = app.PDBFile(str(molecule.topology)).topology
        self.along = None if function is None else Along(function, grid, walls)
        self.simulation = molecule.simulation(dynamics, seed, number, lambda system: self._bias(system, topology))
        self.path = folder / f"walker-{number}.dcd"
        self.freedom = _freedom(self.simulation.system)
        self.fresh = checkpoint is None  # it has not run yet
        if checkpoint is not None:
            self.simulation.context.loadCheckpoint(checkpoint.read_bytes())
            _cut(self.path, topology, done)
        self.topology, self.save_steps = topology, save_steps
        if not done:
            with open(self.path, "w+b") as file:
                app.DCDFile(file, topology, dynamics.step_ps, interval=save_steps)

    def run(self, steps: int, save: bool) -> Place:
        """Run on, and write a frame at the end if asked."""
        from openmm import OpenMMException

        try:
            if self.fresh:
                self._relax()
            self.simulation.step(steps)
            state = self.simulation.context.getState(positions=True, energy=True)
        except OpenMMException as error:  # positions that are not finite
            return self._torn(str(error).strip().split("\n")[0])
        temperature = 2 * state.getKineticEnergy()._value / (self.freedom * BOLTZMANN)
        if not temperature < TORN * self.dynamics.temperature:  # `not <`, so that NaN counts as torn too
            return self._torn(f"{temperature:.0f} K")
        if save:
            self._save(state)
        return self._place()

    def _relax(self) -> None:
        self.fresh = False
        self.simulation.minimizeEnergy(maxIterations=200)
        self.simulation.context.setVelocitiesToTemperature(self.dynamics.temperature, self.simulation.integrator.getRandomNumberSeed())

    def _bias(self, system, topology) -> None:
        if self.along is not None:
            add_force(system, self.along, self.along.compiled.function.indices(topology))

    def _place(self, fault: str = "") -> Place:
        if self.along is None:
            return Place(np.zeros(0), 0.0, np.zeros(0), fault)
        return Place(self.along.cvs.copy(), self.along.bias, self.along.steepest.copy(), fault)

    def _save(self, state) -> None:
        """Add a frame, with the box of the moment, which a barostat changes."""
        from openmm import app

        box = state.getPeriodicBoxVectors() if self.simulation.system.usesPeriodicBoundaryConditions() else None
        with open(self.path, "r+b") as file:
            dcd = app.DCDFile(file, self.topology, self.dynamics.step_ps, interval=self.save_steps, append=True)
            dcd.writeModel(state.getPositions(asNumpy=True), periodicBoxVectors=box)

    def _torn(self, what: str) -> Place:
        at = self.simulation.context.getTime()._value
        where = ", ".join(f"CV{k + 1} {s:.3g}" for k, s in enumerate(self.along.cvs)) if self.along else "unbiased"
        steep = f"; steepest it met: {', '.join(f'{s:.0f}' for s in self.along.steepest)} a nm" if self.along else ""
        return self._place(f"walker {self.number}: torn apart at {at:.1f} ps ({where}{steep}): {what}")

    def checkpoint(self, path: Path) -> None:
        with open(self.path, "rb") as file:
            os.fsync(file.fileno())
        with written_whole(path) as partial:
            partial.write_bytes(self.simulation.context.createCheckpoint())


def _freedom(system) -> int:
    """Degrees of freedom: three an atom that has mass, less one a constraint."""
    masses = sum(system.getParticleMass(i)._value > 0 for i in range(system.getNumParticles()))
    return max(1, 3 * masses - system.getNumConstraints())


def _cut(path: Path, topology, frames: int) -> None:
    """Take from a DCD file what was written after the checkpoint."""
    box = 56 if topology.getPeriodicBoxVectors() is not None else 0
    size = DCD_HEADER + frames * (3 * (4 * topology.getNumAtoms() + 8) + box)
    if path.stat().st_size < size:
        raise BadInput(f"{path}: shorter than its checkpoint says ({frames} frames); allowed: the round's unchanged files, or a new round")
    with open(path, "r+b") as file:
        file.truncate(size)
        file.seek(8)
        file.write(np.int32(frames).tobytes())
