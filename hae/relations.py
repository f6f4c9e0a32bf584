"""What a CV is: how much of a label it decides."""

import numpy as np

__all__ = ["correlation_ratio"]


def correlation_ratio(
    cv: np.ndarray, label: np.ndarray, *, period: float | None = None, bins: int = 60, weights: np.ndarray | None = None
) -> float:
    """Fraction of the variance of a label that its mean in bins of a CV explains (Pearson's eta squared), between 0 and 1.

    cv, label: (N,). Bins hold equal numbers of rows, so any monotone map of the CV gives the same. A label with a period is read as
    cosine and sine. About (bins - 1) / N is reached by chance. 0 for a label that does not vary.
    """
    weights = np.ones(len(cv)) if weights is None else weights
    if period is None:
        label = np.asarray(label, dtype=float)[:, None]
    else:
        angle = 2 * np.pi * np.asarray(label, dtype=float) / period
        label = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    ranks = np.empty(len(cv), dtype=np.int64)
    ranks[np.argsort(cv, kind="stable")] = np.arange(len(cv))
    place = ranks * bins // len(cv)
    mass = np.bincount(place, weights, minlength=bins)
    mean = np.average(label, axis=0, weights=weights)
    total = np.average(((label - mean) ** 2).sum(1), weights=weights)
    sums = np.stack([np.bincount(place, weights * column, minlength=bins) for column in (label - mean).T])
    between = (sums**2 / np.where(mass > 0, mass, 1)).sum() / mass.sum()
    return float(between / total) if total > 0 else 0.0
