"""OPES against PLUMED's own OPES_METAD, on one trajectory of a CV: the same formula, and a Z that is an average of another kind."""

import shutil
import subprocess

import numpy as np
import pytest
from sampling.test_reweighting import KT, T, U, X

from hae.sampling import plumed_files
from hae.sampling.metadynamics import Axis
from hae.sampling.opes import Opes

WIDTH, BARRIER, STEPS = 0.06, 30.0, 3000
SCALE = (1 - KT / BARRIER) * KT


def line():
    return Opes((Axis(-3.0, 3.0, WIDTH),), BARRIER, T)


@pytest.fixture(scope="module")
def walked():
    """(STEPS,) places of a walk in two wells under OPES of this package, and the bias it had at each."""
    bias, random, where = line(), np.random.default_rng(0), 100
    seen, known = [], []
    now = np.array([bias.at(x[None]) for x in X])
    for step in range(10 * STEPS):
        to = where + int(random.integers(-25, 26))
        if 0 <= to < len(X) and random.random() < np.exp(min(0.0, (U[where] + now[where] - U[to] - now[to]) / KT)):
            where = to
        if step % 10 == 9:
            seen.append(X[where])
            known.append(bias.at(X[where][None]))
            bias.add(X[where][None])
            now = np.array([bias.at(x[None]) for x in X]) if step % 100 == 99 else now
    return np.array(seen), np.array(known)


def plumed(folder, s, more=""):
    """PLUMED's COLVAR and KERNELS of the same places. It puts no kernel at the first one."""
    program = shutil.which("plumed")
    if program is None:
        pytest.skip("plumed is not on PATH")
    (folder / "frames.xyz").write_text("".join(f"1\n50 50 50\nC {x:.12g} 0 0\n" for x in s))
    (folder / "plumed.dat").write_text(
        f"p: POSITION ATOM=1 NOPBC\nopes: OPES_METAD ARG=p.x SIGMA={WIDTH} FIXED_SIGMA PACE=1 BARRIER={BARRIER} TEMP={T} "
        f"FMT=%.12g {more}\nPRINT ARG=p.x,opes.* FILE=COLVAR FMT=%.12g\n")
    subprocess.run([program, "driver", "--plumed", "plumed.dat", "--ixyz", "frames.xyz", "--length-units", "nm", "--kt", str(KT)],
                   cwd=folder, check=True, capture_output=True)
    return plumed_files.read(folder / "COLVAR"), plumed_files.read(folder / "KERNELS")


@pytest.mark.acceptance
def test_kernels_and_bias_are_plumeds_where_z_is(tmp_path, walked):
    """Its kernels are places with the weight exp(V / kT); their sum on the grid, over PLUMED's Z, gives PLUMED's bias."""
    colvar, kernels = plumed(tmp_path, walked[0], "COMPRESSION_THRESHOLD=0 KERNEL_CUTOFF=12")
    np.testing.assert_allclose(kernels["p.x"], walked[0][1:], atol=1e-12)
    np.testing.assert_allclose(kernels["logweight"], colvar["opes.bias"][1:] / KT, atol=2e-6)
    bias, apart = line(), []
    norm = np.exp(-BARRIER / KT)  # what PLUMED's sum of weights begins at
    for t in range(1, STEPS):
        node = (walked[0][t] - bias.low[0]) / bias.step[0]
        if t > 1 and abs(node - round(node)) < 1e-6:
            p = bias.density[0][round(node), 0] / norm / colvar["opes.zed"][t - 1]
            apart.append(SCALE * np.log(p + bias.floor) - colvar["opes.bias"][t])
        assert np.log(kernels["height"][t - 1]) == pytest.approx(kernels["logweight"][t - 1])
        bias.put(walked[0][t : t + 1], kernels["height"][t - 1])
        norm += kernels["height"][t - 1]
    assert len(apart) > STEPS / 3 and np.abs(apart).max() < 0.005  # kJ/mol: kernels end at 6 widths here, at 12 there


@pytest.mark.acceptance
def test_plumed_as_it_is_differs_by_less_than_heat(tmp_path, walked):
    """PLUMED averages P over kernels that it merges, this package over the nodes visited. The bias spans 30 kJ/mol."""
    theirs = plumed(tmp_path, walked[0])[0]["opes.bias"]
    apart = (walked[1] - theirs)[STEPS // 2 :]
    assert abs(apart.mean()) < 1 and apart.std() < 0.4 and np.abs(apart).max() < KT
