"""Molecules: features that a turned or moved molecule does not change, and recipes that need no other file."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.spatial.transform import Rotation

import hae.data.trajectories
from hae.data.molecules import Recipe, align
from hae.data.tables import table_frames
from hae.data.trajectories import load_structure, read_trajectories, with_positions, write_movie
from hae.errors import BadInput

mdtraj = pytest.importorskip("mdtraj")
PDB = Path(__file__).parents[2] / "pipelines" / "stages" / "alanine-dipeptide.pdb"
HEAVY = ("ACE1-CH3", "ACE1-C", "ACE1-O", "ALA2-N", "ALA2-CA", "ALA2-CB", "ALA2-C", "ALA2-O", "NME3-N", "NME3-C")


@pytest.fixture(scope="module")
def structure():
    return load_structure(PDB)


@pytest.fixture(scope="module")
def shaken(structure):
    """The molecule 300 times, each atom shaken and the whole turned and moved."""
    rng = np.random.default_rng(0)
    xyz = structure.xyz[0] + rng.normal(scale=0.01, size=(300, 22, 3))
    xyz = np.einsum("nij,naj->nai", Rotation.random(300, random_state=1).as_matrix(), xyz) + rng.normal(size=(300, 1, 3))
    return mdtraj.Trajectory(xyz.astype(np.float32), structure.topology)


def turned(trajectory, seed=5):
    rng = np.random.default_rng(seed)
    turn = Rotation.random(len(trajectory), random_state=seed).as_matrix()
    xyz = np.einsum("nij,naj->nai", turn, trajectory.xyz) + rng.normal(size=(len(trajectory), 1, 3))
    return mdtraj.Trajectory(xyz.astype(np.float32), trajectory.topology)


def test_align_is_the_least_squares_rotation():
    rng = np.random.default_rng(3)
    reference = rng.normal(size=(10, 3))
    reference -= reference.mean(axis=0)
    positions = rng.normal(size=(50, 10, 3))
    for frame, moved in zip(positions, align(positions, reference), strict=True):
        best, distance = Rotation.align_vectors(reference, frame - frame.mean(axis=0))
        assert np.allclose(moved, best.apply(frame - frame.mean(axis=0)), atol=1e-9)
        assert np.linalg.norm(moved - reference) == pytest.approx(distance)


def test_align_never_mirrors():
    reference = np.random.default_rng(4).normal(size=(6, 3))
    reference -= reference.mean(axis=0)
    mirrored = reference * [1, 1, -1]
    moved = align(mirrored[None], reference)[0]
    assert np.linalg.det(np.linalg.lstsq(mirrored, moved, rcond=None)[0]) == pytest.approx(1)
    assert not np.allclose(moved, reference, atol=0.1)


@pytest.mark.parametrize("kind", ["coordinates", "distances", "torsions"])
def test_features_do_not_change_when_the_molecule_is_turned_and_moved(structure, shaken, kind):
    recipe = Recipe.for_molecule(structure, kind, labels=["phi", "psi"])
    here, there = recipe.features(shaken), recipe.features(turned(shaken))
    assert here.values.dtype == np.float32 and here.values.std() > 1e-3
    assert np.allclose(here.values, there.values, atol=3e-5)  # float32 positions
    assert np.allclose(here.labels, there.labels, atol=1e-4)


def test_what_the_default_features_are(structure, shaken):
    recipe = Recipe.for_molecule(structure, labels=["phi", "psi"])
    frames = recipe.features(shaken, name="w", first_frame=100)
    assert recipe.atoms == HEAVY
    assert frames.features[:6] == ("CH3_x", "CH3_y", "CH3_z", "ACE1-C_x", "ACE1-C_y", "ACE1-C_z")
    assert frames.units == ("nm",) * 30 and "CA_x" in frames.features
    assert frames.label_units == ("rad", "rad") and frames.label_periods == (2 * np.pi, 2 * np.pi)
    assert list(frames.frame[:2]) == [100, 101] and set(frames.trajectory) == {"w"}
    positions = frames.values.reshape(300, 10, 3)
    assert np.allclose(positions.mean(axis=1), 0, atol=1e-6)
    spread = np.linalg.norm(positions - np.array(recipe.reference), axis=2)
    assert np.sqrt(np.mean(spread**2)) < 0.01 * np.sqrt(3), "shaken by 0.01 nm an axis"


def test_distances_and_torsions_are_those_of_the_positions(structure, shaken):
    atoms = {str(atom): atom.index for atom in structure.topology.atoms}
    recipe = Recipe.for_molecule(structure, "distances", pairs=[("CA", "CB"), ("ACE1-C", "NME3-N")])
    frames = recipe.features(shaken)
    assert frames.features == ("d(CA-CB)", "d(C-N)")
    between = shaken.xyz[:, atoms["ALA2-CA"]] - shaken.xyz[:, atoms["ALA2-CB"]]
    assert np.allclose(frames.values[:, 0], np.linalg.norm(between, axis=1), atol=1e-6)
    assert Recipe.for_molecule(structure, "distances").features(shaken).n_features == 45

    recipe = Recipe.for_molecule(structure, "torsions", torsions=["phi"], labels={"mine": ["ACE1-C", "ALA2-N", "CA", "ALA2-C"]})
    frames = recipe.features(shaken)
    assert frames.features == ("sin(phi)", "cos(phi)") and frames.units == ("", "")
    a, b, c, d = (shaken.xyz[:, atoms[name]].astype(float) for name in ("ACE1-C", "ALA2-N", "ALA2-CA", "ALA2-C"))
    n1, n2 = np.cross(b - a, c - b), np.cross(c - b, d - c)
    cosine = np.sum(n1 * n2, axis=1) / np.linalg.norm(n1, axis=1) / np.linalg.norm(n2, axis=1)
    sign = np.sign(np.sum(n1 * (d - c), axis=1))
    assert np.allclose(frames.values[:, 1], cosine, atol=1e-4)
    assert np.allclose(frames.labels["mine"], sign * np.arccos(cosine), atol=1e-3)


@pytest.mark.parametrize("kind", ["coordinates", "distances", "torsions"])
def test_a_recipe_read_from_its_text_gives_the_same_numbers(structure, shaken, kind):
    recipe = Recipe.for_molecule(structure, kind, labels=["phi", "psi"])
    again = Recipe.from_json(recipe.to_json())
    assert again == recipe
    assert np.array_equal(again.features(shaken).values, recipe.features(shaken).values)


def test_a_recipe_finds_its_atoms_by_name_in_another_order(structure, shaken):
    order = np.random.default_rng(0).permutation(22)
    topology = mdtraj.Topology()
    chain = topology.add_chain()
    for name, number in (("NME", 3), ("ACE", 1), ("ALA", 2)):
        residue = topology.add_residue(name, chain, resSeq=number)
        for i in order:
            atom = structure.topology.atom(int(i))
            if atom.residue.name == name:
                topology.add_atom(atom.name, atom.element, residue)
    index = {str(atom): atom.index for atom in structure.topology.atoms}
    other = mdtraj.Trajectory(shaken.xyz[:, [index[str(atom)] for atom in topology.atoms]], topology)
    recipe = Recipe.for_molecule(structure, labels=["phi", "psi"])
    assert np.array_equal(recipe.features(other).values, recipe.features(shaken).values)


def test_a_table_recipe_takes_its_columns_and_needs_no_labels_of_new_data():
    table = pd.DataFrame({"a": [1.0, 2, 3], "b": [4.0, 5, 6], "angle": [0.1, 0.2, 0.3]})
    frames = table_frames(table, "x.csv", labels=["angle"], units={"a": "nm"}, periods={"angle": 6.28})
    recipe = Recipe.from_json(Recipe.for_table(frames).to_json())
    again = recipe.features(table[["angle", "b", "a"]], "y.csv")
    assert again.features == ("a", "b") and np.array_equal(again.values, frames.values)
    assert again.units == frames.units and again.label_periods == (6.28,)
    assert recipe.features(table[["b", "a"]], "y.csv", labels=False).labels.shape == (3, 0)
    with pytest.raises(BadInput, match=r"y\.csv: no column 'a'"):
        recipe.features(table[["b"]], "y.csv", labels=False)


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"version": 2}', '{"version": 1, "kind": "columns"}'])
def test_what_is_not_a_recipe_is_refused(text):
    with pytest.raises(BadInput, match=r"^recipe: "):
        Recipe.from_json(text)


def test_a_molecule_cut_by_a_periodic_box_is_made_whole(structure, shaken):
    recipe = Recipe.for_molecule(structure, labels=["phi", "psi"])
    box = 2.0
    cut = mdtraj.Trajectory(
        shaken.xyz % box, structure.topology, unitcell_lengths=np.full((300, 3), box), unitcell_angles=np.full((300, 3), 90.0)
    )
    assert np.ptp(cut.xyz, axis=1).max() > 1.5, "some frames are cut"
    assert np.allclose(recipe.features(cut).values, recipe.features(shaken).values, atol=1e-5)
    assert np.allclose(recipe.features(cut).labels, recipe.features(shaken).labels, atol=1e-3)
    distances = Recipe.for_molecule(structure, "distances")
    assert np.allclose(distances.features(cut).values, distances.features(shaken).values, atol=1e-5)


@pytest.mark.parametrize("kind", ["coordinates", "distances", "torsions"])
def test_a_box_of_length_zero_is_no_box(structure, shaken, kind):
    recipe = Recipe.for_molecule(structure, kind, labels=["phi"])
    boxed = mdtraj.Trajectory(shaken.xyz, structure.topology, unitcell_lengths=np.zeros((300, 3)), unitcell_angles=np.full((300, 3), 90.0))
    assert np.array_equal(recipe.features(boxed).values, recipe.features(shaken).values)
    assert recipe.features(boxed).labels.equals(recipe.features(shaken).labels)


def test_files_are_read_in_pieces_and_give_the_same(structure, shaken, tmp_path, monkeypatch):
    files = {}
    for name, rows in (("one", slice(0, 180)), ("two", slice(180, 300))):
        files[name] = tmp_path / f"{name}.dcd"
        shaken[rows].save(str(files[name]))
    recipe = Recipe.for_molecule(structure, labels=["phi", "psi"])
    at_once = read_trajectories(recipe, files, structure)
    monkeypatch.setattr(hae.data.trajectories, "PIECE_BYTES", 50 * 12 * 22)
    in_pieces = read_trajectories(recipe, files, structure)
    assert np.allclose(at_once.values, recipe.features(shaken).values, atol=1e-6)
    for name in ("values", "frame", "trajectory"):
        assert np.array_equal(getattr(at_once, name), getattr(in_pieces, name)), name
    assert at_once.frame.tolist() == [*range(180), *range(120)] and set(at_once.trajectory[:180]) == {"one"}
    assert len(read_trajectories(recipe, files, structure, labels=False).labels.columns) == 0


def test_reading_prints_nothing(structure, shaken, tmp_path, capfd):
    shaken.save(str(tmp_path / "a.dcd"))
    capfd.readouterr()
    read_trajectories(Recipe.for_molecule(structure), {"a": tmp_path / "a.dcd"}, structure)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("kind", ["dcd", "xtc", "trr"])
def test_files_that_cannot_be_used_are_named_with_the_reason(structure, shaken, tmp_path, kind):
    path = tmp_path / f"walker.{kind}"
    shaken.save(str(path))
    whole = path.read_bytes()
    recipe = Recipe.for_molecule(structure)

    def refused(reason):
        with pytest.raises(BadInput, match=reason) as error:
            read_trajectories(recipe, {"walker": path}, structure)
        assert str(path) in str(error.value) and "\n" not in str(error.value)

    path.write_bytes(whole[: len(whole) // 2 + 37])
    if kind == "dcd":  # the one kind that knows how many frames were to come, and is read as far as it goes
        with pytest.warns(UserWarning, match="ended early"):
            assert len(read_trajectories(recipe, {"walker": path}, structure)) == len(shaken) // 2 - 1
    else:
        refused("can't be read")
    path.write_bytes(whole[:60])
    refused("can't be read")
    path.write_bytes(b"")
    refused("can't be read|no frames")
    path.write_text("hello " * 100)
    refused("can't be read")
    path.unlink()
    refused("no such file")
    shaken.atom_slice(range(15)).save(str(path))
    refused("15 atoms, but the topology has 22")


@pytest.mark.parametrize("together", [None, 4])
def test_a_file_that_breaks_off_is_said_with_the_last_frame_that_can_be_read(structure, shaken, tmp_path, monkeypatch, together):
    """Wherever in a piece of frames the fault is."""
    path = tmp_path / "walker.xtc"
    shaken[:11].save(str(path))
    with mdtraj.open(str(path)) as file:
        tenth = int(file.offsets[9])
    path.write_bytes(path.read_bytes()[: tenth + 40])
    if together is not None:
        monkeypatch.setattr(hae.data.trajectories, "PIECE_BYTES", 12 * structure.n_atoms * together)
    with pytest.raises(BadInput, match=r"walker.xtc: can't be read after frame 9 \("):
        read_trajectories(Recipe.for_molecule(structure), {"walker": path}, structure)


def test_positions_that_are_not_finite_are_refused(structure, shaken, tmp_path):
    broken = shaken[:]
    broken.xyz[17, 3, 1] = np.nan
    broken.save(str(tmp_path / "broken.dcd"))
    with pytest.raises(BadInput, match="frame 17"):
        read_trajectories(Recipe.for_molecule(structure), {"broken": tmp_path / "broken.dcd"}, structure)


def test_topologies_that_cannot_be_used(structure, tmp_path):
    (tmp_path / "text.pdb").write_text("hello\n")
    (tmp_path / "empty.pdb").write_text("")
    (tmp_path / "other.foo").write_text("hello\n")
    for name in ("text.pdb", "empty.pdb", "other.foo", "nothing.pdb"):
        with pytest.raises(BadInput, match=name):
            load_structure(tmp_path / name)
    for choice, reason in (
        ({"atoms": ["CA", "C"]}, "3 atoms are named 'C'; allowed: ACE1-C, ALA2-C, NME3-C"),
        ({"atoms": ["CA", "Q"]}, "no atom 'Q'"),
        ({"atoms": ["CA", "CB"]}, "3 atoms or more"),
        ({"atoms": "foo bar"}, "not a selection"),
        ({"atoms": "name Q"}, "chooses no atom"),
        ({"labels": ["chi1"]}, "no torsion 'chi1'"),
        ({"labels": ["foo"]}, "'foo' is not known"),
        ({"labels": {"mine": ["CA", "CB"]}}, "2 atoms; allowed: four"),
        ({"kind": "distances", "pairs": [("CA", "CA")]}, "two different atoms"),
        ({"kind": "columns"}, "not allowed with a topology"),
    ):
        with pytest.raises(BadInput, match=reason):
            Recipe.for_molecule(structure, **choice)


def test_a_recipe_refuses_a_topology_that_lacks_its_atoms(structure, shaken):
    recipe = Recipe.for_molecule(structure)
    with pytest.raises(BadInput, match="no atom 'NME3-C'"):
        recipe.features(shaken.atom_slice(range(18)))
    with pytest.raises(BadInput, match="takes coordinates of a molecule"):
        recipe.features(pd.DataFrame({"a": [1.0, 2]}), "x.csv")


def test_a_psf_has_names_and_bonds_and_no_positions(tmp_path):
    """Topology files of CHARMM, NAMD and AMBER have no positions: mdtraj's load() refuses them, load_topology() reads them."""
    rows = [f"{i:8d} A    1    ALA  {name:4s} {kind:4s} 0.000000      12.0110           0\n" for i, name, kind in
            [(1, "N", "NH1"), (2, "CA", "CT1"), (3, "C", "C")]]
    path = tmp_path / "three.psf"
    path.write_text("PSF\n\n       1 !NTITLE\n REMARKS\n\n       3 !NATOM\n" + "".join(rows)
                    + "\n       2 !NBOND: bonds\n       1       2       2       3\n\n")
    topology = load_structure(path)
    assert (topology.n_atoms, topology.n_bonds) == (3, 2)
    assert Recipe.for_molecule(topology, "distances", pairs=[("N", "C")]).names == ("d(N-C)",)
    with pytest.raises(BadInput, match="no positions to align to"):
        Recipe.for_molecule(topology, "coordinates", atoms=["N", "CA", "C"])


# Atoms of the recipe -> (place in the recipe, chain, residue, its number, name) as they stand in the file.
MOVIES = {
    "chains, and a residue below zero": (
        ("0:ALA2-CA", "GLY-3-N", "1:ALA2-CA"), [(0, 0, "ALA", 2, "CA"), (1, 0, "GLY", -3, "N"), (2, 1, "ALA", 2, "CA")]),
    "names that are in one chain alone": (
        ("0:ALA1-CA", "GLY2-CA", "1:ALA1-CA", "SER2-CA"),
        [(0, 0, "ALA", 1, "CA"), (1, 0, "GLY", 2, "CA"), (2, 1, "ALA", 1, "CA"), (3, 1, "SER", 2, "CA")]),
    "an order of one's own": (("ALA2-CA", "NME3-N", "ALA2-C"), [(0, 0, "ALA", 2, "CA"), (2, 0, "ALA", 2, "C"), (1, 0, "NME", 3, "N")]),
    "two chains in turn": (
        ("0:ALA1-CA", "1:ALA1-CA", "0:ALA1-C"), [(0, 0, "ALA", 1, "CA"), (2, 0, "ALA", 1, "C"), (1, 1, "ALA", 1, "CA")]),
    "the largest numbers": (
        ("GLU-999-CA", "LYS9999-CA", "LYS10001-CA"), [(0, 0, "GLU", -999, "CA"), (1, 0, "LYS", 9999, "CA"), (2, 0, "LYS", 1, "CA")]),
}


@pytest.mark.parametrize("case", MOVIES)
def test_a_movie_keeps_chains_residues_and_the_places_of_atoms(tmp_path, case):
    """Read back, every atom is where it was. A PDB file has four places for a residue's number: mdtraj writes -3 as 9997."""
    atoms, expected = MOVIES[case]
    values = np.arange(2 * 3 * len(atoms), dtype=float).reshape(2, -1) / 10
    write_movie(tmp_path / "along.pdb", Recipe("coordinates", (), (), atoms=atoms), values)
    movie = load_structure(tmp_path / "along.pdb")
    found = [(atom.residue.chain.index, atom.residue.name, atom.residue.resSeq, atom.name) for atom in movie.topology.atoms]
    assert found == [(chain, *rest) for _, chain, *rest in expected]
    np.testing.assert_allclose(movie.xyz, values.reshape(2, -1, 3)[:, [place for place, *_ in expected]], atol=1e-4)


def test_the_same_movie_is_the_same_file(tmp_path):
    """Whatever the day: DVC goes by the bytes."""
    recipe = Recipe("coordinates", (), (), atoms=("ALA2-CA",))
    write_movie(tmp_path / "one.pdb", recipe, np.ones((2, 3)))
    text = (tmp_path / "one.pdb").read_text()
    assert text.splitlines()[0].split() == ["MODEL", "1"] and text.count("ENDMDL") == 2 and "REMARK" not in text


def test_a_selection_may_take_every_kth_of_its_atoms(structure):
    heavy = Recipe.for_molecule(structure).atoms
    assert Recipe.for_molecule(structure, atoms="heavy every 3").atoms == heavy[::3]
    carbons = Recipe.for_molecule(structure, atoms="element C").atoms
    assert Recipe.for_molecule(structure, atoms="element C every 2").atoms == carbons[::2] and len(carbons) == 6
    with pytest.raises(BadInput, match=r"'heavy every other' is not a selection .*every 2"):
        Recipe.for_molecule(structure, atoms="heavy every other")


def test_atoms_without_positions_are_aligned_to_the_first_frame_there_is(structure, shaken, tmp_path):
    """As of PSF and PRMTOP: the recipe is that of the frame itself, so the first frame lies on its reference to the last bit of float32."""
    shaken[:40].save_dcd(str(tmp_path / "b.dcd"))
    files = {"b": tmp_path / "b.dcd"}
    placed = with_positions(structure.topology, files)
    np.testing.assert_allclose(placed.xyz, shaken.xyz[:1], atol=1e-6)
    recipe = Recipe.for_molecule(placed)
    first = read_trajectories(recipe, files, structure.topology).values[0].reshape(-1, 3)
    np.testing.assert_allclose(first, recipe.reference, atol=1e-5)
    assert with_positions(structure, files) is structure
