"""Steps per CPU second of OpenMM with a bias along two CVs against none: python -m benchmarks.engines [--steps N]."""

import argparse
import time
from pathlib import Path

import mdtraj
import numpy as np
import openmm
from openmm import app, unit

from hae.data.molecules import Recipe
from hae.export.cv import cv
from hae.export.openmm import openmm_force
from hae.network.hierarchy import HierarchicalNetwork
from hae.sampling.force import Along, Walls, add_force
from hae.sampling.metadynamics import Axis, Grid

TOPOLOGY = Path(__file__).parents[1] / "pipelines" / "stages" / "alanine-dipeptide.pdb"


def slope(cvs, parameters):
    """A bias that is small everywhere: what is timed is the way to the CVs and back."""
    return 0.01 * float(cvs.sum()), 0.01 + 0 * cvs


def add_metadynamics(system, function, pdb) -> None:
    """What hae sample runs: features, network, bias on a grid and walls in one compiled pass."""
    x = np.array(pdb.getPositions(asNumpy=True).value_in_unit(unit.nanometer))
    indices = function.indices(pdb.topology)
    s = function(x[indices])[0]
    walls = Walls(s - 1, s + 1, np.full(2, 100.0), np.zeros(2))
    add_force(system, Along(function, Grid(tuple(Axis(v - 2, v + 2, 0.1) for v in s), 1.2, 10.0, 300.0), walls), indices)


def speed(kind: str | None, hidden: tuple[int, ...], steps: int) -> float:
    pdb = app.PDBFile(str(TOPOLOGY))
    system = app.ForceField("amber99sbildn.xml", "amber99_obc.xml").createSystem(
        pdb.topology, constraints=app.HBonds, hydrogenMass=3 * unit.dalton
    )
    if kind is not None:
        recipe = Recipe.for_molecule(mdtraj.load(str(TOPOLOGY)), "torsions" if kind == "torsions" else "coordinates")
        network = HierarchicalNetwork.mlp(len(recipe.names), ("linear",) * 2, hidden=hidden).double().reset(0).requires_grad_(False)
        if kind == "metadynamics":
            add_metadynamics(system, cv(network, recipe), pdb)
        bias = {"bias": slope} if kind == "coordinates" else {}
        forces = openmm_force(network, recipe, pdb.topology, **bias) if kind != "metadynamics" else []
        for force in forces if isinstance(forces, list) else [forces]:
            system.addForce(force)
    integrator = openmm.LangevinMiddleIntegrator(300 * unit.kelvin, 1 / unit.picosecond, 0.004)
    simulation = app.Simulation(pdb.topology, system, integrator, openmm.Platform.getPlatformByName("Reference"))
    simulation.context.setPositions(pdb.positions)
    simulation.minimizeEnergy(maxIterations=100)
    simulation.step(100)
    start = time.process_time()
    simulation.step(steps)
    return steps / (time.process_time() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=5000)
    steps = parser.parse_args().steps
    cases = {"unbiased": (None, ()), "torsions (8,), two expressions": ("torsions", (8,)),
             "coordinates (64, 64), a bias in Python": ("coordinates", (64, 64)),
             "coordinates (64, 64), metadynamics of hae sample": ("metadynamics", (64, 64))}  # fmt: skip
    best = dict.fromkeys(cases, 0.0)
    for _ in range(3):  # in turns: other work on the machine meets all of them
        best = {name: max(best[name], speed(*case, steps)) for name, case in cases.items()}
    print("| bias | steps in a CPU second | relative to unbiased |\n|---|---|---|")
    for name, value in best.items():
        print(f"| {name} | {value:,.0f} | {value / best['unbiased']:.2f} |")


if __name__ == "__main__":
    main()
