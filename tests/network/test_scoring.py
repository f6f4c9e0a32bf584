"""FVE on rows: a bias counts, weights and missing values as written out, chunks make no difference."""

import numpy as np
import pytest
import torch
from generators import small

from hae.network import scoring
from hae.network.objective import standardisation
from hae.network.scoring import chunked, encode, score_frames


@pytest.fixture
def network():
    return small()


@pytest.fixture
def X():
    return np.random.default_rng(0).normal(size=(60, 5))


def levels_of(network, X) -> np.ndarray:
    return network(torch.from_numpy(X))[1].detach().numpy()


def written_out(network, X, target, weights=None, root=None) -> np.ndarray:
    """(n,) FVE in the metric of the network, about its mean."""
    scale, mean = network.output_scale.numpy(), network.output_mean.numpy()
    W = np.eye(len(scale)) if root is None else root @ root.T
    weights = np.ones(len(X)) if weights is None else weights

    def total(residual):
        r = np.nan_to_num(residual / scale)
        return np.einsum("i,id,de,ie->", weights, r, W, r)

    return np.array(
        [1 - total(target - q) / total(target - mean) for q in levels_of(network, np.where(np.isnan(X), network.input_mean, X))]
    )


@pytest.mark.parametrize("root", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("missing", [False, True])
def test_fve_is_the_sums_written_out(network, X, root, weighted, missing):
    rng = np.random.default_rng(1)
    X = np.where(rng.random(X.shape) < 0.2, np.nan, X) if missing else X
    root = rng.normal(size=(5, 5)) if root else None
    weights = rng.uniform(0.5, 2, 60) if weighted else None
    np.testing.assert_allclose(score_frames(network, X, root=root, weights=weights).fve, written_out(network, X, X, weights, root))


def test_another_target_is_scored_about_its_own_mean(network, X):
    target = np.random.default_rng(2).normal(3, 1, X.shape)
    np.testing.assert_allclose(score_frames(network, X, target).fve, written_out(network, X, target))


def test_a_bias_costs_though_it_leaves_the_residuals_variance_alone(network, X):
    before = score_frames(network, X).fve
    with torch.no_grad():
        network.decoder.outputs.layers[-1].bias += 1.0
    after = score_frames(network, X).fve
    assert (after < before - 0.1).all()


def test_the_mean_itself_has_an_fve_of_zero_and_gains_add_up(network, X):
    with torch.no_grad():
        for layer in network.decoder.outputs.layers:
            layer.weight.zero_()
            layer.bias.zero_()
    assert (score_frames(network, X).fve == 0).all()
    scores = score_frames(small(), X)
    np.testing.assert_allclose(scores.gains.cumsum(), scores.fve)


def test_rows_at_the_mean_have_no_variance_to_explain(network):
    assert (score_frames(network, np.tile(network.output_mean.numpy(), (4, 1))).fve == 0).all()


@pytest.mark.filterwarnings("ignore:columns")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("scale", ["global", "feature", "none"])
@pytest.mark.parametrize("still", [lambda x: 1 + 1e-13 * x, lambda x: 0.1 + 0 * x, lambda x: 1e-160 * x, lambda x: 1e-200 * x])
def test_what_changes_by_rounding_alone_has_an_fve_of_zero(network, X, still, scale, dtype):
    rows = still(X)
    network.scale_by(*2 * standardisation(rows, scale))
    assert (score_frames(network, rows.astype(dtype)).fve == 0).all()


def test_far_from_zero_nothing_is_lost(network, X):
    """Of a network in float32, which its registered copy and its estimator work with in float64."""
    far = X + 1.2e7
    expected, cvs = network.float(), encode(network, X)
    scores = score_frames(expected, X).fve
    network.scale_by(network.input_mean + 1.2e7, network.input_scale, network.output_mean + 1.2e7, network.output_scale)
    assert network.input_mean.dtype == network.float().double().float().output_scale.dtype == torch.float64
    np.testing.assert_allclose(encode(network, far), cvs, atol=1e-7)
    np.testing.assert_allclose(score_frames(network, far).fve, scores, rtol=1e-7)


def test_chunks_make_no_difference(network, X, monkeypatch):
    whole, cvs = score_frames(network, X, weights=np.arange(1.0, 61)), encode(network, X)
    monkeypatch.setattr(scoring, "CHUNK_ROWS", 7)
    parts = score_frames(network, X, weights=np.arange(1.0, 61))
    np.testing.assert_allclose(parts.e, whole.e)
    np.testing.assert_allclose(parts.v, whole.v)
    np.testing.assert_allclose(encode(network, X), cvs)


def test_rows_are_worked_on_in_their_own_type_and_the_network_stays_as_it_is(network, X):
    single = network.float()
    for dtype in (np.float32, np.float64):
        assert encode(single, X.astype(dtype)).dtype == dtype
    assert single.dtype == torch.float32
    (grad,) = chunked(single, X, lambda net, s: net.encode(s).requires_grad)
    assert not grad


def test_a_piece_without_rows_counts_for_nothing():
    from hae.network.scoring import explained
    from hae.training.baselines import principal_components

    X = np.random.default_rng(0).normal(size=(60, 3))
    network = principal_components(X, 2)
    (whole,) = explained([network], [(X, None)])
    (parted,) = explained([network], [(X[:40], None), (X[:0], None), (X[40:], None)])
    np.testing.assert_allclose(parted, whole, rtol=1e-12)
