"""What is simulated, as plain text and numbers that processes can hand on: OpenMM's System, a topology, positions to start from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hae.errors import BadInput

__all__ = ["Dynamics", "Molecule"]


@dataclass(frozen=True)
class Dynamics:
    """temperature: K. step_ps: of LangevinMiddleIntegrator. friction: per ps. platform: of OpenMM, or auto: the fastest there is
    (Reference for fewer than 100 atoms, where a step costs less than handing it on).

    Example:
        >>> Dynamics(temperature=600.0).step_ps
        0.004
    """

    temperature: float = 300.0
    step_ps: float = 0.004
    friction: float = 1.0
    platform: str = "auto"


@dataclass(frozen=True)
class Molecule:
    """system: OpenMM's XML. topology: a PDB file. starts (S, A, 3): positions in nm; walker i starts at start i modulo S.

    Example: One atom.
        >>> import tempfile, openmm
        >>> topology = Path(tempfile.mkdtemp(), "argon.pdb")
        >>> _ = topology.write_text("HETATM    1 AR   AR  A   1       0.000   0.000   0.000  1.00  0.00          AR\\nEND\\n")
        >>> system = openmm.System()
        >>> _ = system.addParticle(39.9)
        >>> simulation = Molecule.of(system, topology, np.zeros((1, 3))).simulation(Dynamics(), seed=0, walker=0)
        >>> simulation.step(10)
        >>> simulation.currentStep
        10
    """

    system: str
    topology: Path
    starts: np.ndarray

    @classmethod
    def of(cls, system, topology: Path, starts: np.ndarray) -> Molecule:
        """Of an OpenMM System. Raises BadInput where it, the topology and the positions do not have the same atoms."""
        import openmm
        from openmm import app

        n = app.PDBFile(str(topology)).topology.getNumAtoms()
        starts = np.asarray(starts, dtype=np.float64).reshape(-1, *np.shape(starts)[-2:])
        if not n == system.getNumParticles() == starts.shape[1]:
            raise BadInput(f"{topology}: {n} atoms, the system has {system.getNumParticles()}, the positions {starts.shape[1]}; "
                           "allowed: the same atoms in all three")
        return cls(openmm.XmlSerializer.serialize(system), Path(topology), starts)

    def simulation(self, dynamics: Dynamics, seed: int, walker: int, add=None):
        """OpenMM's Simulation at the walker's start with velocities, and add(system) done before. The same seed gives the same numbers."""
        import openmm
        from openmm import app, unit

        system, topology = openmm.XmlSerializer.deserialize(self.system), app.PDBFile(str(self.topology)).topology
        if add is not None:
            add(system)
        integrator = openmm.LangevinMiddleIntegrator(dynamics.temperature * unit.kelvin, dynamics.friction / unit.picosecond,
                                                     dynamics.step_ps * unit.picosecond)
        seeds = np.random.SeedSequence([seed, walker]).generate_state(2) >> 1
        integrator.setRandomNumberSeed(int(seeds[0]) or 1)  # 0 would mean a random one
        simulation = app.Simulation(topology, system, integrator, _platform(dynamics.platform, system.getNumParticles()))
        simulation.context.setPositions(self.starts[walker % len(self.starts)])
        simulation.context.setVelocitiesToTemperature(dynamics.temperature * unit.kelvin, int(seeds[1]) or 1)
        return simulation


def _platform(name: str, atoms: int):
    import openmm

    known = [openmm.Platform.getPlatform(i).getName() for i in range(openmm.Platform.getNumPlatforms())]
    if name == "auto":
        fast = [gpu for gpu in ("CUDA", "HIP", "OpenCL") if gpu in known]
        name = "Reference" if atoms < 100 else (*fast, "CPU", "Reference")[0]
    if name not in known:
        raise BadInput(f"platform: {name!r} is not there; allowed: auto, {', '.join(known)}")
    return openmm.Platform.getPlatformByName(name)
