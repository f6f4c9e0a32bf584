"""What a fitted estimator shows of itself, the metric that it takes by itself, and warnings that are said once."""

import warnings

import numpy as np
import pandas as pd
import pytest
from generators import curve
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine
from sklearn.model_selection import GridSearchCV

from hae import HierarchicalAutoencoder
from hae.datasets import alanine_dipeptide
from hae.errors import BadInput
from hae.network.objective import like_units

TINY = {"n_cvs": 1, "hidden": (4,), "n_seeds": 1, "max_epochs": 2, "device": "cpu"}


@pytest.fixture(scope="module")
def fitted():
    X = curve(n=400)
    model = HierarchicalAutoencoder(**{**TINY, "n_cvs": 2}).fit(X)
    model.importance_  # noqa: B018  # measured once for all tests here
    return model, X


@pytest.mark.parametrize(("data", "alike"), [
    (lambda: load_wine().data, False),  # proline is in hundreds
    (lambda: load_breast_cancer().data, False),  # areas beside fractions
    (lambda: load_iris().data, True),  # all in cm
    (lambda: load_digits().data, True),  # pixels, some of them nearly always 0
    (lambda: alanine_dipeptide().X.to_numpy(), True),  # nm
])
def test_columns_of_unlike_units_are_told_by_their_size_and_spread(data, alike):
    X = data()
    assert like_units(X.mean(0), X.var(0)) is alike


def test_the_metric_auto_is_the_one_that_it_says(fitted):
    X = load_wine().data
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        auto, said = (HierarchicalAutoencoder(**TINY, scale=scale).fit(X) for scale in ("auto", "feature"))
        assert auto.scale_ == said.scale_ == "feature"
        np.testing.assert_array_equal(auto.transform(X), said.transform(X))
        assert HierarchicalAutoencoder(**TINY, scale="none").fit(X).scale_ == "none"
    assert fitted[0].scale_ == "global"


def test_a_picture_has_the_fve_the_worth_and_every_pair_of_cvs_by_label(fitted):
    model, X = fitted
    labels = pd.DataFrame({"t": X[:, 0], "half": np.where(X[:, 0] > 0, "right", "left")})
    made = model.plot(X, labels)
    assert [axis.get_xlabel() for axis in made.axes if axis.get_xlabel()] == [
        "number of CVs", "share of all variance that a CV adds", "CV1", "CV1"]
    drawn = [axis for axis in made.axes if axis.get_xlabel() == "CV1"]
    assert len(drawn[0].collections[0].get_offsets()) == len(X)
    assert sorted(text.get_text() for text in drawn[1].get_legend().get_texts()) == ["left", "right"]
    assert made._repr_png_().startswith(b"\x89PNG")
    assert len(model.plot().axes) == 3  # the rows that were held out, without labels
    for wrong, X_ in ((labels["t"][:5], X), (labels["t"], None)):
        with pytest.raises(BadInput, match=r"labels: shape \(5, 1\) for 400 rows|X: is missing"):
            model.plot(X_, wrong)


def test_the_report_is_short_on_a_terminal_and_in_a_notebook(fitted):
    report = fitted[0].importance_
    for text in (repr(report), report._repr_html_()):
        assert len(text) < 3000 and "CV1" in text and "PC1" in text and "verdict" in text
    assert "<table" in report._repr_html_()
    assert repr(fitted[0]).startswith("HierarchicalAutoencoder(")


def test_pca_beside_it_is_that_of_scikit_learn(fitted):
    from sklearn.decomposition import PCA

    model, X = fitted
    train, test = X[model.split_ == "train"], X[model.split_ == "test"]
    mean, axes = train.mean(0), PCA(2).fit(train).components_
    rest = test - mean
    for k, row in enumerate(model.importance_.compared("pca"), start=1):
        left = rest - rest @ axes[:k].T @ axes[:k]
        assert row.fve == pytest.approx(1 - (left**2).sum() / (rest**2).sum(), abs=1e-4)
        assert row.difference == pytest.approx(model.importance_.cvs[k - 1].fve - row.fve, abs=1e-6)


def test_a_search_over_many_folds_warns_once():
    X = np.random.default_rng(0).normal(size=(40, 3))
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("default")
        GridSearchCV(HierarchicalAutoencoder(**TINY), {"n_seeds": [1, 2]}, cv=3).fit(X)
    assert [str(one.message)[:12] for one in told if "too few rows" in str(one.message)] == ["too few rows"]
    assert all(one.filename == __file__ for one in told if "too few rows" in str(one.message))
