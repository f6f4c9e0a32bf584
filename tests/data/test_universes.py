"""Files of molecules that mdtraj does not take come by MDAnalysis as the same atoms and numbers; real files of five packages are read."""

import gzip
import sys
import warnings

import numpy as np
import pytest

from hae.data.molecules import Recipe, atom_names
from hae.data.trajectories import load_frame, load_structure, read_trajectories
from hae.errors import BadInput

mdtraj = pytest.importorskip("mdtraj")

# Topology, trajectory, frames, atoms, package that wrote them. Trajectories that hold their own atoms stand as both.
REAL = [
    ("adk.psf", "adk_dims.dcd", 98, 3341, "CHARMM, ended early"),
    ("adk_closed_NAMD.psf", "adk_gbis_tmd-fast1_NAMD.dcd", 100, 3341, "NAMD"),
    ("adk.psf", "adk_open.crd", 1, 3341, "CHARMM"),
    ("adk_oplsaa.gro", "adk_oplsaa.xtc", 10, 47681, "GROMACS"),
    ("adk_oplsaa.gro", "adk_oplsaa.trr", 10, 47681, "GROMACS"),
    ("adk_oplsaa.tpr", "adk_oplsaa.xtc", 10, 47681, "GROMACS"),
    ("two_water_gro_multiframe.gro", "two_water_gro_multiframe.gro", 2, 6, "GROMACS"),
    ("cobrotoxin.pdb", "cobrotoxin.xtc", 3, 19385, "GROMACS"),
    ("Amber/bala.prmtop", "Amber/bala.ncdf", 30, 2661, "AMBER"),
    ("Amber/bala.prmtop", "Amber/bala.trj", 30, 2661, "AMBER"),
    ("Amber/ache.prmtop", "Amber/ache.mdcrd", 11, 252, "AMBER"),
    ("Amber/anti.top", "Amber/anti_md1.mdcrd.bz2", 20, 8923, "AMBER, packed"),
    ("Amber/parmed_ala2_solv.parm7", "Amber/parmed_ala2_solv.rst7", 1, 3026, "AMBER"),
    ("lammps/image_vf.data", "lammps/image_vf.lammpstrj", 3, 7, "LAMMPS"),
    ("lammps/chain_initial.data", "lammps/chain_dump_1.lammpstrj", 6, 22, "LAMMPS"),
    ("nmr_neopetrosiamide.pdb", "nmr_neopetrosiamide.pdb", 24, 392, "PDB, models"),
    ("adk_open.pqr", "adk_open.pqr", 1, 3341, "PQR"),
    ("mol2/Molecules.mol2", "mol2/Molecules.mol2", 200, 49, "MOL2"),
    ("2r9r-1b.psf", "2r9r-1b.xyz", 10, 1284, "XYZ"),
    ("coordinates/test.xyz", "coordinates/test.xyz", 5, 5, "XYZ"),
    ("adk_closed.dms", "adk_closed.dms", 1, 3341, "Desmond"),
    ("mmcif/1YJP.cif", "mmcif/1YJP.cif", 1, 66, "mmCIF"),
    ("pdbqt_inputpdbqt.pdbqt", "pdbqt_inputpdbqt.pdbqt", 1, 1805, "AutoDock"),
    ("cobrotoxin.tpr", "cobrotoxin.h5md", 3, 19385, "H5MD"),
    ("argon_npt_compressed.gro", "argon_npt_compressed.tng", 101, 1000, "GROMACS, TNG"),
    ("example_longer.gsd", "example_longer.gsd", 8, 5832, "HOOMD"),
]


@pytest.mark.acceptance
@pytest.mark.parametrize(("topology", "trajectory", "frames", "atoms", "package"), REAL)
def test_real_files_of_md_packages(topology, trajectory, frames, atoms, package, tmp_path):
    """Distances from one atom to five others, against MDAnalysis' own."""
    mda = pytest.importorskip("MDAnalysis")
    from importlib.resources import files

    data = files(pytest.importorskip("MDAnalysisTests")) / "data"
    pytest.importorskip({".h5md": "h5py", ".tng": "pytng", ".gsd": "gsd"}.get((data / trajectory).suffix, "numpy"))
    own_topology = data / topology
    if not own_topology.exists():  # packed there
        own_topology = tmp_path / topology
        own_topology.write_bytes(gzip.decompress((data / f"{topology}.gz").read_bytes()))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        structure = load_structure(own_topology)
        own = getattr(structure, "topology", structure)
        names = atom_names(own)
        chosen = ([i for i, name in enumerate(names) if name.endswith("-CA")] + list(range(len(names))))[:6]
        recipe = Recipe.for_molecule(structure, "distances", pairs=[(names[chosen[0]], names[i]) for i in chosen[1:] if i != chosen[0]])
        found = read_trajectories(recipe, {"a": data / trajectory}, structure)
        reader = {".lammpstrj": "LAMMPSDUMP", ".trj": "TRJ", ".rst7": "RESTRT"}.get((data / trajectory).suffix)
    assert (len(found), own.n_atoms, len(set(names))) == (frames, atoms, atoms)
    if trajectory.endswith(".cif"):  # MDAnalysis needs another package for it
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        positions = np.array(mda.coordinates.core.reader(str(data / trajectory), format=reader, n_atoms=atoms)[0].positions) / 10
    straight = np.linalg.norm(positions[[i for i in chosen[1:] if i != chosen[0]]] - positions[chosen[0]], axis=1)
    box = structure.unitcell_lengths if hasattr(structure, "unitcell_lengths") else None
    near = np.isclose(found.values[0], straight, atol=2e-3)
    assert near.all() or (box is not None and (found.values[0][~near] < straight[~near]).all()), "the nearest image may be nearer"


@pytest.fixture
def dipeptide():
    from pathlib import Path

    return load_structure(Path(__file__).parents[2] / "pipelines" / "stages" / "alanine-dipeptide.pdb")


@pytest.mark.parametrize("ending", ["pqr", "xyz"])
def test_files_written_by_mdanalysis_give_the_same_distances(dipeptide, tmp_path, ending):
    mda = pytest.importorskip("MDAnalysis")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dipeptide.save_pdb(str(tmp_path / "t.pdb"))
        universe = mda.Universe(str(tmp_path / "t.pdb"))
        universe.add_TopologyAttr("charges", np.zeros(22))
        universe.add_TopologyAttr("radii", np.ones(22))
        universe.atoms.write(str(tmp_path / f"t.{ending}"))
        structure = load_structure(tmp_path / f"t.{ending}")
    names = atom_names(structure.topology)
    pairs = [(names[0], names[i]) for i in range(1, 22)]
    found = read_trajectories(Recipe.for_molecule(structure, "distances", pairs=pairs), {"a": tmp_path / f"t.{ending}"}, structure)
    true = np.linalg.norm(dipeptide.xyz[0, 1:] - dipeptide.xyz[0, 0], axis=1)
    assert len(set(names)) == 22 and np.allclose(found.values[0], true, atol=2e-3)
    if ending == "xyz":
        assert [atom.element.symbol for atom in structure.topology.atoms] == [atom.element.symbol for atom in dipeptide.topology.atoms]


@pytest.mark.parametrize("ending", ["trz", "dcd"])
def test_one_frame_is_read_by_whichever_reader_knows_the_file(dipeptide, tmp_path, ending):
    mda = pytest.importorskip("MDAnalysis")
    path = tmp_path / f"t.{ending}"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        universe = mda.Universe.empty(22, trajectory=True, velocities=True)
        with mda.Writer(str(path), n_atoms=22) as file:
            for i in range(4):
                universe.atoms.positions = 10 * dipeptide.xyz[0] + i
                file.write(universe.atoms)
        found = load_frame(path, 2, dipeptide.topology)
        with pytest.raises(BadInput, match=rf"t.{ending}: 4 frames, no frame 4; allowed: the trajectory as it was"):
            load_frame(path, 4, dipeptide.topology)
    assert len(found) == 1 and np.allclose(found.xyz[0], dipeptide.xyz[0] + 0.2, atol=1e-4)


def test_what_no_reader_takes_is_one_line_with_the_whole_list(tmp_path):
    (tmp_path / "t.foo").write_text("hello")
    with pytest.raises(BadInput, match=r"t\.foo: not a topology that can be read .*allowed: topologies PDB, GRO, PSF.*trajectories DCD"):
        load_structure(tmp_path / "t.foo")


def test_without_the_second_reader_a_line_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "MDAnalysis", None)
    (tmp_path / "t.tpr").write_text("hello")
    with pytest.raises(BadInput, match=r"t\.tpr: mdtraj does not read this \.tpr; allowed: pip install MDAnalysis"):
        load_structure(tmp_path / "t.tpr")


def test_the_second_reader_is_not_imported_where_mdtraj_reads(tmp_path):
    import subprocess
    from pathlib import Path

    pdb = Path(__file__).parents[2] / "pipelines" / "stages" / "alanine-dipeptide.pdb"
    code = (f"import sys; from hae.data.trajectories import load_structure; load_structure({str(pdb)!r}); "
            "sys.exit('MDAnalysis' in sys.modules)")
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_thousands_of_pairs_are_found_by_one_look(dipeptide):
    """All pairs of a long chain in less time than a look at every name for each would take."""
    topology = mdtraj.Topology()
    chain = topology.add_chain()
    for i in range(200):
        topology.add_atom("CA", mdtraj.element.carbon, topology.add_residue("ALA", chain, resSeq=i + 1))
    raw = mdtraj.Trajectory(np.random.default_rng(0).normal(size=(3, 200, 3)).astype(np.float32), topology)
    recipe = Recipe.for_molecule(raw, "distances")
    found = recipe.features(raw)
    i, j = np.triu_indices(200, 1)
    assert len(recipe.pairs) == 19_900 and np.allclose(found.values, np.linalg.norm(raw.xyz[:, i] - raw.xyz[:, j], axis=2), atol=1e-5)


def test_atoms_of_one_name_in_a_chain_are_numbered_on():
    topology = mdtraj.Topology()
    residue = topology.add_residue("PA1", topology.add_chain(), resSeq=1)
    for _ in range(3):
        topology.add_atom("C", mdtraj.element.carbon, residue)
    assert atom_names(topology) == ["0:PA11-C#1", "0:PA11-C#2", "0:PA11-C#3"]
