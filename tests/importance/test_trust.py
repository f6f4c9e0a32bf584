"""How far figures are trusted: rare states that test rows missed, trajectories that do not agree, a few frames that decide."""

from dataclasses import replace

import numpy as np
import pytest
from measuring import measure, pairs

from hae import HierarchicalAutoencoder
from hae.importance.decoders import RefitSettings
from hae.importance.evaluate import evaluate
from hae.importance.report import EVENTS
from hae.training.baselines import principal_components
from hae.training.pairs import Pairs


def rare(n, seed, share=0.03, dwell=3):
    """(n, 2): a state far away that is seen for some rows at a time, on a noisy line."""
    rng = np.random.default_rng(seed)
    state, out = False, np.empty((n, 2))
    for i in range(n):
        state = rng.random() > 1 / dwell if state else rng.random() < share / (1 - share) / dwell
        out[i] = rng.normal(size=2) * [1, 0.4] + (np.array([0, 4]) if state else 0)
    return out


def test_a_test_side_that_missed_a_rare_state_is_no_surer_than_all_rows_allow():
    """It shows short correlation and a narrow interval; what the other rows saw counts too."""
    X = rare(20_000, 0)
    lucky = np.flatnonzero(X[:, 1] < 2)[:8000]  # no frame of the state among them
    network = principal_components(X, 1)
    settings = RefitSettings(rows=500, steps=20)
    alone = evaluate(network, pairs(X), pairs(X[lucky]), settings=settings).cvs[0]
    with_all = evaluate(network, pairs(X), pairs(X[lucky]), seen=pairs(X), settings=settings).cvs[0]
    assert with_all.n_eff < 0.5 * alone.n_eff
    assert with_all.fve_high - with_all.fve_low > 1.5 * (alone.fve_high - alone.fve_low)
    assert with_all.fve == alone.fve


def test_walkers_that_stay_are_said_and_nothing_is_decided():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(8000, 3)) * [1, 0.5, 0.2] + np.repeat(np.arange(4) * 2.0, 2000)[:, None]
    network, names = principal_components(X, 2), np.repeat(list("abcd"), 2000)
    report = measure(network, X, X, trajectory=names, frame=np.tile(np.arange(2000), 4), settings=RefitSettings(rows=500, steps=20))
    assert report.apart == 4 and report.status == "not enough data" and report.n is None
    assert "the 4 trajectories do not agree: their means differ by more than chance, so they count as about 4 samples" in report.sentence()
    assert np.isnan([cv.fve_low for cv in report.cvs]).all()


def test_where_a_few_frames_decide_it_is_rough_and_said():
    rng = np.random.default_rng(0)
    X = rng.standard_t(2.2, size=(6000, 3)) * [1, 0.5, 0.3]
    report = measure(principal_components(X, 2), X[:3000], X[3000:], settings=RefitSettings(rows=500, steps=20))
    assert report.few and report.status != "ok"
    assert "a few extreme frames decide these figures" in report.sentence() or report.status == "not enough data"


def test_a_few_events_that_decide_are_said():
    X = rare(20_000, 1, share=0.002, dwell=30)
    report = measure(principal_components(X, 2), X[:10_000], X[10_000:], settings=RefitSettings(rows=500, steps=20))
    few = [cv.name for cv in report.cvs if cv.events < EVENTS]
    assert few and not report.few and all(cv.status != "ok" for cv in report.cvs if cv.name in few)
    assert "a few events decide CV1" in replace(report, status="rough").sentence()


def test_the_estimator_counts_what_training_and_validation_saw():
    """Test rows that missed the rare state look no surer in ``importance_`` than all rows of the fit allow; by themselves they do."""
    X = rare(12_000, 0, dwell=10)
    lucky = np.flatnonzero(X[:, 1] < 2)[::3]
    split = np.where(np.arange(len(X)) % 5, "train", "validation").astype("<U10")
    split[lucky] = "test"
    model = HierarchicalAutoencoder(1, hidden=(4,), n_seeds=1, max_epochs=1, device="cpu")
    fitted = model.fit(X, groups=np.full(len(X), "walk"), split=split)
    assert len(Pairs.joined([fitted.training_rows_, fitted.validation_rows_, fitted.held_out_rows_])) == len(X)
    alone, whole = fitted.importance(X[lucky], groups=np.full(len(lucky), "walk"), frame=lucky), fitted.importance_
    assert whole.n_frames == alone.n_frames and whole.cvs[0].fve == pytest.approx(alone.cvs[0].fve)
    assert whole.n_eff < 0.6 * alone.n_eff
