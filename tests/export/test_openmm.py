"""CVs in OpenMM: the same values and forces, after XML too, and metadynamics along them."""

import mdtraj
import numpy as np
import pytest
from export.dipeptide import KINDS, TOPOLOGY, frames, trained

import hae.export
from hae.data.molecules import Recipe
from hae.errors import BadInput
from hae.export.openmm import bias_variables

openmm = pytest.importorskip("openmm", reason="OpenMM is not installed here")
from openmm import app, unit  # noqa: E402


def made(kind, cv=("linear", "tanh", "circular"), **more):
    recipe = Recipe.for_molecule(mdtraj.load(str(TOPOLOGY)), kind, **KINDS[kind])
    return trained(recipe, cv, **more), recipe


def energies(force, x):
    system = openmm.System()
    for _ in range(x.shape[1]):
        system.addParticle(12.0)
    system.addForce(openmm.XmlSerializer.deserialize(openmm.XmlSerializer.serialize(force)))
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference"))
    found = []
    for frame in x:
        context.setPositions(frame)
        state = context.getState(getEnergy=True, getForces=True)
        found.append((state.getPotentialEnergy()._value, state.getForces(asNumpy=True)._value))
    return np.array([e for e, _ in found]), np.array([f for _, f in found])


def well(cvs, parameters):
    return parameters["k"] * float(cvs @ cvs) / 2, parameters["k"] * cvs


@pytest.mark.parametrize(("kind", "more"), [
    *((kind, {}) for kind in KINDS),
    *((kind, {"hidden": (5,)}) for kind in ("torsions", "distances")),
    ("torsions", {"hidden": (5,), "linear_path": True}),
    *(("torsions", {"hidden": (5,), "activation": name}) for name in ("silu", "gelu", "relu", "identity")),
])
def test_openmm_gives_the_same_cvs_and_forces(kind, more):
    network, recipe = made(kind, **more)
    function, (_, x) = hae.export.cv(network, recipe), frames()
    topology = app.PDBFile(str(TOPOLOGY)).topology
    at = function.indices(topology)
    cvs, jacobian = function(x[:, at])
    forces = hae.export.openmm_force(network, recipe, topology)
    assert len(forces) == 3 and len(hae.export.openmm_force(network, recipe, topology, cvs=2)) == 2
    for k, force in enumerate(forces):
        got, pulls = energies(force, x)
        want = np.zeros_like(x)
        want[:, at] = -jacobian[:, k]
        np.testing.assert_allclose(got, cvs[:, k], atol=1e-8)
        np.testing.assert_allclose(pulls, want, atol=1e-7 * np.abs(want).max())


def test_a_bias_of_several_cvs_in_one_pass():
    network, recipe = made("coordinates")
    topology = app.PDBFile(str(TOPOLOGY)).topology
    function, (_, x) = hae.export.cv(network, recipe, cvs=2), frames()
    at = function.indices(topology)
    cvs, jacobian = function(x[:, at])
    got, forces = energies(hae.export.openmm_force(network, recipe, topology, 2, well, {"k": 3.0}), x)
    np.testing.assert_allclose(got, 1.5 * (cvs**2).sum(1), rtol=1e-10)
    np.testing.assert_allclose(forces[:, at], -3 * np.einsum("nk,nkax->nax", cvs, jacobian), atol=1e-8 * np.abs(forces).max())


@pytest.mark.parametrize(("kind", "cv"), [("coordinates", "linear"), ("torsions", "circular")])
def test_metadynamics_runs_along_two_cvs_periodic_where_they_are(kind, cv):
    network, recipe = made(kind, (cv, cv), hidden=(5,))
    pdb = app.PDBFile(str(TOPOLOGY))
    system = app.ForceField("amber99sbildn.xml", "amber99_obc.xml").createSystem(pdb.topology, constraints=app.HBonds)
    variables = bias_variables(network, recipe, pdb.topology, ranges=[(-6, 6)] * 2)
    assert [variable.periodic for variable in variables] == [cv == "circular"] * 2
    bias = app.Metadynamics(system, variables, 300 * unit.kelvin, 10, 1.2, 10)
    integrator = openmm.LangevinMiddleIntegrator(300 * unit.kelvin, 1 / unit.picosecond, 0.001)
    integrator.setRandomNumberSeed(1)
    simulation = app.Simulation(pdb.topology, system, integrator, openmm.Platform.getPlatformByName("Reference"))
    simulation.context.setPositions(pdb.positions)
    simulation.minimizeEnergy(maxIterations=50)
    bias.step(simulation, 100)
    positions = simulation.context.getState(getPositions=True).getPositions(asNumpy=True)._value
    function = hae.export.cv(network, recipe)
    np.testing.assert_allclose(bias.getCollectiveVariables(simulation), function(positions[function.indices(pdb.topology)])[0], atol=1e-6)
    assert np.asarray(bias.getFreeEnergy()._value).min() < 0


def test_what_is_missing_is_said():
    network, recipe = made("torsions")
    with pytest.raises(BadInput, match="topology: missing"):
        hae.export.openmm_force(network, recipe)
    topology = app.PDBFile(str(TOPOLOGY)).topology
    with pytest.raises(BadInput, match="all with a period, or all without"):
        bias_variables(network, recipe, topology)
    with pytest.raises(BadInput, match="ranges: none for CV1"):
        bias_variables(network, recipe, topology, cvs=2)
