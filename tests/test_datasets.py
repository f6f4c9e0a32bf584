"""Data to try things on are what they say."""

import numpy as np
import pytest

from hae import datasets
from hae.datasets import alanine_dipeptide, curve, product, torus


@pytest.mark.parametrize("make", [torus, curve, product])
def test_the_same_seed_gives_the_same_rows_and_another_gives_others(make):
    assert make(50).X.equals(make(50).X) and not make(50).X.equals(make(50, seed=1).X)


def test_the_torus_has_pcas_known_eigenvalues():
    values = np.linalg.eigvalsh(np.cov(torus(200_000).X.to_numpy().T))[::-1]
    assert np.allclose(np.cumsum(values)[:2] / values.sum(), [0.4, 0.8], atol=0.005)


def test_labels_tell_all_of_the_shapes():
    data = product(100)
    t, u = data.labels["t"], data.labels["u"]
    assert np.allclose(data.X["2.5 u cos t"], 2.5 * u * np.cos(t)) and np.allclose(curve(10).X["t^2"], curve(10).labels["t"] ** 2)


def test_the_molecule_is_aligned_and_bonded():
    """Frames are centred, bonds are as long as bonds are, and phi and psi visit their known basins."""
    data = alanine_dipeptide()
    atoms = data.X.to_numpy().reshape(len(data.X), -1, 3)
    assert np.abs(atoms.mean(1)).max() < 1e-3
    nearest = np.sort(np.linalg.norm(atoms[:, :, None] - atoms[:, None], axis=-1), axis=-1)[..., 1]
    assert nearest.min() > 0.10 and nearest.max() < 0.20
    assert len(set(data.groups.tolist())) == 8
    assert 0.02 < (data.labels["phi"] > 0).mean() < 0.5 and set(data.labels) == {"phi", "psi"}


def test_it_is_small():
    assert datasets.SHIPPED.stat().st_size < 250_000
