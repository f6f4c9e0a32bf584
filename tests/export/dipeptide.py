"""Alanine dipeptide and networks on it, for the tests of exports."""

from pathlib import Path

import mdtraj
import numpy as np
import torch

from hae.network.hierarchy import HierarchicalNetwork

TOPOLOGY = Path(__file__).parents[2] / "pipelines" / "stages" / "alanine-dipeptide.pdb"
KINDS = {"coordinates": {}, "distances": {"atoms": ["ACE1-CH3", "CA", "NME3-C", "CB"]}, "torsions": {"torsions": ["phi", "psi"]}}


def frames(n=4, noise=0.02):
    """n frames of alanine dipeptide, moved by noise, turned and shifted, in float64."""
    one, random = mdtraj.load(str(TOPOLOGY)), np.random.default_rng(0)
    x = one.xyz.astype(float) + random.normal(0, noise, (n, one.n_atoms, 3))
    turns = np.linalg.qr(random.normal(size=(n, 3, 3)))[0]
    turns *= np.sign(np.linalg.det(turns))[:, None, None]
    return one.topology, x @ turns + random.normal(size=(n, 1, 3))


def trained(recipe, cv=("linear", "tanh", "circular"), seed=0, **more):
    """A network with weights, a standardisation and a canonical form of no special kind."""
    network = HierarchicalNetwork.mlp(len(recipe.names), cv, **{"hidden": (9, 7), **more}).double().reset(seed)
    generator = torch.Generator().manual_seed(seed)
    network.scale_by(0.1 * torch.randn(len(recipe.names), generator=generator) + 0.3, [0.2], [0.0], [1.0])
    owner = network.bottleneck.owner
    noise = 0.3 * torch.randn(len(owner), len(owner), generator=generator, dtype=torch.float64)
    circular = torch.tensor([cv[i] == "circular" for i in owner])
    mixing = noise.tril(-1) * (owner[:, None] > owner) * ~circular[:, None] * ~circular
    network.bottleneck.rename(torch.eye(len(owner)).double() + mixing, torch.where(circular, 0.0, 0.2).double())
    for layer in network.encoder.layers:
        torch.nn.init.normal_(layer.bias, std=0.3, generator=generator)
    if network.encoder.path is not None:
        torch.nn.init.normal_(network.encoder.path, std=0.1, generator=generator)
    return network.requires_grad_(False)
