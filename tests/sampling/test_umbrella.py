"""Umbrella windows: pooled by MBAR they give the free energy that is known, and they reach over what there is."""

from dataclasses import replace

import mdtraj
import numpy as np
import pytest
from export.dipeptide import TOPOLOGY
from sampling.short import FRAMES, SHORT, dipeptide, function, ranges
from sampling.test_reweighting import KT, TRUTH, T, U, X, walk

from hae.errors import BadInput
from hae.sampling import plumed_files
from hae.sampling.round import run
from hae.sampling.system import Dynamics
from hae.sampling.umbrella import Windows, groups, mbar, pooled


def sampled(number=14, frames=300):
    """Windows over two wells, (N, W) energies of frames in them, where each was seen, and where it lies."""
    windows, _ = Windows.over(np.linspace(-1.6, 1.6, 65)[:, None], [0.0], number, T)
    at = np.concatenate([walk(np.random.default_rng(i), frames, windows.energies(X[:, None])[:, i]) for i in range(number)])
    return windows, windows.energies(X[at][:, None]), np.repeat(np.arange(number), frames), X[at]


def test_windows_that_are_pooled_give_the_free_energy_that_is_known():
    windows, energies, window, x = sampled()
    free = mbar(energies, window, T)
    exact = -np.log(np.exp(-(U[:, None] + windows.energies(X[:, None])) / KT).sum(0))
    np.testing.assert_allclose(free, exact - exact[0], atol=0.7)
    weights = np.exp(pooled(energies, window, T, free) / KT)
    assert -KT * np.log(weights[x > 0].sum() / weights[x <= 0].sum()) == pytest.approx(TRUTH, abs=1.5)
    # frames that are left out count as those that were never there, and a window without any has no free energy
    counts = (window != 3).astype(float)
    there = mbar(energies[window != 3], window[window != 3], T)
    np.testing.assert_allclose(mbar(energies, window, T, counts, start=free), there, atol=1e-5)
    assert np.isnan(there[3]) and np.isfinite(np.delete(there, 3)).all()


@pytest.mark.parametrize(("hole", "number"), [(0.0, 1), (2.0, 2)])
def test_windows_that_do_not_reach_into_each_other_are_groups(hole, number):
    """Between them no frame says anything, and MBAR gives numbers none the less."""
    centres = np.array([0.0, 1.0, 2.0, 3.0]) + hole * np.array([0, 0, 1, 1])
    windows = Windows(centres[:, None], np.array([KT / 0.5**2]), np.zeros(1))
    x = np.random.default_rng(0).normal(centres, np.sqrt(KT / windows.strength), (500, 4)).T.ravel()
    energies, window = windows.energies(x[:, None]), np.repeat(np.arange(4), 500)
    free = mbar(energies, window, T)
    assert np.isfinite(free).all() and groups(energies, window, T, free) == number


@pytest.mark.acceptance
def test_windows_are_pooled_as_pymbar_does():
    pymbar = pytest.importorskip("pymbar")
    _, energies, window, _ = sampled()
    np.testing.assert_allclose(mbar(energies, window, T), pymbar.MBAR((energies / KT).T, np.bincount(window)).f_k, atol=1e-6)


def test_windows_reach_over_what_there_is():
    line, nearest = Windows.over(np.array([[3.0], [0.1], [0.9], [2.1]]), [0.0], 4, T)
    np.testing.assert_allclose(line.centres[:, 0], [0.1, 1.0667, 2.0333, 3.0], atol=1e-3)
    assert nearest.tolist() == [1, 2, 3, 0] and KT / line.strength[0] == pytest.approx((2.9 / 3 / 2) ** 2)
    angle, _ = Windows.over(np.linspace(-3, 3, 20)[:, None], [2 * np.pi], 4, T)
    np.testing.assert_allclose(angle.energies(angle.centres + 2 * np.pi * np.arange(4)[:, None]), angle.energies(angle.centres), atol=1e-9)
    assert angle.energies(np.array([[6.0]])).argmin() == 0
    plane = np.random.default_rng(0).normal(size=(300, 2))
    windows, nearest = Windows.over(plane, [0.0, 0.0], 30, T)
    np.testing.assert_array_equal(windows.centres, plane[nearest])
    lowest = windows.energies(plane).min(1) / KT  # a window reaches each frame
    assert len(set(nearest)) == 30 and lowest.max() <= 0.5 * 4 + 1e-9
    with pytest.raises(BadInput, match="1 window; allowed: 2 or more"):
        Windows.over(plane, [0.0, 0.0], 1, T)


def test_a_round_of_windows_holds_each_walker_where_it_is(tmp_path):
    f, x = function(), mdtraj.load(str(TOPOLOGY))
    s = f(x.xyz[0][f.indices(x.topology)].astype(float))[0]
    windows = Windows(s + np.array([[-0.3, 0.0], [0.0, 0.0], [0.3, 0.0]]), np.full(2, 2000.0), np.zeros(2))
    run(tmp_path / "round", dipeptide(), Dynamics(), f, ranges(f), replace(SHORT, method="umbrella"), windows=windows)
    found = [plumed_files.read(tmp_path / "round" / f"COLVAR.{i}") for i in range(3)]
    for i, table in enumerate(found):
        assert list(table) == ["time", "cv1", "cv2", "restraint.bias", "restraint.rbias"] and len(table["time"]) == FRAMES
        cvs = np.stack([table["cv1"], table["cv2"]], 1)
        np.testing.assert_allclose(table["restraint.bias"], windows.energies(cvs)[:, i], rtol=1e-6)
        assert mdtraj.load(str(tmp_path / "round" / f"window_{i}.pdb")).n_atoms == 22
    assert found[0]["cv1"].mean() < found[1]["cv1"].mean() < found[2]["cv1"].mean()
    cvs = np.concatenate([np.stack([table["cv1"], table["cv2"]], 1) for table in found])
    window, energies = np.repeat([0, 1, 2], FRAMES), windows.energies(cvs)
    np.testing.assert_allclose(np.concatenate([table["restraint.rbias"] for table in found]),
                               pooled(energies, window, T, mbar(energies, window, T)), atol=1e-3)
    assert not list((tmp_path / "round").glob("HILLS*"))
    with pytest.raises(BadInput, match="a window for each walker with umbrella"):
        run(tmp_path / "other", dipeptide(), Dynamics(), f, ranges(f), SHORT, windows=windows)
