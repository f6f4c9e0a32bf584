"""The examples in examples/ do what they say: modules of one's own in both hierarchies, peptides that are whole."""

import importlib.util
from pathlib import Path

import mdtraj
import numpy as np
import pytest
import torch
from generators import jacobian

from hae import HierarchicalAutoencoder
from hae.network.scoring import score_frames
from hae.training.baselines import principal_components


def load(name: str):
    spec = importlib.util.spec_from_file_location(name, Path(__file__).parents[1] / "examples" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


digits = load("digits")


@pytest.fixture(scope="module", params=["collective", "boosted"])
def model(request):
    return digits.fit(request.param, digits.images(900), max_epochs=12)


def test_a_convolutional_hierarchy_beats_pca_on_digits_it_has_not_seen(model):
    X = digits.images(900)
    new = digits.images()[900:]
    pca = principal_components(X[model.split_ == "train"], 3)
    found, linear = score_frames(model.network_, new).fve, score_frames(pca, new.astype(np.float64)).fve
    assert found[0] > linear[0] + 0.02
    assert (np.diff(found) > 0.02).all()
    assert model.score(new) == pytest.approx(found[-1], abs=1e-6)


def test_f8_holds_for_modules_of_ones_own(model):
    s = torch.from_numpy(digits.images(4)).double()
    network = model.network_.double()
    slopes = jacobian(network, network.encode(s)).abs().amax((1, 2))
    assert (slopes[~torch.ones(3, 3, dtype=torch.bool).tril()] == 0).all()
    assert (slopes.diagonal() > 1e-4).all()
    network.float()


def test_transform_and_reconstruct_and_a_saved_model(model, tmp_path):
    X = digits.images(50)
    cvs = model.transform(X)
    assert cvs.shape == (50, 3) and model.reconstruct(X, level=1).shape == (50, 64)
    np.testing.assert_allclose(model.inverse_transform(cvs), model.reconstruct(X), atol=1e-4)
    model.save(tmp_path)
    back = HierarchicalAutoencoder.load(tmp_path, digits.conv_network(model.variant))
    np.testing.assert_array_equal(back.transform(X), cvs)
    np.testing.assert_array_equal(back.fit(X, split=np.full(50, "train")).transform(X).shape, (50, 3))  # and may be trained again


def test_a_longer_peptide_has_the_bonds_of_the_short_one_and_no_clash(tmp_path):
    peptide = load("peptide").peptide
    lengths = []
    for n in (1, 3):
        peptide(n, tmp_path / "peptide.pdb")
        one = mdtraj.load(str(tmp_path / "peptide.pdb"))
        bonds = {tuple(sorted((a.index, b.index))) for a, b in one.topology.bonds}
        assert [residue.name for residue in one.topology.residues] == ["ACE", *["ALA"] * n, "NME"] and len(bonds) == one.n_atoms - 1
        lengths.append(mdtraj.compute_distances(one, sorted(bonds))[0])
        atom = {(a.residue.index, a.name): a.index for a in one.topology.atoms}
        alpha = [atom[0, "CH3"], *(atom[k, "CA"] for k in range(1, n + 1)), atom[n + 1, "C"]]
        omegas = [[alpha[k], atom[k, "C"], atom[k + 1, "N"], alpha[k + 1]] for k in range(n + 1)]
        assert (np.abs(mdtraj.compute_dihedrals(one, omegas)) > 2.9).all()  # trans
        heavy = one.topology.select("not element H")
        apart = [(a, b) for a in heavy for b in heavy if a < b and (a, b) not in bonds]
        assert mdtraj.compute_distances(one, apart).min() > 0.2
    assert {round(float(x), 2) for x in lengths[1]} == {round(float(x), 2) for x in lengths[0]}
