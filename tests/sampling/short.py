"""Short rounds of alanine dipeptide, for tests."""

import mdtraj
from export.dipeptide import KINDS, TOPOLOGY, trained
from openmm import app, unit

import hae.export
from hae.data.molecules import Recipe
from hae.sampling import round as rounds
from hae.sampling.round import CVRange, Sampling, run
from hae.sampling.system import Dynamics, Molecule

SHORT = Sampling(walkers=3, nanoseconds=0.008, pace_ps=0.4, save_ps=0.8)
FRAMES = 10


def dipeptide(starts=None) -> Molecule:
    pdb = app.PDBFile(str(TOPOLOGY))
    system = app.ForceField("amber99sbildn.xml").createSystem(pdb.topology, constraints=app.HBonds, hydrogenMass=3 * unit.dalton)
    return Molecule.of(system, TOPOLOGY, mdtraj.load(str(TOPOLOGY)).xyz if starts is None else starts)


def function(kind="coordinates", cvs=2):
    recipe = Recipe.for_molecule(mdtraj.load(str(TOPOLOGY)), kind, **KINDS[kind])
    return hae.export.cv(trained(recipe), recipe, cvs=cvs)


def ranges(f, spread=0.3):
    one = mdtraj.load(str(TOPOLOGY))
    return [CVRange(s - 1, s + 1, spread) for s in f(one.xyz[0][f.indices(one.topology)].astype(float))[0]]


def go(folder, sampling=SHORT, cores=2, **more):
    f = function()
    return run(folder, dipeptide(), Dynamics(), f, ranges(f), sampling, cores=cores, **more)


def cut_short(folder, sampling):
    """A round that keeps a checkpoint every moment, for a process that is killed."""
    rounds.CHECKPOINT_SECONDS = 0.05
    go(folder, sampling)
