"""Molecular dynamics by OpenMM under PLUMED's bias and nothing of hae: python plumed_md.py TOPOLOGY.pdb plumed.dat NS

Run it in the folder of plumed.dat. It writes COLVAR, HILLS and what else plumed.dat names, frames as run.dcd, and PLUMED's words as
plumed.log. 300 K, steps of 4 fs, amber99sbildn in implicit solvent. It needs OpenMM 8.4 and PLUMED's module for Python.
"""

import sys

import numpy as np
import plumed
from openmm import LangevinMiddleIntegrator, Platform, PythonForce, app, unit

STEP_PS = 0.004
KT = 300 * 0.00831446  # kJ/mol


class Bias:
    """PLUMED as a force. It sees all atoms once a step, in OpenMM's units, which are its own: nm, ps, kJ/mol."""

    def __init__(self, masses: np.ndarray, file: str):
        self.masses, self.updated, self.plumed = masses, -1, plumed.Plumed()
        for name, value in [("setRealPrecision", 8), ("setNatoms", len(masses)), ("setMDEngine", "OpenMM"), ("setTimestep", STEP_PS),
                            ("setKbT", KT), ("setPlumedDat", file), ("setLogFile", "plumed.log")]:
            self.plumed.cmd(name, value)
        self.plumed.cmd("init")

    def __call__(self, state):
        """Bias (kJ/mol) and forces (atoms, 3) (kJ/mol/nm) of OpenMM's State. A step that is asked for twice lays one hill."""
        step = state.getStepCount()
        x = np.ascontiguousarray(state.getPositions(asNumpy=True).value_in_unit(unit.nanometer))
        forces, bias = np.zeros_like(x), np.zeros(1)
        for name, value in [("setStep", step), ("setMasses", self.masses), ("setPositions", x), ("setForces", forces),
                            ("setBox", np.zeros((3, 3))), ("setVirial", np.zeros((3, 3)))]:  # no box
            self.plumed.cmd(name, value)
        self.plumed.cmd("prepareCalc")
        self.plumed.cmd("performCalcNoUpdate")
        if step > self.updated:
            self.plumed.cmd("update")
            self.updated = step
        self.plumed.cmd("getBias", bias)
        return bias[0], forces


def simulation(topology, system):
    integrator = LangevinMiddleIntegrator(300 * unit.kelvin, 1 / unit.picosecond, STEP_PS * unit.picosecond)
    return app.Simulation(topology, system, integrator, Platform.getPlatformByName("Reference"))  # the fastest for so few atoms


def run(topology: str, file: str, nanoseconds: float) -> None:
    pdb = app.PDBFile(topology)
    system = app.ForceField("amber99sbildn.xml", "amber99_obc.xml").createSystem(pdb.topology, constraints=app.HBonds,
                                                                                 hydrogenMass=3 * unit.dalton)
    free = simulation(pdb.topology, system)
    free.context.setPositions(pdb.positions)
    free.minimizeEnergy()
    masses = np.array([system.getParticleMass(i).value_in_unit(unit.dalton) for i in range(system.getNumParticles())])
    system.addForce(PythonForce(Bias(masses, file)))
    biased = simulation(pdb.topology, system)
    biased.context.setPositions(free.context.getState(positions=True).getPositions())
    biased.context.setVelocitiesToTemperature(300 * unit.kelvin)
    biased.reporters.append(app.DCDReporter("run.dcd", 100))
    biased.step(round(nanoseconds * 1000 / STEP_PS))


if __name__ == "__main__":
    run(sys.argv[1], sys.argv[2], float(sys.argv[3]))
