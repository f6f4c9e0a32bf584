"""How steep CVs are: known slopes, the chain rule to positions against finite differences, and the words."""

from pathlib import Path

import mdtraj
import numpy as np
import pytest
import torch

from hae.data.jacobian import atoms_read, featurise
from hae.data.molecules import Recipe
from hae.errors import BadInput
from hae.importance.gradients import gradients
from hae.importance.smoothness import CLIFF, STEEP, Gradient, Smoothness, verdict
from hae.network.hierarchy import HierarchicalNetwork

TOPOLOGY = Path(__file__).parents[2] / "pipelines" / "stages" / "alanine-dipeptide.pdb"


def test_a_linear_cv_of_a_table_has_one_gradient_whatever_its_units():
    random = np.random.default_rng(0)
    network = HierarchicalNetwork.mlp(2, ("linear",), hidden=(), activation="identity").double().reset(0)
    with torch.no_grad():
        network.encoder.layers[0].weight.copy_(torch.tensor([[3.0], [0.0]]))
    X = random.normal(size=(500, 2)) * [5.0, 0.1]
    measured = gradients(network, X)
    np.testing.assert_allclose(measured.passages[0], measured.steps, atol=1e-9)
    found = measured.smoothness
    (gradient,) = found.gradients
    np.testing.assert_allclose([gradient.median, gradient.high, gradient.largest], 1)
    assert found.unit == "1/standard deviation" and gradient.verdict == ""
    assert Smoothness.from_json(found.to_json()) == found


@pytest.mark.parametrize("kind", ["coordinates", "torsions", "distances"])
def test_the_gradient_by_positions_is_that_of_finite_differences_and_the_steepest_row_is_named(kind):
    one, random = mdtraj.load(str(TOPOLOGY)), np.random.default_rng(1)
    recipe = Recipe.for_molecule(one, kind)
    at = [[str(atom) for atom in one.topology.atoms].index(name) for name in atoms_read(recipe)]
    positions = one.xyz[:, at].astype(float) + random.normal(0, 0.02, (6, len(at), 3))
    X = featurise(recipe, positions)[0]
    network = HierarchicalNetwork.mlp(X.shape[1], ("linear", "circular"), hidden=(8,)).double().reset(2)
    network.scale_by(X.mean(0), [0.05], [0.0], [1.0])

    def encode(x):
        return network.encode(torch.from_numpy(featurise(recipe, x)[0])).detach().numpy()

    squares = np.zeros((6, 2))
    for atom, axis in np.ndindex(len(at), 3):
        step = np.zeros((len(at), 3))
        step[atom, axis] = 1e-6
        apart = encode(positions + step) - encode(positions - step)
        apart[:, 1] = np.angle(np.exp(1j * apart[:, 1]))
        squares += (apart / 2e-6) ** 2
    want = np.sqrt(squares) / [encode(positions)[:, 0].std(), 1]
    measured = gradients(network, X, recipe, None if kind == "coordinates" else positions)
    found = measured.smoothness
    np.testing.assert_allclose(measured.sizes, want, rtol=1e-6)
    np.testing.assert_allclose([gradient.largest for gradient in found.gradients], want.max(0), rtol=1e-6)
    np.testing.assert_allclose([gradient.median for gradient in found.gradients], np.median(want, axis=0), rtol=1e-6)
    assert [gradient.row for gradient in found.gradients] == want.argmax(0).tolist() and found.unit == "1/nm"
    middle = len(measured.steps) // 2  # a passage goes through the frame, as steep as it gets there
    apart = measured.passages[:, middle + 1] - measured.passages[:, middle - 1]
    np.testing.assert_allclose(apart / (measured.steps[middle + 1] - measured.steps[middle - 1]), want.max(0), rtol=0.01)
    assert (measured.passages[:, middle] == 0).all()
    if kind != "coordinates":
        with pytest.raises(BadInput, match="positions: missing"):
            gradients(network, X, recipe)
        with pytest.raises(BadInput, match=f"positions: their {kind} are not the features"):
            gradients(network, X, recipe, positions[::-1])
    with pytest.raises(BadInput, match="positions: shape"):
        gradients(network, X, recipe, positions[:3])


def test_the_verdict_is_that_of_the_steepest_frame():
    random = np.random.default_rng(2)
    one = mdtraj.load(str(TOPOLOGY))
    recipe = Recipe.for_molecule(one, "distances", pairs=[("CA", "CB")])
    lengths = 0.15 + random.normal(0, 0.01, 400)
    positions = np.zeros((400, 2, 3))
    positions[:, 1, 0] = lengths
    words = []
    for sharpness in (1.0, 300.0, 3000.0):
        network = HierarchicalNetwork.mlp(1, ("tanh",), hidden=(), activation="identity").double().reset(0)
        network.scale_by([0.15], [1.0], [0.0], [1.0])
        with torch.no_grad():
            network.encoder.layers[0].weight.fill_(sharpness)
        found = gradients(network, lengths[:, None], recipe, positions).smoothness
        (gradient,) = found.gradients
        # A linear CV of a bond: sqrt(2) over the spread of the bond; a step: sqrt(2) times its own slope.
        steepest = np.sqrt(2) * sharpness * (1 - np.tanh(sharpness * (lengths - 0.15)) ** 2) / np.tanh(sharpness * (lengths - 0.15)).std()
        np.testing.assert_allclose(gradient.largest, steepest.max(), rtol=1e-9)
        words.append((gradient.verdict, found.sentence.split(":")[0]))
    assert [word for word, _ in words] == ["smooth", "cliff", "cliff"]
    assert "every CV" in words[0][1] and "CV1 may tear" in words[2][1]
    middle = Smoothness("1/nm", (Gradient("CV1", 2, 90, (STEEP + CLIFF) / 2, 7, "steep"),))
    assert "CV1 needs care" in middle.sentence and "row 7" in middle.sentence


def test_a_gradient_that_is_no_number_is_never_smooth():
    sizes = (0.0, STEEP, CLIFF, 2 * CLIFF, np.inf, np.nan)
    assert [verdict(size) for size in sizes] == ["smooth", "steep", "steep", "cliff", "cliff", "cliff"]
