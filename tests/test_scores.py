"""Normal scores: what they do to tails, the way back, and a network behind them."""

import numpy as np
import pytest
from scipy.stats import kstest
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

from hae import HierarchicalAutoencoder
from hae.importance.intervals import Sampling
from hae.importance.trust import heavy
from hae.scores import NormalScores


@parametrize_with_checks([NormalScores()])
def test_it_keeps_the_rules_of_scikit_learn(estimator, check):
    check(estimator)


def test_scores_are_normal_and_lead_back():
    rng = np.random.default_rng(0)
    X = np.stack([rng.standard_t(2, 4000), np.exp(2 * rng.normal(size=4000)), rng.integers(3, size=4000), np.full(4000, 7.0)], axis=1)
    to = NormalScores().fit(X)
    scores = to.transform(X)
    assert max(kstest(scores[:, k], "norm").statistic for k in (0, 1)) < 2e-3
    assert len(np.unique(scores[:, 2])) == 3 and (scores[:, 3] == 0).all()
    back = to.inverse_transform(scores)
    np.testing.assert_array_equal(back[:, 2:], X[:, 2:])
    for k in (0, 1):
        np.testing.assert_allclose(to.transform(back)[:, k], scores[:, k], atol=1e-8)
    few = X[:900]
    np.testing.assert_allclose(NormalScores().fit(few).inverse_transform(NormalScores().fit_transform(few)), few, rtol=1e-12)


def test_what_is_beyond_the_training_rows_is_their_edge_and_order_is_kept():
    X = np.random.default_rng(0).standard_t(3, size=(500, 1))
    to = NormalScores().fit(X)
    grid = np.sort(np.concatenate([X[:, 0], np.linspace(-200, 200, 301)]))[:, None]
    scores = to.transform(grid)[:, 0]
    assert (np.diff(scores) >= 0).all() and scores[0] == scores[1] == -scores[-1]


def test_refused_in_one_line():
    with pytest.raises(ValueError, match="NaN"):
        NormalScores().fit([[1.0], [np.nan]])
    with pytest.raises(ValueError, match="expecting 2 features"):
        NormalScores().fit(np.eye(2)).transform(np.ones((3, 3)))


def test_heavy_tails_become_light_and_a_network_behind_reads_them():
    turn = np.linalg.qr(np.random.default_rng(7).normal(size=(4, 4)))[0]
    X = (np.random.default_rng(0).standard_t(3, size=(2000, 4)) * [2, 1, 0.1, 0.1]) @ turn
    of = lambda rows: heavy(((rows - rows.mean(0)) ** 2).mean(1), Sampling.of(len(rows)))  # noqa: E731
    assert of(X) and not of(NormalScores().fit(X[:1000]).transform(X))
    small = {"n_cvs": 2, "n_seeds": 1, "max_epochs": 20, "batch_size": 128, "hidden": (16,), "device": "cpu"}
    whole = make_pipeline(NormalScores(), HierarchicalAutoencoder(**small)).fit(X)
    back = whole.inverse_transform(whole.transform(X))
    lost = np.median(np.abs(back - X), axis=0) / np.median(np.abs(X), axis=0)
    assert lost.max() < 0.5, "two CVs hold nearly all that these rows have"
