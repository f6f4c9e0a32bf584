"""Gains by feature and by group: they add up to the gains, their intervals hold the truth, and pieces of the data make no difference."""

import numpy as np
import pytest
from generators import small
from measuring import measure
from scipy.signal import lfilter

from hae.errors import BadInput
from hae.importance.contributions import contributions, feature_errors
from hae.importance.decoders import RefitSettings
from hae.importance.intervals import Sampling
from hae.importance.report import ImportanceReport
from hae.network import scoring
from hae.network.hierarchy import HierarchicalNetwork
from hae.network.objective import standardisation
from hae.network.scoring import score_frames
from hae.training.baselines import principal_components

NAMES = ("a", "b", "c", "d", "e")


@pytest.fixture
def X():
    return np.random.default_rng(0).normal(size=(300, 5)) * [3, 2, 1, 1, 1]


def gains_of(network, X, sampling=None, groups=None, names=NAMES):
    sampling = sampling or Sampling.of(len(X))
    return contributions(feature_errors(network, X, sampling), names, groups, [True] * network.n_levels)


def walks(n: int, seed: int) -> np.ndarray:
    """(n, 4) series of correlation time 10 that are mixed into each other."""
    rng, keep = np.random.default_rng(seed), np.exp(-1 / 10)
    series = lfilter([np.sqrt(1 - keep**2)], [1, -keep], rng.normal(size=(4, n + 300)), axis=1)[:, -n:].T
    return series * [2, 1.5, 1, 0.5] @ np.array([[1, 0.3, 0, 0.2], [0, 1, 0.5, 0], [0.4, 0, 1, 0], [0, 0, 0.3, 1]])


@pytest.mark.parametrize("weighted", [False, True])
def test_they_add_up_to_the_gains(X, weighted):
    network = small()
    weights = np.random.default_rng(1).uniform(0.5, 2, len(X)) if weighted else None
    found = gains_of(network, X, Sampling.of(len(X), weights=weights))
    scored = score_frames(network, X, weights=weights)
    np.testing.assert_allclose(np.sum(found.gain, axis=1), scored.gains, atol=1e-12)


def test_a_feature_that_a_cv_leaves_alone_gains_nothing_from_it(X):
    network = principal_components(np.diag([3.0, 2, 1, 1, 1]).repeat(2, axis=0) * np.tile([1, -1], 5)[:, None], 2, "none")
    gain = np.array(gains_of(network, X).gain)
    share = (X**2).sum(0) / (X**2).sum()
    np.testing.assert_allclose(gain, [[share[0], 0, 0, 0, 0], [0, share[1], 0, 0, 0]], atol=1e-12)


def test_a_group_is_the_sum_of_its_features_and_its_interval_is_its_own(X):
    network = small()
    one = gains_of(network, X)
    groups = {"a": "bent", "b": "rest", "c": "bent", "d": "rest", "e": "rest"}
    by_group = gains_of(network, X, groups=groups)
    assert by_group.names == ("bent", "rest")
    np.testing.assert_allclose(np.array(by_group.gain)[:, 0], np.array(one.gain)[:, [0, 2]].sum(1), atol=1e-12)
    each = {name: name for name in NAMES}
    np.testing.assert_allclose(gains_of(network, X, groups=each).low, one.low, atol=1e-12)
    scored = score_frames(network, X)  # all features in one group: the interval of the gain itself
    whole = Sampling.of(len(X)).ratio(-np.diff(np.stack([scored.v, *scored.e]), axis=0), scored.v)
    together = gains_of(network, X, groups=dict.fromkeys(NAMES, "all"))
    np.testing.assert_allclose(np.array(together.high)[:, 0], whole.high, atol=1e-12)
    with pytest.raises(BadInput, match="groups: nothing for c, d, e; allowed: a group for every feature"):
        gains_of(network, X, groups={"a": "x", "b": "x"})


def test_pieces_and_missing_entries(X, monkeypatch):
    network = small()
    X[::7, 2] = np.nan
    whole = gains_of(network, X)
    np.testing.assert_allclose(np.sum(whole.gain, axis=1), score_frames(network, X).gains, atol=1e-12)
    monkeypatch.setattr(scoring, "CHUNK_ROWS", 37)
    pieces = gains_of(network, X)
    for name in ("gain", "low", "high"):
        np.testing.assert_allclose(getattr(pieces, name), getattr(whole, name), atol=1e-12)


def test_of_features_that_never_change_there_is_nothing_to_share():
    X = np.tile([0.1, 0.7, 1 / 3], (400, 1))
    network = HierarchicalNetwork.mlp(3, ["linear"]).double().reset(0)
    network.scale_by(*standardisation(X, "global") * 2)
    assert gains_of(network, X, names=["a", "b", "c"]).gain == ((0.0, 0.0, 0.0),)


def test_nominal_coverage_on_correlated_frames():
    network = principal_components(walks(100_000, 0), 2, "none")
    truth = np.array(gains_of(network, walks(400_000, 1), names=range(4)).gain)
    inside = []
    for seed in range(120):
        found = gains_of(network, walks(4000, 10 + seed), names=range(4))
        inside.append((np.array(found.low) <= truth) & (truth <= np.array(found.high)))
    assert 0.86 <= np.mean(inside) <= 0.97


def test_frames_repeated_ten_times_are_no_more_information(X):
    network, rows = small(), np.repeat(np.arange(len(X)), 10)
    once = gains_of(network, X, Sampling.of(len(X), np.full(len(X), "walk"), np.arange(len(X))))
    often = gains_of(network, X[rows], Sampling.of(len(rows), np.full(len(rows), "walk"), rows))
    np.testing.assert_allclose(np.subtract(often.high, often.low), np.subtract(once.high, once.low), rtol=1e-9)


def test_the_report_holds_them_with_intervals_where_there_are_enough_frames(X):
    network = principal_components(X, 2, "none")
    quick = RefitSettings(rows=300, steps=50)
    groups = dict.fromkeys(NAMES, "rest") | {"a": "first"}
    report = measure(network, X, X, features=NAMES, groups=groups, settings=quick)
    assert report.by_feature.names == NAMES and report.by_group.names == ("first", "rest")
    table = report.by_feature.to_frame()
    assert list(table.columns) == [f"gain_cv{k}{bound}" for k in (1, 2) for bound in ("", "_low", "_high")]
    assert (table["gain_cv1_low"] < table["gain_cv1"]).all() and list(table.index) == list(NAMES)
    assert ImportanceReport.from_json(report.to_json()) == report
    few = measure(network, X, X[:60], features=NAMES, settings=quick)
    assert few.by_group is None and few.by_feature.to_frame()[["gain_cv1_low", "gain_cv2_high"]].isna().all(axis=None)
    again = ImportanceReport.from_json(few.to_json())
    assert np.isnan(again.by_feature.low).all() and again.by_feature.gain == few.by_feature.gain
