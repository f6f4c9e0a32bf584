"""The files for Colvars, read by LAMMPS: the same CVs and forces, in a run under metadynamics too."""

import shutil
import subprocess

import mdtraj
import numpy as np
import pytest
from export.dipeptide import KINDS, TOPOLOGY, frames, trained

import hae.export
from hae.data.molecules import Recipe
from hae.errors import BadInput
from hae.export import clients
from hae.export.card import card_of
from hae.export.colvars import write_colvars


def written(folder, kind, cv=("linear", "tanh", "circular"), **more):
    recipe = Recipe.for_molecule(mdtraj.load(str(TOPOLOGY)), kind, **KINDS[kind])
    function = hae.export.cv(trained(recipe, cv, **more), recipe)
    card = card_of(function.encoder, recipe.names, recipe.units, function, [(-3, 3), (-1, 1), (-np.pi, np.pi)], version="7")
    topology, x = frames()
    write_colvars(function, card, function.indices(topology), folder)
    return function, x, function.indices(topology), card


@pytest.mark.acceptance
@pytest.mark.parametrize(("kind", "more"), [
    ("torsions", {}),
    ("distances", {}),
    ("torsions", {"linear_path": True}),
    ("distances", {"linear_path": True, "hidden": (5,)}),
    *(("distances", {"activation": name}) for name in ("silu", "gelu", "relu", "identity")),
])
def test_lammps_gives_the_same_cvs_and_forces(kind, more, tmp_path):
    function, x, at, card = written(tmp_path, kind, **more)
    cvs, jacobian = function(x[:, at])
    answer = clients.ask("colvars", tmp_path, card, x[:, at], at)
    assert answer.client.startswith("LAMMPS")
    np.testing.assert_allclose(answer.cvs, cvs, atol=1e-10)
    want = -np.einsum("nk,nkax->nax", cvs, jacobian)
    np.testing.assert_allclose(answer.forces, want, atol=1e-10 * np.abs(want).max())


@pytest.mark.acceptance
@pytest.mark.parametrize("cv", [("linear", "linear"), ("circular",)])
def test_a_run_under_metadynamics_goes_along_the_cvs(cv, tmp_path):
    """Atoms on springs: the CVs that Colvars writes are those of the positions that LAMMPS writes, and the hills push."""
    function, x, at, _ = written(tmp_path, "torsions", cv)
    text = (tmp_path / "cvs.colvars").read_text()
    head, said, block = text.partition("#metadynamics {")
    ready = head + said.lstrip("#") + block.replace("\n#", "\n").replace("newHillFrequency 100", "newHillFrequency 10")
    (tmp_path / "cvs.colvars").write_text(ready.replace("colvarsTrajFrequency 100", "colvarsTrajFrequency 50"))
    positions = 10 * x[0, at]
    atoms = [f"{number + 1} 1 {' '.join(map(repr, r.tolist()))}" for number, r in zip(at, positions)]
    low, high = positions.min() - 20, positions.max() + 20
    (tmp_path / "atoms.txt").write_text("\n".join(
        ["atoms", "", f"{len(at)} atoms", "1 atom types", *(f"{low} {high} {a}lo {a}hi" for a in "xyz"), "", "Masses", "", "1 12", "",
         "Atoms", "", *atoms, ""]))  # fmt: skip
    (tmp_path / "in.lmp").write_text("\n".join([
        "units real", "atom_style atomic", "atom_modify map yes", "boundary s s s", "read_data atoms.txt", "pair_style zero 10",
        "pair_coeff * *", "timestep 1", "fix move all nve", "fix springs all spring/self 20", "fix warm all langevin 300 300 100 7",
        "fix cvs all colvars cvs.colvars output out", "dump all all custom 50 x.txt id x y z",
        "dump_modify all sort id format float %.17g", "run 500", ""]))  # fmt: skip
    subprocess.run([shutil.which("lmp"), "-in", "in.lmp", "-log", "none"], cwd=tmp_path, check=True, capture_output=True)
    rows = [line.split() for line in (tmp_path / "x.txt").read_text().splitlines()]
    found = np.array([row for row in rows if len(row) == 4 and row[0].isdecimal()], dtype=float).reshape(11, len(at), 4)
    moved = np.empty((11, len(at), 3))
    moved[:, np.argsort(at)] = found[:, :, 1:] / 10
    said = np.array([line.split()[1:] for line in (tmp_path / "out.colvars.traj").read_text().splitlines() if line[0] != "#"], dtype=float)
    want = function(moved)[0]
    assert want.std(0).min() > 1e-3
    np.testing.assert_allclose(said, want, atol=1e-10)
    assert "metadynamics" in (tmp_path / "out.colvars.state").read_text()


def test_coordinates_are_refused_with_what_to_do(tmp_path):
    with pytest.raises(BadInput, match=r"not aligned coordinates; allowed: hae export plumed .* torsions or distances"):
        written(tmp_path, "coordinates")
    assert not list(tmp_path.iterdir())


def test_the_files_say_where_they_come_from_and_what_they_need(tmp_path):
    _, _, at, card = written(tmp_path, "distances")
    text = (tmp_path / "cvs.colvars").read_text()
    assert "model version 7" in text and "units real" in text and "upperWalls 3\n" in text and "#metadynamics {" in text
    assert f"period {2 * np.pi:.17g}" in text and "walls_cv3" not in text  # a circular CV has a period, and no walls
    assert all(f"atomNumbers {number + 1} " in text for number in at)
    assert np.loadtxt(tmp_path / "layer1_weights.txt").shape == (9, len(card.features))
