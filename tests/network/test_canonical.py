"""The canonical form: one form of the CVs, whatever form training ended in, and every level as it was."""

import copy

import numpy as np
import pytest
import torch
from generators import small

from hae.network.canonical import canonicalise, match

KINDS = (("linear",) * 3, ("linear", "circular", "tanh"), ("circular", "linear", "circular"), ("tanh", "linear", "linear"))
VARIANTS = ["collective", "boosted"]


@pytest.fixture
def X():
    return np.random.default_rng(0).normal(size=(300, 5)) @ np.random.default_rng(1).normal(size=(5, 5)) + 1


def cvs_of(network, X) -> np.ndarray:
    return network.encode(torch.from_numpy(X)).detach().numpy()


def levels_of(network, X) -> np.ndarray:
    return network(torch.from_numpy(X))[1].detach().numpy()


def disguised(network, seed: int = 0):
    """The same levels from CVs of another form: shifted, scaled, flipped, in the collective variant mixed with earlier ones, turned."""
    network, rng, layer = copy.deepcopy(network), np.random.default_rng(seed), network.bottleneck
    T, t = np.eye(layer.n_coordinates), np.zeros(layer.n_coordinates)
    for kind, columns in zip(layer.kinds, layer.columns):
        k = columns.start
        if kind == "circular":
            angle = rng.uniform(-np.pi, np.pi)
            T[columns, columns] = [[np.cos(angle), np.sin(angle)], [np.sin(angle), -np.cos(angle)]]
        elif kind == "tanh":
            T[k, k] = -1
        else:
            T[k, k], t[k] = -rng.uniform(0.5, 3), rng.normal()
            if network.variant == "collective":
                T[k, :k] = [rng.normal() if layer.kinds[owner] == "linear" else 0 for owner in layer.owner[:k]]
    # on the weights themselves, so that the disguise lies below the canonical form
    encoder, decoder = network.encoder.layers[-1], network.decoder.outputs.layers[0]
    with torch.no_grad():
        T, t = torch.from_numpy(T), torch.from_numpy(t)
        encoder.weight.copy_(encoder.weight @ T.T)
        encoder.bias.copy_(encoder.bias @ T.T + t)
        read = torch.linalg.inv(T).T @ (decoder.weight * network.decoder.outputs.mask)
        decoder.bias.sub_(t[None] @ read)
        decoder.weight.copy_(read)
    return network


@pytest.mark.parametrize("cv", KINDS)
@pytest.mark.parametrize("variant", VARIANTS)
def test_levels_stay_and_decoding_the_new_cvs_gives_them(X, variant, cv):
    network = small(variant, cv)
    before = levels_of(network, X)
    canonicalise(network, X)
    np.testing.assert_array_equal(levels_of(network, X), before)  # to the bit
    decoded = network.decode(torch.from_numpy(cvs_of(network, X))).detach().numpy()
    np.testing.assert_allclose(decoded, before, rtol=0, atol=1e-9)


@pytest.mark.parametrize("cv", KINDS)
@pytest.mark.parametrize("variant", VARIANTS)
def test_linear_cvs_have_mean_0_and_deviation_1_and_collective_ones_nothing_of_earlier_cvs(X, variant, cv):
    network = small(variant, cv)
    canonicalise(network, X)
    cvs = cvs_of(network, X)
    embedded = network.bottleneck.embed(torch.from_numpy(cvs)).numpy()
    for k, kind in enumerate(cv):
        if kind == "linear":
            assert cvs[:, k].mean() == pytest.approx(0, abs=1e-10) and cvs[:, k].std() == pytest.approx(1)
            earlier = embedded[:, : network.bottleneck.columns[k].start]
            if variant == "collective" and k > 0:
                assert np.abs(np.corrcoef(earlier.T, cvs[:, k])[-1, :-1]).max() < 1e-9
    if variant == "boosted" and cv == KINDS[0]:
        assert np.abs(np.corrcoef(cvs.T)[np.tri(3, 3, -1, dtype=bool)]).max() > 0.01  # identified as they are: left alone


@pytest.mark.parametrize("cv", KINDS)
@pytest.mark.parametrize("variant", VARIANTS)
def test_the_same_levels_have_one_form(X, variant, cv):
    network = small(variant, cv)
    other = disguised(network)
    np.testing.assert_allclose(levels_of(other, X), levels_of(network, X), rtol=0, atol=1e-10)
    assert np.abs(cvs_of(other, X) - cvs_of(network, X)).max() > 0.1
    for form in (network, other):
        canonicalise(form, X)
    difference = cvs_of(other, X) - cvs_of(network, X)
    for k, kind in enumerate(cv):
        apart = np.angle(np.exp(1j * difference[:, k])) if kind == "circular" else difference[:, k]
        np.testing.assert_allclose(apart, 0, rtol=0, atol=1e-9)


def test_the_form_is_its_own_form(X):
    network = small()
    canonicalise(network, X)
    before = cvs_of(network, X)
    canonicalise(network, X)
    np.testing.assert_allclose(cvs_of(network, X), before, rtol=0, atol=1e-12)


def test_signs_and_zeros_follow_the_feature_of_largest_covariance(X):
    network = small("boosted", ("linear", "circular", "tanh"))
    canonicalise(network, X)
    embedded = network.bottleneck.embed(torch.from_numpy(cvs_of(network, X))).numpy()
    features = X / network.input_scale.numpy()
    covariance = (embedded - embedded.mean(0)).T @ (features - features.mean(0)) / len(X)
    for row in (0, 3):
        assert covariance[row, np.abs(covariance[row]).argmax()] > 0
    leading = (covariance[1:3] ** 2).sum(0).argmax()
    assert covariance[1, leading] > 0
    assert covariance[2, leading] == pytest.approx(0, abs=1e-10)
    assert covariance[2, np.abs(covariance[2]).argmax()] > 0


def test_a_copy_of_an_earlier_cv_is_not_blown_up(X):
    network = small("collective", ("linear", "linear"))
    with torch.no_grad():
        last = network.encoder.layers[-1]
        last.weight[:, 1], last.bias[:, 1] = 2 * last.weight[:, 0], 1
    canonicalise(network, X)
    cvs = cvs_of(network, X)
    assert np.corrcoef(cvs.T)[0, 1] == pytest.approx(1)
    assert cvs[:, 1].std() == pytest.approx(1)


def test_a_constant_cv_stays_finite(X):
    network = small("collective", ("linear", "linear"))
    with torch.no_grad():
        network.encoder.layers[-1].weight[:, 0] = 0
    canonicalise(network, X)
    assert np.isfinite(cvs_of(network, X)).all()


def test_weights_are_rows_given_so_often(X):
    often = np.arange(len(X)) % 3 + 1
    weighted, repeated = small(), small()
    canonicalise(weighted, X, often.astype(float))
    canonicalise(repeated, np.repeat(X, often, axis=0))
    np.testing.assert_allclose(cvs_of(weighted, X), cvs_of(repeated, X), rtol=0, atol=1e-10)


@pytest.mark.parametrize("variant", VARIANTS)
def test_matching_flips_signs_turns_angles_and_leaves_levels_alone(X, variant):
    kinds = ("linear", "circular", "tanh")
    reference = small(variant, kinds)
    canonicalise(reference, X)
    network = copy.deepcopy(reference)
    T = torch.diag(torch.tensor([-1.0, 1, 1, -1]))
    T[1:3, 1:3] = torch.tensor([[0.6, 0.8], [0.8, -0.6]])
    network.bottleneck.rename(T, torch.zeros(4))
    before = levels_of(network, X)
    done = match(network, X, cvs_of(reference, X), kinds)
    assert done[0] == done[2] == "flipped" and done[1].endswith("and reflected")
    np.testing.assert_allclose(cvs_of(network, X), cvs_of(reference, X), rtol=0, atol=1e-12)
    np.testing.assert_array_equal(levels_of(network, X), before)


def test_matching_leaves_what_has_no_counterpart(X):
    network = small("boosted", ("linear", "circular", "tanh"))
    canonicalise(network, X)
    before = cvs_of(network, X)
    done = match(network, X, -before[:, :2], ("linear", "linear"))
    assert done == ["flipped", "kept: no counterpart", "kept: no counterpart"]
    np.testing.assert_allclose(cvs_of(network, X) * [-1, 1, 1], before)


def test_matching_counts_rows_as_often_as_their_weights_say(X):
    """A reference that is turned and flipped on most rows, which count little, and not on the few that count."""
    network = small("boosted", ("linear", "circular"))
    canonicalise(network, X)
    before, few = cvs_of(network, X), np.arange(len(X)) < 30
    reference = np.where(few[:, None], before, np.stack([-before[:, 0], 1 - before[:, 1]], axis=1))
    unweighted = copy.deepcopy(network)
    assert match(network, X, reference, ("linear", "circular"), np.where(few, 1.0, 1e-9))[0] == "kept"
    np.testing.assert_allclose(cvs_of(network, X), before, rtol=0, atol=1e-6)
    done = match(unweighted, X, reference, ("linear", "circular"))
    assert done[0] == "flipped" and done[1].endswith("and reflected")


def test_matching_tells_the_angle(X):
    network = small("boosted", ("circular",))
    turned = np.angle(np.exp(1j * (cvs_of(network, X) + np.radians(30))))
    assert match(network, X, turned, ("circular",)) == ["turned by 30.00 degrees"]
    np.testing.assert_allclose(cvs_of(network, X), turned, rtol=0, atol=1e-12)
