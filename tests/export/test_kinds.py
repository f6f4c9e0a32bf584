"""A kind of CV that a module does not know is an error there, never numbers by the rule of another kind."""

import mdtraj
import numpy as np
import pandas as pd
import pytest
import torch
from export.dipeptide import KINDS, TOPOLOGY, frames, trained

import hae.export
from hae.data.molecules import Recipe
from hae.export.card import card_of
from hae.export.colvars import write_colvars
from hae.export.compiled import Compiled
from hae.export.cv import PositionsToCVs
from hae.export.encoder import encoder_of
from hae.export.of_features import write_torchscript
from hae.export.plumed import write_plumed
from hae.export.script import script
from hae.importance.intervals import Sampling
from hae.importance.relation import frames_along, relations
from hae.importance.stability import cv_agreement
from hae.network import bottleneck, canonical, kinds
from hae.network.hierarchy import HierarchicalNetwork
from hae.training.perceptrons import Perceptrons
from hae.training.steepness import Steepness

NEW = "logistic"
X = np.random.default_rng(0).normal(size=(20, 3))


def network() -> HierarchicalNetwork:
    return HierarchicalNetwork.mlp(3, (NEW,), hidden=(4,)).double().reset(0)


def function() -> PositionsToCVs:
    """A network of torsions whose CV is of the new kind."""
    recipe = Recipe.for_molecule(mdtraj.load(str(TOPOLOGY)), "torsions", **KINDS["torsions"])
    return hae.export.cv(trained(recipe, (NEW,), hidden=(4,)), recipe)


def forces() -> list:
    pytest.importorskip("openmm", reason="OpenMM is not installed here")
    made = function()
    return hae.export.openmm_force(trained(made.recipe, (NEW,), hidden=(4,)), made.recipe, frames(1)[0])


def exported(write, folder):
    made = function()
    card = card_of(made.encoder, made.recipe.names, made.recipe.units, made)
    return write(made, card, folder)


def steepness() -> None:
    net = HierarchicalNetwork.mlp(3, (NEW,), hidden=(4,), members=1).requires_grad_(False)
    for parameter in net.encoder.parameters():
        parameter.grad = torch.zeros_like(parameter)
    encoder = Perceptrons(net.encoder, members=1, batch_size=5)
    pre = encoder.forward(torch.ones(1, 3, 5))[:, 0]
    Steepness(encoder, net.bottleneck, smooth=1.0)(pre, pre)


# What needs a table of its own for each kind: it raises also where the network and the width and period of the kind are known.
OF_ITS_OWN = {
    "canonical form": lambda folder: canonical.canonicalise(network(), X),
    "steepness": lambda folder: steepness(),
    "CVs in NumPy": lambda folder: encoder_of(network())(X),
    "compiled CVs": lambda folder: Compiled(function()).plain,
    "OpenMM": lambda folder: forces(),
    "PLUMED": lambda folder: exported(lambda f, card, to: write_plumed(f, card, range(len(f.atoms)), to), folder),
    "Colvars": lambda folder: exported(lambda f, card, to: write_colvars(f, card, range(len(f.atoms)), to), folder),
    "a script": lambda folder: exported(lambda f, card, to: script(f.encoder, card), folder),
    "TorchScript": lambda folder: exported(lambda f, card, to: write_torchscript(f.encoder, card, to), folder),
}
BY_PERIOD = {
    "coordinates": lambda folder: network().coordinates(torch.from_numpy(X)),
    "CVs": lambda folder: network().bottleneck.publish(torch.ones(5, 1).double()),
    "matched": lambda folder: network().bottleneck.read(torch.ones(5, 1).double()),
    "a card": lambda folder: card_of(encoder_of(network()), "abc", ("",) * 3),
    "periods": lambda folder: function().periods,
    "agreement": lambda folder: cv_agreement(X, X, (NEW,) * 3),
    "frames along": lambda folder: frames_along(X, 0, NEW),
    "relations": lambda folder: relations([X, X], (NEW,), [pd.DataFrame(X)] * 2, [None] * 3, Sampling.of(20)),
}


@pytest.mark.parametrize("place", [*OF_ITS_OWN, *BY_PERIOD])
def test_a_kind_of_known_width_alone_gives_no_numbers(place, monkeypatch, tmp_path):
    monkeypatch.setitem(kinds.WIDTHS, NEW, 1)
    with pytest.raises(KeyError, match=NEW):
        (OF_ITS_OWN | BY_PERIOD)[place](tmp_path)


@pytest.mark.parametrize("place", OF_ITS_OWN)
def test_a_kind_that_the_network_knows_gives_no_numbers_where_it_was_forgotten(place, monkeypatch, tmp_path):
    for table, value in ((kinds.WIDTHS, 1), (kinds.PERIODS, None), (bottleneck.SQUASH, torch.sigmoid)):
        monkeypatch.setitem(table, NEW, value)
    with pytest.raises(KeyError, match=NEW):
        OF_ITS_OWN[place](tmp_path)
