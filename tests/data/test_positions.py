"""Molecules in a periodic box: features are those of whole molecules, each in its place."""

import mdtraj
import numpy as np
import pytest

from hae.data.molecules import Recipe
from hae.data.positions import distances, torsions, whole
from hae.errors import BadInput

BOX = 2.0


def chain(n: int, residue: str = "LIG", topology=None):
    """n carbon atoms in a row, bonded in an order that jumps to and fro."""
    topology = mdtraj.Topology() if topology is None else topology
    group = topology.add_residue(residue, topology.add_chain())
    atoms = [topology.add_atom(f"C{i}", mdtraj.element.carbon, group) for i in range(n)]
    for i in reversed(range(n - 1)):
        topology.add_bond(atoms[i], atoms[i + 1])
    return topology


def in_box(topology, xyz, box=BOX):
    """Frames with every atom wrapped into a cubic box."""
    xyz = np.asarray(xyz, dtype=np.float32)
    frames = len(xyz)
    return mdtraj.Trajectory(np.mod(xyz, box), topology, **cubic(frames, box))


def cubic(frames: int, box: float = BOX) -> dict:
    return {"unitcell_lengths": np.full((frames, 3), box), "unitcell_angles": np.full((frames, 3), 90.0)}


def along(n: int, step: float, start=(0.3, 0.4, 0.5)):
    """A zigzag of n atoms along x."""
    return np.array(start) + np.arange(n)[:, None] * np.array([step, 0.02, 0.01]) + np.array([0, 0.05, 0]) * (np.arange(n)[:, None] % 2)


def test_a_chain_longer_than_half_its_box_keeps_its_length():
    """Bonds of 0.15 nm, 1.65 nm from end to end in a box of 2 nm: the nearest image of the end is 0.37 nm from the start."""
    straight = along(12, 0.15)
    raw = in_box(chain(12), [straight, straight + np.array([0.9, 0, 0]), straight + np.array([1.3, 1.7, 0.2])])
    expected = np.linalg.norm(straight[0] - straight[11])
    assert np.allclose(distances(raw, [(0, 11)]), expected, atol=1e-5) and expected > BOX / 2
    spans = np.ptp(whole(raw, list(range(12))), axis=1)
    assert np.allclose(spans, np.ptp(straight, axis=0), atol=1e-5)


def test_a_torsion_of_far_atoms_is_that_of_the_whole_molecule():
    rng = np.random.default_rng(0)
    straight = along(12, 0.15) + rng.normal(scale=0.03, size=(12, 3))
    free = mdtraj.Trajectory(straight[None].astype(np.float32), chain(12))
    four = [(0, 4, 8, 11)]
    wrapped = in_box(chain(12), [straight + np.array([0.7, 0.5, 1.9])])
    assert np.allclose(torsions(wrapped, four), mdtraj.compute_dihedrals(free, four), atol=1e-4)


def test_distances_of_a_molecule_that_is_whole_already_are_left_as_they_are():
    straight = along(12, 0.15)
    raw = in_box(chain(12), [straight])
    raw.xyz = straight[None].astype(np.float32)
    assert np.allclose(distances(raw, [(0, 11), (3, 4)])[0], [np.linalg.norm(straight[a] - straight[b]) for a, b in ((0, 11), (3, 4))])


def two_chains(shifts, apart=0.95, turns=None, bent=True):
    """Two chains side by side, the second moved by whole boxes in some frames, the pair turned as a whole."""
    first, second = along(5, 0.12, (0, 0, 0)), along(5, 0.12, (0, apart, 0))
    both = np.concatenate([first, second])
    both = (both - both.mean(0)) * ([1, 1, 1] if bent else [1, 0, 0])
    both[:, 1] += 0 if bent else apart * np.repeat([-0.5, 0.5], 5)
    frames = []
    for i, shift in enumerate(shifts):
        angle = 0.0 if turns is None else turns[i]
        turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
        frame = both @ turn + [1.0, 1.0, 1.0]
        frame[5:] += np.array(shift) * BOX
        frames.append(frame)
    topology = chain(5, "TWO", chain(5, "ONE"))
    frames = np.array(frames, dtype=np.float32)
    return mdtraj.Trajectory(frames, topology, **cubic(len(frames)))


def test_a_second_chain_goes_to_the_image_of_the_reference():
    """0.95 nm apart in a box of 2 nm, in another image in some frames, in any orientation: the features know nothing of it."""
    shifts = [(0, 0, 0), (0, 1, 0), (0, -1, 0), (1, -2, 3), (0, 0, 0)]
    raw = two_chains(shifts, turns=np.linspace(0, 2, 5))
    recipe = Recipe.for_molecule(two_chains([(0, 0, 0)])[0], atoms="heavy")
    values = recipe.features(raw).values
    assert np.abs(values - values[0]).max() < 1e-4


def test_what_can_t_be_decided_is_said():
    """Half a box apart, on either side the pair looks nearly the same."""
    recipe = Recipe.for_molecule(two_chains([(0, 0, 0)], apart=1.0, bent=False)[0], atoms="heavy")
    with pytest.warns(UserWarning, match="2 of 2 frames: two images of a molecule"):
        recipe.features(two_chains([(0, 0, 0), (0, 1, 0)], apart=1.0, bent=False))


def beads(xyz, box=3.0):
    topology = mdtraj.Topology()
    group = topology.add_residue("ALA", topology.add_chain())
    for i in range(len(xyz)):
        topology.add_atom(f"B{i}", mdtraj.element.boron, group)
    return mdtraj.Trajectory(np.array([xyz], dtype=np.float32), topology, unitcell_lengths=[[box] * 3], unitcell_angles=[[90.0] * 3])


def test_beads_without_bonds_are_taken_as_they_are_where_nothing_spans_half_the_box():
    near, far = beads([[0.5, 0.5, 0.5], [1.2, 0.6, 0.5], [1.5, 0.9, 0.8]]), beads([[0.1, 0.5, 0.5], [2.9, 0.6, 0.5], [1.5, 0.9, 0.8]])
    assert np.allclose(whole(near, [0, 1, 2]), near.xyz)
    assert len(Recipe.for_molecule(near).names) == 9
    with pytest.raises(BadInput, match="no bonds"):
        Recipe.for_molecule(far)


def test_heavy_leaves_out_what_has_no_weight_and_keeps_ions_and_beads():
    topology = mdtraj.Topology()
    group = topology.add_residue("LIG", topology.add_chain())
    kinds = {"C1": mdtraj.element.carbon, "O1": mdtraj.element.oxygen, "N1": mdtraj.element.nitrogen, "H1": mdtraj.element.hydrogen,
             "D1": mdtraj.element.deuterium, "M1": mdtraj.element.virtual, "LP1": mdtraj.element.virtual}
    atoms = {name: topology.add_atom(name, element, group) for name, element in kinds.items()}
    topology.add_bond(atoms["C1"], atoms["O1"])
    for name, element in (("LI", mdtraj.element.lithium), ("HB", mdtraj.element.hydrogen)):  # an ion, and a bead that is taken for hydrogen
        topology.add_atom(name, element, topology.add_residue(name, topology.chain(0)))
    raw = mdtraj.Trajectory(np.random.default_rng(0).normal(size=(1, topology.n_atoms, 3)).astype(np.float32), topology)
    assert [name.rpartition("-")[2] for name in Recipe.for_molecule(raw).atoms] == ["C1", "O1", "N1", "LI", "HB"]
