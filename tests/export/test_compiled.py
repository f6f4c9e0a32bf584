"""The compiled way to CVs is the plain one, at one frame."""

import pickle

import mdtraj
import numpy as np
import pytest
from export.dipeptide import KINDS, TOPOLOGY, frames, trained

import hae.export
from hae.data.molecules import Recipe
from hae.errors import BadInput
from hae.export.compiled import Compiled


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("more", [{}, {"linear_path": True}, *({"activation": a} for a in ("silu", "gelu", "relu", "identity"))])
def test_cvs_and_jacobian_are_those_of_numpy(kind, more):
    topology, x = frames()
    recipe = Recipe.for_molecule(mdtraj.load(str(TOPOLOGY)), kind, **KINDS[kind])
    function = hae.export.cv(trained(recipe, **more), recipe)
    compiled = pickle.loads(pickle.dumps(Compiled(function)))
    for positions in x[:, function.indices(topology)]:
        cvs, jacobian = function(positions)
        again, slopes = compiled(positions)
        np.testing.assert_allclose(again, cvs, atol=1e-12)
        np.testing.assert_allclose(slopes, jacobian, atol=1e-11 * np.abs(jacobian).max())


@pytest.mark.parametrize("kind", KINDS)
def test_positions_without_an_answer_are_refused(kind):
    topology, x = frames(1)
    recipe = Recipe.for_molecule(mdtraj.load(str(TOPOLOGY)), kind, **KINDS[kind])
    function = hae.export.cv(trained(recipe), recipe)
    positions = x[0, function.indices(topology)]
    with pytest.raises(BadInput, match="finite"):
        Compiled(function)(np.nan * positions)
    with pytest.raises(BadInput, match="not defined"):
        Compiled(function)(np.zeros_like(positions))
