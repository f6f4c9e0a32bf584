"""Features of heavy tails made light: every column by its ranks, as a step before the autoencoder."""

from __future__ import annotations

import numpy as np
from scipy.special import ndtri
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted, validate_data

__all__ = ["NormalScores"]

KNOTS = 1000  # of a column's map at most: what is kept of the training rows


class NormalScores(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):
    """Each feature by a growing map of its own that makes its training values normal.

    Rank r of N becomes the normal quantile of (r - 1/2) / N.

    A few values far out then no longer decide what is explained: shares of variance, verdicts and intervals of a network that is trained
    behind it are of the scores, not of the table's units. Equal values stay equal; what lies beyond the training rows counts as their
    last one, where ranks end; `inverse_transform` leads back to the table's units, exactly within the training rows where a column has
    up to 1,000 different values, else up to what lies between two of as many.

    Example:
        >>> from sklearn.pipeline import make_pipeline
        >>> from hae import HierarchicalAutoencoder
        >>> X = np.random.default_rng(0).standard_t(2, size=(500, 2)) @ [[1.0, 0.5, 0.1], [0.0, 0.1, 0.5]]
        >>> scores = NormalScores().fit_transform(X)
        >>> bool(abs(X).max() > 20), float(abs(scores).max().round(1))
        (True, 3.1)
        >>> model = make_pipeline(NormalScores(), HierarchicalAutoencoder(n_cvs=1, n_seeds=1, max_epochs=2, device="cpu")).fit(X)
        >>> model.transform(X).shape, model.inverse_transform(model.transform(X)).shape
        ((500, 1), (500, 3))
    """

    def fit(self, X, y=None) -> NormalScores:
        """Learn the maps from rows X (N, D), in any units.

        Raises:
            ValueError: X has no two rows, or an entry that is not a finite number.
        """
        X = validate_data(self, X, dtype=np.float64, ensure_min_samples=2)
        self.maps_ = [_map(column) for column in X.T]
        return self

    def transform(self, X) -> np.ndarray:
        """(N, D) scores, within some 4 of 0 for up to 10,000 training rows."""
        check_is_fitted(self)
        X = validate_data(self, X, dtype=np.float64, reset=False)
        return np.stack([np.interp(column, values, scores) for column, (values, scores) in zip(X.T, self.maps_, strict=True)], axis=1)

    def inverse_transform(self, X) -> np.ndarray:
        """(N, D) in the units of the table, of scores (N, D)."""
        check_is_fitted(self)
        X = np.asarray(X, dtype=np.float64)
        return np.stack([np.interp(column, scores, values) for column, (values, scores) in zip(X.T, self.maps_, strict=True)], axis=1)


def _map(column: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Growing values of a column (N,) and the score of each, up to `KNOTS` of them, evenly spread over the scores."""
    values, counts = np.unique(column, return_counts=True)
    scores = ndtri((np.cumsum(counts) - counts / 2) / len(column))  # the middle of the ranks that equal values share
    pick = np.arange(len(values))
    if len(values) > KNOTS:
        pick = np.unique(np.searchsorted(scores, np.linspace(scores[0], scores[-1], KNOTS)))
    return values[pick], scores[pick]
