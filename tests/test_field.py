"""The field's table: merits with known answers, and losses against their formulas."""

import json

import numpy as np
import pytest
import torch

from benchmarks.field import losses, merits
from benchmarks.field.__main__ import Fits
from benchmarks.field.data import DATA, Sides
from benchmarks.field.methods import METHODS
from benchmarks.field.page import tables


@pytest.fixture(scope="module")
def sides() -> Sides:
    rng = np.random.default_rng(0)
    factors = rng.normal(size=(900, 3)) * [3, 2, 1]
    x = (factors @ np.linalg.qr(rng.normal(size=(5, 5)))[0][:3]).astype(np.float32)
    x -= x[:500].mean(0)
    return Sides(x[:500], x[500:700], x[700:], factors[700:])


def test_merits_of_pca_are_known(sides):
    fitted = METHODS["PCA"].fit(sides, 3, 0, 0, 1)
    values, axes = np.linalg.eigh(np.cov(sides.train.T))
    left = [np.square(sides.test - sides.test @ axes[:, -k:] @ axes[:, -k:].T).sum() for k in (1, 2, 3)]
    assert merits.fves(fitted.levels(sides.test), sides.test) == pytest.approx(
        1 - np.array(left) / np.square(sides.test - sides.test.mean(0)).sum(), abs=1e-4)
    # The direction of least variance has the steepest CV of unit variance: one over its standard deviation.
    assert merits.gradient(fitted, sides.test, sides.train) == pytest.approx(np.sqrt(values.sum() / values[-3]), rel=1e-3)
    assert merits.order_of(fitted.cvs(sides.test), sides.factors)
    assert not merits.order_of(fitted.cvs(sides.test)[:, ::-1], sides.factors)


def test_independent_components_span_the_principal_ones_where_features_are_not_of_full_rank():
    """Of digits, whose corners are always empty, FastICA in float32 keeps three of four directions."""
    sides = DATA["digits"].sides()
    last = [merits.fves(METHODS[name].fit(sides, 4, 0, 0, 1).levels(sides.test), sides.test)[-1] for name in ("PCA", "FastICA")]
    assert last[1] == pytest.approx(last[0], abs=1e-4)


def test_a_level_that_is_not_there_has_no_figure(sides):
    levels = np.stack([np.full_like(sides.test, np.nan), sides.test])
    assert merits.fves(levels, sides.test) == [None, 1.0]


def test_seeds_that_say_the_same_agree_and_unlike_ones_do_not():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 3, 2000, 4))
    assert merits.agreement([a, a, a]) == pytest.approx(np.ones(3))
    assert merits.agreement([a, b]) == pytest.approx(np.zeros(3), abs=0.1)


def test_losses_are_their_formulas():
    torch.manual_seed(0)
    network, x = losses.Autoencoder(5, 3, (8,)).requires_grad_(False), torch.randn(40, 5)
    z = network.encoder(x)
    keeps = torch.ones(3, 3).tril()
    by_hand = np.mean([float((network.decode(z * keep) - x).square().mean()) for keep in keeps])
    assert float(losses.hierarchical(network, x, z, 0)) == pytest.approx(by_hand)
    whole = float(losses.plain(network, x, z, 0))
    assert float(losses.nested_dropout(network, x, z, 0)) != pytest.approx(whole)  # some codes are left out
    volume = float(np.prod(z.std(0).detach().numpy() + 1)) ** (1 / 3)
    assert float(losses.least_volume(network, x, z, 0.5)) == pytest.approx(whole + 0.5 * volume)
    scaled = z * torch.tensor([1.0, 0.1, 0.01])  # variance in front costs less than variance behind
    excess = [float(losses.polca(network, x, codes, 1) - losses.plain(network, x, codes, 0)) for codes in (scaled, scaled.flip(1))]
    assert excess[0] < excess[1]


def test_a_lipschitz_decoder_stretches_nothing_but_its_gain():
    torch.manual_seed(0)
    network = losses.Autoencoder(5, 3, (8, 8), lipschitz=True)
    for _ in range(30):  # one power iteration a call
        network.decode(torch.randn(4, 3))
    a, b = torch.randn(2, 500, 3)
    assert ((network.decode(a) - network.decode(b)).norm(dim=1) <= 1.01 * (a - b).norm(dim=1)).all()


def test_fits_are_made_once_and_the_table_has_a_row_for_each(sides, tmp_path):
    cells = {method: METHODS[method].settings[0] for method in ("PCA", "hierarchical NLPCA", "nested dropout", "hae collective")}
    made = {method: Fits(tmp_path, 0.01).get(sides, "linear", method, 0, setting) for method, setting in cells.items()}
    again = Fits(tmp_path, 0.01)
    assert {method: again.get(sides, "linear", method, 0, setting) for method, setting in cells.items()} == json.loads(json.dumps(made))
    assert len((tmp_path / "fits.jsonl").read_text().splitlines()) == len(cells)
    text = tables([[row] for row in made.values()], again.levels)
    assert all(f"| {method} |" in text for method in cells)
    assert made["hae collective"]["test"][2] > made["hae collective"]["test"][0] > 0.3


@pytest.mark.parametrize("name", ["linear", "alanine dipeptide", "digits", "breast cancer", "swiss roll"])
def test_sides_of_the_data_share_no_row(name):
    sides = DATA[name].sides()
    assert min(map(len, (sides.train, sides.validation, sides.test))) > 50
    rows = [set(map(bytes, side)) for side in (sides.train, sides.validation, sides.test)]
    assert not (rows[0] & rows[2] or rows[1] & rows[2])
    total = np.concatenate([sides.train]).var(0).sum()
    assert 0.3 < total / len(sides.train[0]) < 3  # standardised
