"""What many features cost: the advice can be followed as it stands, and gives as many features as it says."""

import re

import numpy as np
import pytest

from hae.data.molecules import Recipe
from pipelines.project import cost

mdtraj = pytest.importorskip("mdtraj")


@pytest.fixture(scope="module")
def chain():
    topology = mdtraj.Topology()
    residues = topology.add_chain()
    for i in range(300):
        topology.add_atom("CA", mdtraj.element.carbon, topology.add_residue("ALA", residues, resSeq=i + 1))
    return mdtraj.Trajectory(np.random.default_rng(0).normal(size=(1, 300, 3)), topology)


def test_the_advised_selection_is_one_and_has_the_number_of_features_said(chain):
    first, instead = cost.words(Recipe.for_molecule(chain, "distances"), chain)
    assert first.startswith("cost: 44,850 features (distances)")
    selection, number = re.search(r"--atoms '(name CA every \d+)' \(about ([\d,]+)\)", instead).groups()
    assert len(Recipe.for_molecule(chain, "distances", atoms=selection).names) == int(number.replace(",", "")) < cost.MANY


def test_few_features_have_no_word(chain):
    assert cost.words(Recipe.for_molecule(chain, "coordinates", atoms="name CA every 10"), chain) == []
