"""What is asked of a fit: FVE by level, whether the order is that of known factors, how steep its CVs are, whether seeds agree."""

import numpy as np
from sklearn.neighbors import KNeighborsRegressor

from benchmarks.field.methods import Fitted

__all__ = ["agreement", "fves", "gradient", "order_of"]

STEP, PROBED = 1e-2, 50  # of a difference, in standardised units; rows


def fves(levels: np.ndarray, x: np.ndarray) -> list[float | None]:
    """FVE of levels (n, N, D) of rows x (N, D); None of a level that is not there."""
    error = np.square(levels.astype(float) - x).sum((1, 2)) / np.square(x - x.mean(0)).sum()
    return [None if np.isnan(value) else round(float(1 - value), 5) for value in error]


def order_of(cvs: np.ndarray, factors: np.ndarray) -> bool:
    """Whether CV_k tells factor k better than any other does, by nearest neighbours on half of the rows."""
    half, found = len(cvs) // 2, []
    for k in range(min(cvs.shape[1], factors.shape[1])):
        told = KNeighborsRegressor(20).fit(cvs[:half, k : k + 1], factors[:half]).predict(cvs[half:, k : k + 1])
        left = np.square(told.reshape(len(cvs) - half, -1) - factors[half:]).mean(0) / factors[half:].var(0)
        found.append(int(left.argmin()) == k)
    return all(found)


def gradient(fitted: Fitted, test: np.ndarray, train: np.ndarray) -> float:
    """The largest |ds_k/dx| of any CV, in standard deviations of the CV over root mean square distances of rows, at so many test rows.

    By central differences along every feature, or along 100 random directions where there are more features, scaled up to all.
    """
    rng, d = np.random.default_rng(0), train.shape[1]
    rows = test[rng.permutation(len(test))[:PROBED]]
    ways = np.eye(d) if d <= 100 else np.linalg.qr(rng.normal(size=(d, 100)))[0].T
    moved = (rows[:, None] + STEP * np.stack([ways, -ways])[:, None]).reshape(-1, d).astype(np.float32)
    ahead, behind = fitted.cvs(moved).reshape(2, len(rows), len(ways), -1)
    slopes = (ahead - behind) / (2 * STEP) / fitted.cvs(train).std(0)
    return float(np.sqrt(np.square(slopes).sum(1) * d / len(ways)).max() * np.sqrt(train.var(0).sum()))


def agreement(levels: list[np.ndarray]) -> np.ndarray:
    """(n,) of the levels (n, N, D) of several seeds: 1 less the mean square distance of two over twice the variance of one."""
    variance = np.mean([level.var(1).sum(-1) for level in levels], axis=0)
    apart = [np.square(a - b).mean(1).sum(-1) for i, a in enumerate(levels) for b in levels[:i]]
    return 1 - np.mean(apart, axis=0) / (2 * variance)
