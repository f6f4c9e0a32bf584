"""Positions to CVs: the features are those of the recipe, the CVs those of the network, the Jacobian that of finite differences."""

import dataclasses
import pickle

import mdtraj
import numpy as np
import pytest
import torch
from export.dipeptide import KINDS, TOPOLOGY, frames, trained

import hae.export
from hae.data.molecules import Recipe, atom_names
from hae.errors import BadInput


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("more", [{}, {"linear_path": True}, *({"activation": a} for a in ("silu", "gelu", "relu", "identity"))])
def test_cvs_are_the_networks_and_the_jacobian_that_of_finite_differences(kind, more):
    topology, x = frames()
    recipe = Recipe.for_molecule(mdtraj.load(str(TOPOLOGY)), kind, **KINDS[kind])
    network = trained(recipe, **more)
    function = pickle.loads(pickle.dumps(hae.export.cv(network, recipe)))
    at = function.indices(topology)
    cvs, jacobian = function(x[:, at])
    want = network.encode(torch.from_numpy(recipe.features(mdtraj.Trajectory(x, topology)).values.astype(float))).numpy()
    np.testing.assert_allclose(cvs, want, atol=2e-4)  # mdtraj works in float32
    assert jacobian.shape == (len(x), 3, len(at), 3)
    step = 1e-6
    for frame in range(2):
        for moved in np.ndindex(len(at), 3):
            d = np.zeros((len(at), 3))
            d[moved] = step
            up, down = function(x[frame, at] + d)[0], function(x[frame, at] - d)[0]
            apart = up - down
            apart[2] = np.angle(np.exp(1j * apart[2]))
            np.testing.assert_allclose(jacobian[frame, :, *moved], apart / (2 * step), atol=1e-6 * np.abs(jacobian[frame]).max())
    np.testing.assert_allclose(jacobian.sum(2), 0, atol=1e-9 * np.abs(jacobian).max())  # moving all atoms changes nothing
    np.testing.assert_allclose(np.cross(x[:, None, at], jacobian).sum(2), 0, atol=1e-9 * np.abs(jacobian).max())  # nor turning them
    first, cut = hae.export.cv(network, recipe, cvs=2)(x[0, at])
    np.testing.assert_allclose(first, cvs[0, :2], atol=1e-12)
    np.testing.assert_allclose(cut, jacobian[0, :2], atol=1e-10)


def test_what_can_not_be_right_is_refused():
    topology, x = frames()
    one = mdtraj.load(str(TOPOLOGY))
    for kind, more in KINDS.items():
        recipe = Recipe.for_molecule(one, kind, **more)
        function = hae.export.cv(trained(recipe), recipe)
        at = function.indices(topology)
        with pytest.raises(BadInput, match="Angstrom"):
            function(10 * x[:, at])
        with pytest.raises(BadInput, match=r"shape .* allowed: \(\d+, 3\)"):
            function(x[:, at[:-1]])
        with pytest.raises(BadInput, match="finite"):
            function(np.nan * x[:, at])
        if kind != "distances":
            with pytest.raises(BadInput, match="not defined"):  # all atoms on a line
                function(np.arange(len(at))[:, None] * np.array([[0.1, 0.0, 0.0]]))
        with pytest.raises(BadInput, match=r"cvs: 4 .* 1 to 3"):
            hae.export.cv(trained(recipe), recipe, cvs=4)
        with pytest.raises(BadInput, match="no atom"):
            function.indices(topology.subset(range(8)))
    table = dataclasses.replace(recipe, kind="columns", torsions=())
    with pytest.raises(BadInput, match="columns"):
        hae.export.cv(trained(recipe), table)
    with pytest.raises(BadInput, match="own recipe"):
        hae.export.cv(trained(recipe), Recipe.for_molecule(one, "coordinates"))
    assert set(function.atoms) <= set(atom_names(topology))
