"""The estimator: scikit-learn's own checks, and what each parameter does."""

import json
import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from generators import curve, gaussian, torus
from quick import GOOD, LINEAR, QUICK, quick
from scipy.stats import spearmanr
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from hae import HierarchicalAutoencoder
from hae.data.split import split_rows
from hae.network.scoring import score_frames


@pytest.fixture(scope="module")
def X():
    return gaussian([5.0, 2.5, 1.2, 0.6], n=500, mean=2.0)[0]


@pytest.fixture(scope="module")
def model(X):
    return quick().fit(X)


def failing(estimator) -> dict[str, str]:
    return {
        "check_sample_weight_equivalence_on_dense_data": "batches are drawn at random: a weight of two is a row given twice in the loss "
        "(tested in test_training), not in the order of the batches"
    }


@parametrize_with_checks(
    [HierarchicalAutoencoder(n_cvs=1, hidden=(4,), n_seeds=1, max_epochs=2, device="cpu")], expected_failed_checks=failing
)
@pytest.mark.filterwarnings("ignore")
def test_scikit_learns_checks(estimator, check):
    check(estimator)


def test_a_clone_has_the_parameters_and_nothing_learned(model):
    copy = clone(model)
    assert copy.get_params() == model.get_params()
    with pytest.raises(NotFittedError):
        copy.transform(np.zeros((2, 4)))


def test_it_stands_in_a_pipeline_before_a_regression(X):
    pipeline = make_pipeline(StandardScaler(), quick(), LinearRegression()).fit(X, X[:, 0])
    assert pipeline.predict(X).shape == (500,)


def test_grid_search_finds_that_two_cvs_explain_more_than_one(X):
    search = GridSearchCV(HierarchicalAutoencoder(**{**LINEAR, "max_epochs": 20}), {"n_cvs": [1, 2]}, cv=2).fit(X)
    assert search.best_params_ == {"n_cvs": 2}


def test_a_data_frame_goes_in_and_its_names_are_kept_without_a_warning(X):
    frame = pd.DataFrame(X, columns=list("abcd"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = quick().fit(frame)
        cvs = model.set_output(transform="pandas").transform(frame)
    assert list(model.feature_names_in_) == list("abcd")
    assert list(cvs.columns) == list(model.get_feature_names_out()) == ["cv1", "cv2"]
    assert quick().set_output(transform="pandas").fit_transform(frame).index.equals(frame.index)
    with pytest.raises(ValueError, match="feature names should match"):
        model.transform(frame[list("dcba")])


def test_transform_is_the_encoder_and_inverse_transform_the_decoder(model, X):
    cvs = model.transform(X)
    network = model.network_
    for level in (1, 2):
        expected = network(torch.from_numpy(X).float())[1][level - 1].numpy()
        np.testing.assert_allclose(model.reconstruct(X, level=level), expected, atol=1e-4)
        np.testing.assert_allclose(model.inverse_transform(cvs, level=level), model.reconstruct(X, level=level), atol=1e-5)
    np.testing.assert_array_equal(model.reconstruct(X), model.reconstruct(X, level=2))
    assert model.transform(X.astype(np.float32)).dtype == np.float32
    np.testing.assert_allclose(model.transform(X.astype(np.float32)), cvs, atol=1e-4)


def test_score_is_the_fve_written_out(model, X):
    new = gaussian([5.0, 2.5, 1.2, 0.6], n=300, seed=3, mean=2.0)[0]
    mean = X[model.split_ == "train"].mean(0)
    expected = 1 - ((new - model.reconstruct(new)) ** 2).sum() / ((new - mean) ** 2).sum()
    assert model.score(new) == pytest.approx(expected, abs=1e-5)


def test_the_explained_variance_is_that_of_the_test_rows(model, X):
    test = X[model.split_ == "test"]
    assert len(test) > 20
    np.testing.assert_allclose(model.explained_variance_ratio_.sum(), model.score(test), atol=1e-6)
    np.testing.assert_allclose(model.explained_variance_ratio_, score_frames(model.network_, test).gains, atol=1e-6)


def test_a_linear_one_is_pca(X):
    model = HierarchicalAutoencoder(**LINEAR).fit(X, split=np.full(len(X), "train"))
    np.testing.assert_allclose(model.explained_variance_ratio_, np.array([5, 2.5]) / 9.3, atol=2e-3)


def test_the_same_seed_gives_the_same_model_and_another_one_another(X):
    one, same, other = (quick(random_state=seed).fit(X) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one.transform(X), same.transform(X))
    assert np.abs(one.transform(X) - other.transform(X)).max() > 1e-3
    assert one.history_.drop(columns="seconds").equals(same.history_.drop(columns="seconds"))


def test_more_seeds_keep_the_first_members_and_never_a_worse_model(X):
    few, many = quick(n_seeds=1).fit(X), quick(n_seeds=3).fit(X)
    assert many.validation_loss_ <= few.validation_loss_ + 1e-9
    assert min(np.abs(member(torch.from_numpy(X).float())[1].numpy()[0] - few.reconstruct(X, 1)).max() for member in many.members_) < 1e-3


def test_history_has_a_row_a_member_and_epoch(model):
    assert list(model.history_.columns) == [
        "member",
        "epoch",
        "seconds",
        "learning_rate",
        "train_error_1",
        "train_error_2",
        "validation_error_1",
        "validation_error_2",
    ]
    assert len(model.history_) == 6 and model.history_["seconds"].is_monotonic_increasing


def test_small_data_are_not_held_out_and_a_word_says_so():
    x = gaussian([2.0, 1.0, 0.5], n=40)[0]
    with pytest.warns(UserWarning, match="too few rows to hold some out .*all rows train, no early stop") as told:
        model = quick(max_epochs=5, patience=1).fit(x)
    assert told[0].filename == __file__
    assert set(model.split_) == {"train"} and model.history_["epoch"].max() == 5
    np.testing.assert_allclose(model.explained_variance_ratio_, model.train_fve_ - [0, model.train_fve_[0]])


def test_a_constant_column_is_kept_and_explains_nothing(X):
    with_constant = np.column_stack([X, np.full(500, 0.1)])
    model = quick(scale="feature").fit(with_constant)
    assert np.isfinite(model.transform(with_constant)).all()
    np.testing.assert_allclose(model.reconstruct(with_constant)[:, 4], 0.1, atol=1)


def test_blocks_of_trajectories_are_held_out_as_the_pipeline_does(X):
    names = np.repeat(["a", "b", "c", "d", "e"], 100)
    model = quick(block_frames=20, gap_frames=2).fit(X, groups=names)
    expected = split_rows(names, np.tile(np.arange(100), 5), block_frames=20, gap_frames=2, shares=(0.7, 0.15, 0.15))
    np.testing.assert_array_equal(model.split_, expected)


def test_kinds_of_cvs_may_be_mixed():
    model = HierarchicalAutoencoder(**{**QUICK, "n_cvs": 3}, cv=["circular", "tanh", "linear"]).fit(torus(400))
    cvs = model.transform(torus(400))
    assert (np.abs(cvs[:, 0]) <= np.pi).all() and cvs[:, 0].min() < -1 and cvs[:, 0].max() > 1
    assert (np.abs(cvs[:, 1]) < 1).all()
    np.testing.assert_allclose(model.inverse_transform(cvs), model.reconstruct(torus(400)), atol=1e-5)


def test_members_are_in_one_frame_of_reference(X):
    model = HierarchicalAutoencoder(**{**LINEAR, "n_seeds": 4}, variant="boosted").fit(X)
    cvs = [member.encode(torch.from_numpy(X).float())[:, 0].numpy() for member in model.members_]
    for other in cvs[1:]:
        assert np.corrcoef(cvs[0], other)[0, 1] > 0.99  # the same sign


@pytest.mark.parametrize("variant", ["collective", "boosted"])
def test_seeds_that_agree_in_the_first_level_agree_in_the_first_cv(variant):
    x = curve(800)
    model = HierarchicalAutoencoder(**{**GOOD, "n_seeds": 4}, variant=variant).fit(x)
    s = torch.from_numpy(x).float()
    cvs = [member.encode(s)[:, 0].numpy() for member in model.members_]
    levels = [member(s)[1][0].numpy() for member in model.members_]
    for cv, level in zip(cvs[1:], levels[1:]):
        assert 1 - ((level - levels[0]) ** 2).mean() / levels[0].var(0).mean() > 0.99
        assert spearmanr(cv, cvs[0]).statistic > 0.99


def test_linear_cvs_come_with_mean_zero_and_deviation_one(model, X):
    cvs = model.transform(X[model.split_ == "train"])
    np.testing.assert_allclose(cvs.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(cvs.std(0), 1, atol=1e-5)


def test_what_was_saved_is_what_is_loaded(tmp_path, X, monkeypatch):
    frame = pd.DataFrame(X, columns=list("abcd"))
    settings = {"cv": ["linear", "circular"], "level_weights": [1, 2], "feature_weights": [1, 2, 3, 4.0], "hidden": [np.int64(6)]}
    model = quick(**settings).fit(frame)
    model.save(tmp_path)
    for name in ("load", "loads", "Unpickler"):
        monkeypatch.setattr(pickle, name, None)
    back = HierarchicalAutoencoder.load(tmp_path)
    np.testing.assert_array_equal(back.transform(frame), model.transform(frame))
    assert back.score(frame) == model.score(frame)
    assert list(back.feature_names_in_) == list("abcd") and back.cv == ["linear", "circular"] and back.hidden == (6,)
    np.testing.assert_array_equal(back.explained_variance_ratio_, model.explained_variance_ratio_)
    for one, other in zip(model.members_, back.members_, strict=True):
        assert torch.equal(one.encode(torch.from_numpy(X).float()), other.encode(torch.from_numpy(X).float()))
    assert json.loads((tmp_path / "model.json").read_text())["params"]["n_cvs"] == 2


@pytest.mark.parametrize("weights", [[1, 2, 3, 4.0], np.diag([1.0, 2, 3, 4]) + 0.5])
def test_a_loaded_model_trains_in_the_metric_of_the_saved_one(tmp_path, X, weights):
    model = quick(feature_weights=weights).fit(X)
    model.save(tmp_path)
    back = HierarchicalAutoencoder.load(tmp_path)
    np.testing.assert_array_equal(back.feature_weights, weights)
    np.testing.assert_array_equal(clone(back).fit(X).transform(X), model.transform(X))


def test_a_loaded_model_can_be_trained_again(tmp_path, X):
    quick().fit(X).save(tmp_path)
    back = HierarchicalAutoencoder.load(tmp_path)
    np.testing.assert_array_equal(clone(back).fit(X).transform(X), back.transform(X))


def test_before_fit_nothing_is_saved(tmp_path):
    with pytest.raises(NotFittedError):
        quick().save(tmp_path)
    assert not list(tmp_path.iterdir())


def test_of_no_rows_there_are_none(model):
    assert model.inverse_transform(np.zeros((0, 2))).shape == (0, model.n_features_in_)


def test_as_many_cvs_as_are_alive_are_kept_of_a_curve():
    names = np.repeat([f"run{i}" for i in range(10)], 300)
    settings = {**GOOD, "n_cvs": "auto", "max_cvs": 3, "n_seeds": 2, "level_weights": [2, 1, 1], "block_frames": 20, "gap_frames": 0}
    model = HierarchicalAutoencoder(**settings, shares=(0.6, 0.25, 0.15)).fit(curve(3000), groups=names)
    assert model.network_.n_cvs == 1 and model.transform(curve(10)).shape == (10, 1)
    assert len(model.explained_variance_ratio_) == 1 and model.score(curve(500, 1)) > 0.98


def test_importance_of_training_rows_says_nothing_sure():
    """Nothing was held out: figures of the rows that were learned by heart have no intervals and no verdicts."""
    X = np.random.default_rng(0).normal(size=(60, 3))
    with pytest.warns(UserWarning, match="too few"):
        model = HierarchicalAutoencoder(n_cvs=1, n_seeds=1, max_epochs=2, block_frames=100, device="cpu").fit(X, groups=np.repeat("a", 60))
    assert set(model.split_) == {"train"}
    assert model.importance_.status == "not enough data" and "Not enough independent data" in model.importance_.sentence()
