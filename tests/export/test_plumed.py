"""The file for PLUMED, run by PLUMED itself: the same CVs, and the same forces, as of the function from positions."""

import mdtraj
import numpy as np
import pytest
from export.dipeptide import KINDS, TOPOLOGY, frames, trained

import hae.export
from hae.data.molecules import Recipe
from hae.errors import BadInput
from hae.export import clients
from hae.export.card import card_of
from hae.export.plumed import write_plumed


def written(folder, kind, cv=("linear", "tanh", "circular"), ann=False, **more):
    recipe = Recipe.for_molecule(mdtraj.load(str(TOPOLOGY)), kind, **KINDS[kind])
    function = hae.export.cv(trained(recipe, cv, **more), recipe)
    card = card_of(function.encoder, recipe.names, recipe.units, function, [(-3, 3), (-1, 1), (-np.pi, np.pi)], version="7")
    topology, x = frames()
    write_plumed(function, card, function.indices(topology), folder, ann)
    return function, x, function.indices(topology), card


@pytest.mark.acceptance
@pytest.mark.parametrize(("kind", "more"), [
    *((kind, {}) for kind in KINDS),
    ("torsions", {"ann": True}),
    ("coordinates", {"linear_path": True}),
    *(("distances", {"activation": name}) for name in ("silu", "gelu", "relu", "identity")),
])
def test_plumed_gives_the_same_cvs_and_forces(kind, more, tmp_path):
    function, x, at, card = written(tmp_path, kind, **more)
    cvs, jacobian = function(x[:, at])
    answer = clients.ask("plumed", tmp_path, card, x[:, at], at)
    assert answer.client.startswith("PLUMED 2")
    apart = answer.cvs - cvs
    apart[:, 2] = np.angle(np.exp(1j * apart[:, 2]))
    np.testing.assert_allclose(apart, 0, atol=1e-10)
    want = -np.einsum("nk,nkax->nax", cvs, jacobian)
    np.testing.assert_allclose(answer.forces, want, atol=1e-8 * np.abs(want).max())


@pytest.mark.acceptance
@pytest.mark.parametrize("name", ["metad", "opes"])
def test_one_cv_alone_and_the_bias_that_is_ready(name, tmp_path):
    function, x, at, card = written(tmp_path, "torsions", ("linear",))
    text = (tmp_path / "plumed.dat").read_text()
    assert "model version 7" in text and "AT=-3 " in text and "AT=3 " in text and "PRINT ARG=cv1 FILE=COLVAR STRIDE=1" in text
    line = next(line for line in text.splitlines() if line.startswith(f"#{name}:"))
    made = tmp_path / "made"
    (tmp_path / "plumed.dat").write_text(text.replace(line, line.removeprefix("#").replace("FILE=", f"FILE={made}")))
    answer = clients.ask("plumed", tmp_path, card, x[:, at], at)
    np.testing.assert_allclose(answer.cvs[:, 0], function(x[:, at])[0][:, 0], atol=1e-10)
    assert list(tmp_path.glob("made*"))


def test_a_network_that_ann_can_not_do_is_refused(tmp_path):
    with pytest.raises(BadInput, match="without --plumed-ann"):
        written(tmp_path, "torsions", ann=True, linear_path=True)
    assert not list(tmp_path.iterdir())
