"""The file for PLUMED, run by PLUMED itself: the same CVs, and the same forces, as of the function from positions."""

import mdtraj
import numpy as np
import pytest
from export.dipeptide import KINDS, TOPOLOGY, frames, trained

import hae.export
from hae.data.molecules import Recipe
from hae.errors import BadInput
from hae.export.card import card_of
from hae.export.plumed import write_plumed


def written(folder, kind, cv=("linear", "tanh", "circular"), ann=False, **more):
    recipe = Recipe.for_molecule(mdtraj.load(str(TOPOLOGY)), kind, **KINDS[kind])
    function = hae.export.cv(trained(recipe, cv, **more), recipe)
    card = card_of(function.encoder, recipe.names, recipe.units, function, [(-3, 3), (-1, 1), (-np.pi, np.pi)], version="7")
    topology, x = frames()
    write_plumed(function, card, function.indices(topology), folder, ann)
    return function, x, function.indices(topology)


def in_plumed(folder, positions, name):
    """CVs by name and forces -d/dx of it, of each frame, by PLUMED's kernel: a bias of slope 1 along it, and no walls."""
    plumed = pytest.importorskip("plumed", reason="PLUMED's wheel is not installed here", exc_type=ImportError)
    text = (folder / "plumed.dat").read_text().splitlines()
    lines = [line for line in text if "_WALLS" not in line and not line.startswith(("PRINT", "#"))]
    lines = [line.replace("reference.pdb", str(folder / "reference.pdb")) for line in lines]
    found, n = [], positions.shape[1]
    kernel = plumed.Plumed()
    for key, of in (("setNatoms", n), ("setMDEngine", "test"), ("setTimestep", 1.0), ("setLogFile", str(folder / "log"))):
        kernel.cmd(key, of)
    kernel.cmd("init")
    for line in "\n".join(lines).splitlines():
        kernel.cmd("readInputLine", line)
    kernel.cmd("readInputLine", f"PRINT ARG={name} FILE={folder}/COLVAR.{name} FMT=%.15f")
    kernel.cmd("readInputLine", f"RESTRAINT ARG={name} AT=0 SLOPE=1 KAPPA=0")
    for step, x in enumerate(positions):
        forces, x = np.zeros((n, 3)), np.ascontiguousarray(x)
        for key, of in (("setStep", step), ("setPositions", x), ("setMasses", np.ones(n)), ("setCharges", np.zeros(n)),
                        ("setForces", forces), ("setBox", np.zeros((3, 3))), ("setVirial", np.zeros((3, 3)))):  # fmt: skip
            kernel.cmd(key, of)
        kernel.cmd("calc")
        found.append(forces.copy())
    del kernel  # which writes what is left
    return np.loadtxt(folder / f"COLVAR.{name}")[:, 1], np.array(found)


@pytest.mark.parametrize(("kind", "more"), [
    *((kind, {}) for kind in KINDS),
    ("torsions", {"ann": True}),
    ("coordinates", {"linear_path": True}),
    *(("distances", {"activation": name}) for name in ("silu", "gelu", "relu", "identity")),
])
def test_plumed_gives_the_same_cvs_and_forces(kind, more, tmp_path):
    function, x, at = written(tmp_path, kind, **more)
    cvs, jacobian = function(x[:, at])
    for k in range(3):
        got, forces = in_plumed(tmp_path, x, f"cv{k + 1}")
        want = np.zeros_like(x)
        want[:, at] = -jacobian[:, k]
        np.testing.assert_allclose(got, cvs[:, k], atol=1e-10)
        np.testing.assert_allclose(forces, want, atol=1e-8 * np.abs(want).max())


def test_one_cv_alone_and_the_bias_that_is_ready(tmp_path):
    function, x, at = written(tmp_path, "torsions", ("linear",))
    np.testing.assert_allclose(in_plumed(tmp_path, x, "cv1")[0], function(x[:, at])[0][:, 0], atol=1e-10)
    text = (tmp_path / "plumed.dat").read_text()
    assert "model version 7" in text and "AT=-3 " in text and "AT=3 " in text and "PRINT ARG=cv1 FILE=COLVAR STRIDE=1" in text
    for name in ("metad", "opes"):
        line = next(line for line in text.splitlines() if line.startswith(f"#{name}:"))
        folder = tmp_path / name
        folder.mkdir()
        ready = text.replace(line, line.removeprefix("#").replace("FILE=", f"FILE={folder}/"))
        (folder / "plumed.dat").write_text(ready)
        in_plumed(folder, x, "cv1")
        assert list(folder.glob("HILLS")) or list(folder.glob("KERNELS"))


def test_a_network_that_ann_can_not_do_is_refused(tmp_path):
    with pytest.raises(BadInput, match="without --plumed-ann"):
        written(tmp_path, "torsions", ann=True, linear_path=True)
    assert not list(tmp_path.iterdir())
