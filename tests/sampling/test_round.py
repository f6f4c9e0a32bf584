"""Rounds: the same numbers on any number of cores and after a kill, forces that are the bias's own, walkers that stop alone."""

import json
import multiprocessing
import os
import shutil
import signal
from dataclasses import replace

import mdtraj
import numpy as np
import openmm
import pytest
from disks import fill, small_disk
from export.dipeptide import KINDS, TOPOLOGY
from openmm import app, unit
from sampling.short import FRAMES, SHORT, cut_short, dipeptide, function, go, ranges
from waiting import wait_until

from hae.data.trajectories import read_trajectories
from hae.errors import BadInput
from hae.sampling import plumed_files
from hae.sampling import round as rounds
from hae.sampling.force import Along, Walls
from hae.sampling.metadynamics import Axis, Grid
from hae.sampling.round import run
from hae.sampling.system import Dynamics, Molecule
from hae.sampling.umbrella import Windows


@pytest.mark.parametrize("kind", KINDS)
def test_forces_are_the_slopes_of_the_bias(kind):
    f = function(kind)
    one = mdtraj.load(str(TOPOLOGY))
    x = one.xyz[0][f.indices(one.topology)].astype(float)
    s = f(x)[0]
    grid = Grid(tuple(Axis(v - 2, v + 2, 0.2) for v in s), 1.2, 10.0, 300.0)
    for shift in (-0.3, 0.1, 0.2):
        grid.put(s + shift, 20.0)
    along = Along(f, grid, Walls(s + 0.1, s + 2, np.full(2, 300.0), np.zeros(2)))  # beyond one wall of each
    forces = along.at(x)[1]
    moved = np.zeros_like(x)
    for at in np.ndindex(x.shape):
        moved[at] = 1e-6
        slope = (along.at(x + moved)[0] - along.at(x - moved)[0]) / 2e-6
        moved[at] = 0
        assert -forces[at] == pytest.approx(slope, abs=1e-6 * np.abs(forces).max())
    np.testing.assert_allclose(forces.sum(0), 0, atol=1e-9 * np.abs(forces).max())


def test_a_seed_gives_the_same_files_on_any_number_of_cores(tmp_path):
    told = go(tmp_path / "two", cores=2)
    assert told["nanoseconds"] == pytest.approx(0.024) and not told["faults"]
    go(tmp_path / "one", cores=1)
    names = {"round.json", "topology.pdb", "HILLS", *(name for i in range(3) for name in (f"COLVAR.{i}", f"walker-{i}.dcd"))}
    assert {path.name for path in (tmp_path / "two").iterdir()} == names
    for name in names - {"walker-0.dcd", "walker-1.dcd", "walker-2.dcd"}:  # those hold the time of writing
        assert (tmp_path / "two" / name).read_bytes() == (tmp_path / "one" / name).read_bytes(), name
    go(tmp_path / "other", replace(SHORT, seed=2))
    assert (tmp_path / "other" / "HILLS").read_bytes() != (tmp_path / "one" / "HILLS").read_bytes()
    with pytest.raises(BadInput, match="it is there already"):
        go(tmp_path / "two")


def test_frames_rows_and_hills_belong_together(tmp_path):
    go(tmp_path / "round")
    f = function()
    hills = plumed_files.read(tmp_path / "round" / "HILLS")
    assert len(hills["time"]) == 3 * 2 * FRAMES and hills["height"].max() <= 1.2 * 10 / 9 + 1e-9
    for i in range(3):
        frames = mdtraj.load(str(tmp_path / "round" / f"walker-{i}.dcd"), top=str(TOPOLOGY))
        rows = plumed_files.read(tmp_path / "round" / f"COLVAR.{i}")
        assert len(frames) == len(rows["time"]) == FRAMES
        cvs = f(frames.xyz[:, f.indices(frames.topology)].astype(float))[0]
        np.testing.assert_allclose(np.stack([rows["cv1"], rows["cv2"]], 1), cvs, atol=1e-4)  # a DCD holds float32
        assert (rows["metad.rbias"] <= rows["metad.bias"]).all() and rows["metad.bias"][-1] > 0
    kept = json.loads((tmp_path / "round" / "round.json").read_text())
    assert kept["sampling"]["walkers"] == 3 and len(kept["steepest"]) == 2


@pytest.mark.parametrize(("method", "bias"), [("metadynamics", "HILLS"), ("opes", "KERNELS")])
def test_a_killed_round_goes_on_to_the_same_end(tmp_path, method, bias):
    sampling = replace(SHORT, nanoseconds=0.04, method=method)
    whole = go(tmp_path / "whole", sampling)
    work = tmp_path / ".cut.partial"
    child = multiprocessing.get_context("spawn").Process(target=cut_short, args=(tmp_path / "cut", sampling))
    child.start()
    assert wait_until(lambda: (work / "checkpoint.json").exists() or not child.is_alive(), 120)
    os.kill(child.pid, signal.SIGKILL)
    child.join()
    assert not (tmp_path / "cut").exists() and json.loads((work / "checkpoint.json").read_text())["done"] < 100
    with pytest.raises(BadInput, match="begun with other settings"):
        go(tmp_path / "cut", replace(sampling, seed=3))
    told = go(tmp_path / "cut", sampling)
    assert told["nanoseconds"] == pytest.approx(0.12) and told == whole
    for name in ("COLVAR.0", "COLVAR.2", bias):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
    frames = [mdtraj.load(str(tmp_path / of / "walker-1.dcd"), top=str(TOPOLOGY)).xyz for of in ("cut", "whole")]
    np.testing.assert_array_equal(*frames)
    assert not work.exists()


def test_a_walker_that_is_torn_apart_stops_alone(tmp_path):
    x = mdtraj.load(str(TOPOLOGY)).xyz[0]
    f, molecule, said = function(), dipeptide(), []
    steep = [replace(r, spread=1e-4) for r in ranges(f)]  # springs of 4e10 kJ/mol: no step of 4 fs can follow them
    low = [replace(r, low=r.low + 0.99, high=r.low + 1.01) for r in steep]
    with pytest.raises(BadInput, match=r"no walker is left; walker \d: torn apart at [\d.]+ ps \(CV1 .*steepest it met: .* a nm\)"):
        run(tmp_path / "round", molecule, Dynamics(), f, low, replace(SHORT, nanoseconds=0.2, height=5.0, width=1000.0), cores=2,
            say=lambda done, words: said.append(words))
    assert sum("torn apart" in words for words in said) == 3 and not (tmp_path / "round").exists()
    assert len(x) == 22


def test_a_walker_torn_apart_before_its_first_frame_leaves_no_trajectory_of_none(tmp_path):
    f, x = function(), mdtraj.load(str(TOPOLOGY))
    s = f(x.xyz[0][f.indices(x.topology)].astype(float))[0]
    windows = Windows(s + np.array([[500.0, 0.0], [0.0, 0.0], [0.3, 0.0]]), np.full(2, 2000.0), np.zeros(2))
    told = run(tmp_path / "round", dipeptide(), Dynamics(), f, ranges(f), replace(SHORT, method="umbrella"), windows=windows)
    assert list(told["faults"]) == ["0"] and told["faults"]["0"].startswith("walker 0: torn apart at 0.0 ps (CV1 ")
    files = {path.stem: path for path in (tmp_path / "round").glob("walker-*.dcd")}
    frames = read_trajectories(f.recipe, files, x)  # as the stage prepare does
    assert set(frames.trajectory) == {"walker-1", "walker-2"} and len(frames) == 2 * FRAMES
    assert {path.name for path in (tmp_path / "round").glob("COLVAR.*")} == {"COLVAR.1", "COLVAR.2"}
    assert np.isfinite(plumed_files.read(tmp_path / "round" / "COLVAR.2")["restraint.rbias"]).all()


@pytest.mark.parametrize("moment", ["copyfile", "rmtree"])
def test_a_round_that_is_killed_when_it_has_run_is_not_run_again(tmp_path, monkeypatch, moment):
    monkeypatch.setattr(rounds, "CHECKPOINT_SECONDS", 0.0)
    f, said = function(), []
    s = np.array([(r.low + r.high) / 2 for r in ranges(f)])
    windows = Windows(s + np.array([[-0.3, 0.0], [0.0, 0.0], [0.3, 0.0]]), np.full(2, 2000.0), np.zeros(2))

    def again(settings=SHORT):
        return run(tmp_path / "round", dipeptide(), Dynamics(), f, ranges(f), replace(settings, method="umbrella"), windows=windows,
                   say=lambda *told: said.append(told))

    real = getattr(shutil, moment)

    def ended(*of, **more):
        if len(said) == 2 * FRAMES:
            raise KeyboardInterrupt
        return real(*of, **more)

    with monkeypatch.context() as patch:
        patch.setattr(shutil, moment, ended)
        with pytest.raises(KeyboardInterrupt):
            again()
    assert len(said) == 2 * FRAMES and not (tmp_path / "round").exists()
    with pytest.raises(BadInput, match="begun with other settings"):
        again(replace(SHORT, seed=7))
    told = again()
    assert len(said) == 2 * FRAMES and told["nanoseconds"] == pytest.approx(0.024)
    assert {path.suffix for path in (tmp_path / "round").iterdir()} == {".json", ".pdb", ".dcd", ".0", ".1", ".2"}
    assert len(plumed_files.read(tmp_path / "round" / "COLVAR.1")["time"]) == FRAMES


def test_a_disk_that_is_full_tears_no_walker_apart(tmp_path):
    """It is said, and the same command goes on to the same end once there is room."""
    go(tmp_path / "whole", replace(SHORT, nanoseconds=0.016))
    done = []

    def filled(ns, words):
        if not done:
            done.append(fill(tmp_path / "disk", 0))

    with small_disk(tmp_path / "disk", 4):
        with pytest.raises(BadInput, match=r"sample: walker \d: .*No space left on device.*the same command goes on"):
            go(tmp_path / "disk" / "round", replace(SHORT, nanoseconds=0.016), say=filled)
        done[0].unlink()
        told = go(tmp_path / "disk" / "round", replace(SHORT, nanoseconds=0.016))
        assert not told["faults"]
        for name in ("COLVAR.0", "COLVAR.2", "HILLS"):
            assert (tmp_path / "disk" / "round" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_frames_have_the_box_of_their_moment(tmp_path):
    """Of a system of one's own whose barostat changes it."""
    pdb = app.PDBFile(str(TOPOLOGY))
    pdb.topology.setPeriodicBoxVectors(np.eye(3) * 2.5)
    with open(tmp_path / "box.pdb", "w") as file:
        app.PDBFile.writeFile(pdb.topology, pdb.positions, file)
    system = app.ForceField("amber99sbildn.xml").createSystem(pdb.topology, nonbondedMethod=app.CutoffPeriodic, nonbondedCutoff=1.0,
                                                              constraints=app.HBonds, hydrogenMass=3 * unit.dalton)
    system.addForce(openmm.MonteCarloBarostat(1.0, 300.0, 5))
    molecule = Molecule.of(system, tmp_path / "box.pdb", mdtraj.load(str(TOPOLOGY)).xyz)
    run(tmp_path / "round", molecule, Dynamics(), None, [], replace(SHORT, walkers=1, method="none"))
    sides = mdtraj.load(str(tmp_path / "round" / "walker-0.dcd"), top=str(TOPOLOGY)).unitcell_lengths
    assert len(sides) == FRAMES and len(np.unique(sides[:, 0])) > 1


def test_hills_come_after_whole_steps(tmp_path):
    with pytest.raises(BadInput, match=r"a hill every 0.4 ps; allowed: a multiple of 0.003 ps, a step"):
        run(tmp_path / "round", dipeptide(), Dynamics(step_ps=0.003), None, [], replace(SHORT, method="none"))


@pytest.mark.parametrize(("change", "says"), [
    ({"method": "magic"}, "allowed: metadynamics, opes, umbrella, none"), ({"walkers": 0}, "at least one walker"),
    ({"save_ps": 1.0}, "a multiple of 0.4 ps"), ({"save_ps": 0.1}, "no frame before a hill"),
])
def test_settings_that_can_not_be_are_refused(change, says):
    with pytest.raises(BadInput, match=says):
        replace(SHORT, **change)


def test_a_system_of_other_atoms_is_refused():
    with pytest.raises(BadInput, match="22 atoms, the system has 1"):
        system = openmm.System()
        system.addParticle(1.0)
        Molecule.of(system, TOPOLOGY, mdtraj.load(str(TOPOLOGY)).xyz)
