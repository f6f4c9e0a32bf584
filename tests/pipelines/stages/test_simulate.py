"""Stage simulate: real walkers, short ones; the same bytes for the same seed, and nothing left when one dies."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from hae.data.trajectories import load_structure
from hae.errors import BadInput
from pipelines.params import Simulate
from pipelines.stages import simulate
from pipelines.stages.simulate import run_walkers, set_torsions

pytest.importorskip("openmm")
mdtraj = pytest.importorskip("mdtraj")
SHORT = {"temperature": 700.0, "walkers": 2, "nanoseconds": 0.004, "save_every_ps": 0.4, "seed": 1}


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    folder = tmp_path_factory.mktemp("simulated") / "data" / "raw"
    run_walkers(Simulate(**SHORT), folder, threads=2)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_a_topology_and_one_file_a_walker(raw):
    assert sorted(os.listdir(raw)) == ["topology.pdb", "walker-0.dcd", "walker-1.dcd"]
    assert os.listdir(raw.parent) == ["raw"]
    for i in range(2):
        walker = mdtraj.load(str(raw / f"walker-{i}.dcd"), top=str(raw / "topology.pdb"))
        assert walker.n_frames == 10 and walker.n_atoms == 22
        bonds = np.array([(a.index, b.index) for a, b in walker.topology.bonds])
        lengths = mdtraj.compute_distances(walker, bonds)
        assert lengths.min() > 0.08 and lengths.max() < 0.19, "a molecule of whole bonds"
        assert np.std(mdtraj.compute_phi(walker)[1]) > 0.01, "it moves"
        omega = mdtraj.compute_omega(walker)[1]
        assert np.all(np.abs(omega) > np.pi / 2), "peptide bonds are trans"


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(raw, tmp_path):
    run_walkers(Simulate(**SHORT), tmp_path / "same", threads=1)
    assert contents(tmp_path / "same") == contents(raw)
    run_walkers(Simulate(**{**SHORT, "seed": 2, "walkers": 1}), tmp_path / "same", threads=1)
    other = contents(tmp_path / "same")
    assert other["walker-0.dcd"] != contents(raw)["walker-0.dcd"]
    assert "walker-1.dcd" not in other, "a walker of the run before would be taken for data of this one"


def test_torsions_are_set_and_nothing_else_is_bent(raw):
    molecule = load_structure(raw / "topology.pdb")
    for phi, psi in simulate.STARTS:
        turned = mdtraj.Trajectory(set_torsions(molecule.xyz[0].astype(float), phi, psi), molecule.topology)
        assert np.degrees(mdtraj.compute_phi(turned)[1][0, 0]) == pytest.approx(phi, abs=0.01)
        assert np.degrees(mdtraj.compute_psi(turned)[1][0, 0]) == pytest.approx(psi, abs=0.01)
        angles = [(a, b, c) for a, b, c in _angles(molecule.topology)]
        assert np.allclose(mdtraj.compute_angles(turned, angles), mdtraj.compute_angles(molecule, angles), atol=1e-3)


def _angles(topology):
    neighbours = {atom.index: [] for atom in topology.atoms}
    for a, b in topology.bonds:
        neighbours[a.index].append(b.index)
        neighbours[b.index].append(a.index)
    return [(i, j, k) for j, ends in neighbours.items() for i in ends for k in ends if i < k]


def test_the_molecule_is_l_alanine_with_trans_peptide_bonds(raw):
    molecule = load_structure(raw / "topology.pdb")
    atoms = {atom.name: molecule.xyz[0, atom.index] for atom in molecule.topology.residue(1).atoms}
    n, c, cb = (atoms[name] - atoms["CA"] for name in ("N", "C", "CB"))
    assert np.dot(np.cross(n, c), cb) > 0, "seen from H: CO, R, N clockwise"
    assert np.all(np.abs(mdtraj.compute_omega(molecule)[1]) > np.radians(170))


def test_a_walker_that_dies_is_one_line_and_leaves_what_was_there(raw, tmp_path):
    folder = tmp_path / "data" / "raw"
    folder.mkdir(parents=True)
    (folder / "walker-0.dcd").write_text("here before")
    with pytest.raises(BadInput, match=r"^simulate: walker-\d failed: .*nothing was kept$") as error:
        run_walkers(Simulate(**{**SHORT, "temperature": 1e12, "nanoseconds": 10.0}), folder, threads=2)
    assert "\n" not in str(error.value)
    assert contents(folder) == {"walker-0.dcd": b"here before"} and os.listdir(folder.parent) == ["raw"]


@pytest.mark.parametrize("saved", [0.001, 100.0])
def test_an_interval_without_a_step_or_a_frame_is_refused(tmp_path, saved):
    with pytest.raises(BadInput, match=r"simulate\.save_every_ps: .* is not allowed; allowed: from 0\.004"):
        run_walkers(Simulate(**{**SHORT, "save_every_ps": saved}), tmp_path / "raw", threads=1)
    assert os.listdir(tmp_path) == []


def test_walkers_end_with_a_parent_that_is_killed(tmp_path):
    code = (
        "from pathlib import Path\nfrom pipelines.params import Simulate\nfrom pipelines.stages.simulate import run_walkers\n"
        f"if __name__ == '__main__':\n    run_walkers(Simulate(**{ {**SHORT, 'nanoseconds': 100.0} }), Path('raw'), 2)\n"
    )
    (tmp_path / "job.py").write_text(code)
    environment = {**os.environ, "PYTHONPATH": str(Path(simulate.__file__).parents[3])}
    parent = subprocess.Popen([sys.executable, "job.py"], cwd=tmp_path, env=environment, stderr=subprocess.DEVNULL)
    try:
        walkers = _wait(lambda: [path for path in tmp_path.glob(".raw.partial/*.dcd") if path.stat().st_size > 1000], 60)
        assert len(walkers) >= 1
        children = psutil.Process(parent.pid).children(recursive=True)
        parent.send_signal(signal.SIGKILL)
        parent.wait()
        assert _wait(lambda: not [child for child in children if _runs(child)], 20), "walkers outlived their parent"
    finally:
        parent.kill()


def _runs(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def _wait(ready, seconds: float):
    for _ in range(int(seconds * 10)):
        found = ready()
        if found:
            return found
        time.sleep(0.1)
    return ready()
