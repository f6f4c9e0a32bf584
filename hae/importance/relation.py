"""What a CV is: how far it tells a label or another CV, which inputs move it, and frames along it."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from scipy.spatial import cKDTree

from hae.data.rows import FileRows, LabelRows, Rows, made_rows, pieces_of
from hae.importance.intervals import ROUGH_N_EFF, Sampling
from hae.importance.series import made
from hae.network.hierarchy import HierarchicalNetwork
from hae.network.kinds import PERIODS
from hae.network.scoring import filled

__all__ = ["Relation", "column_on_circle", "deviations", "frames_along", "on_circle", "relate", "relations", "sensitivity"]

NEIGHBOURS, REFERENCE_ROWS, SHIFTS = 40, 4096, 20
ROWS = 16384  # whose neighbours are held at once


@dataclass(frozen=True)
class Relation:
    """R^2 of a nearest-neighbour regressor on held-out frames, its 90 % interval (NaN: too few independent frames), and the largest
    R^2 of the same series shifted against each other in time, which is what slow motion alone can do.

    Example: Known to 0.8, and slow motion alone could make 0.1 of it.
        >>> Relation(r2=0.8, low=0.75, high=0.85, null=0.1).real
        True
    """

    r2: float
    low: float
    high: float
    null: float

    @property
    def real(self) -> bool:
        return self.r2 > max(self.null, 0) and not self.low <= 0


def on_circle(x: np.ndarray, period: float | None) -> np.ndarray:
    """A variable (N,) as coordinates in which near is near: (N, 2) cosine and sine where it has a period, else (N, 1)."""
    x = np.asarray(x, dtype=np.float64)
    if period is None:
        return x[:, None]
    return np.stack([np.cos(2 * np.pi * x / period), np.sin(2 * np.pi * x / period)], axis=1)


def column_on_circle(rows: Rows, k: int, period: float | None) -> Rows:
    """The same of column k of rows (N, K)."""
    return made_rows(rows, 1 if period is None else 2, lambda some: on_circle(some[:, k], period))


def relate(
    x: Sequence[Rows], y: Sequence[Rows], sampling: Sampling, weights: np.ndarray | FileRows | None = None, seed: int = 0
) -> Relation:
    """How far x tells y: both [reference rows (N, w), evaluated rows (N', w')], rows in time order; sampling: of the evaluated rows.

    40 nearest reference frames predict; weights (N,) of the reference frames. The null shifts y in time against x (a permutation
    would reject independent series that are merely slow).
    """
    (x_ref, x_new), (y_ref, y_new) = x, y
    pick = np.linspace(0, len(x_ref) - 1, min(len(x_ref), REFERENCE_ROWS)).round().astype(int)
    spread = (x_ref.std(0) if isinstance(x_ref, np.ndarray) else deviations(x_ref)).max() or 1.0
    w = np.ones(len(pick)) if weights is None else weights[pick]
    tree = cKDTree(x_ref[pick] / spread)
    shifts = [0.0, *np.random.default_rng(seed).uniform(0.1, 0.9, SHIFTS)]
    refs = [y_ref[(pick - int(share * len(y_ref))) % len(y_ref)] for share in shifts]  # of the series rolled by so many rows
    means = [np.average(ref, axis=0, weights=w) for ref in refs]
    sums = np.zeros((len(shifts), 2))

    def told(rows: slice) -> np.ndarray:
        """(2, rows) of the series that is not shifted: how much nearer the prediction is than the mean, and how far that is."""
        near = tree.query(x_new[rows] / spread, k=min(NEIGHBOURS, len(pick)))[1].reshape(rows.stop - rows.start, -1)
        shares, counted = w[near] / w[near].sum(1, keepdims=True), sampling.by_row(rows)
        for i, (share, ref, mean) in reversed(list(enumerate(zip(shifts, refs, means, strict=True)))):
            new = _rolled(y_new, int(share * len(y_new)), rows)
            distance = ((new - mean) ** 2).sum(1)
            better = distance - ((new - np.einsum("ij,ijw->iw", shares, ref[near])) ** 2).sum(1)
            sums[i] += better @ counted, distance @ counted
        return np.stack([better, distance])

    both = sampling.series(map(told, pieces_of(len(x_new), ROWS)))
    found = sampling.ratio(made(lambda x: x[0], both), made(lambda x: x[1], both))
    enough = sampling.n_eff(both).min() >= ROUGH_N_EFF
    bounds = (float(found.low), float(found.high)) if enough else (np.nan, np.nan)
    return Relation(float(found.value), *bounds, float(max(better / (distance or 1.0) for better, distance in sums[1:])))


def _rolled(y: Rows, shift: int, rows: slice) -> np.ndarray:
    """These rows of a series y (N, w) that is rolled by so many rows."""
    n, start = len(y), (rows.start - shift) % len(y)
    end = start + rows.stop - rows.start
    return np.concatenate([y[start : min(end, n)], y[: max(end - n, 0)]])


def relations(
    cvs: Sequence[Rows],
    kinds: Sequence[str],
    labels: Sequence[pd.DataFrame | LabelRows],
    periods: Sequence[float | None],
    sampling: Sampling,
    weights: np.ndarray | FileRows | None = None,
) -> pd.DataFrame:
    """One row for each CV and label: cv, label, r2, low, high, null (see `Relation`; CV -> label), and r2_back (label -> CV).

    cvs: [(N, n), (N', n)] of reference and evaluated rows; labels: the same rows of the labels, of which ``periods`` are given.
    """
    rows = []
    values = [side.to_numpy(dtype=float) if isinstance(side, pd.DataFrame) else side.rows for side in labels]
    for k, kind in enumerate(kinds):
        cv = [column_on_circle(side, k, PERIODS[kind]) for side in cvs]
        for j, (name, period) in enumerate(zip(labels[0].columns, periods, strict=True)):
            label = [column_on_circle(side, j, period) for side in values]
            told = relate(cv, label, sampling, weights)
            back = relate(label, cv, sampling, weights)
            rows.append(
                {"cv": k + 1, "label": name, "r2": told.r2, "low": told.low, "high": told.high, "null": told.null, "r2_back": back.r2}
            )
    return pd.DataFrame(rows, columns=["cv", "label", "r2", "low", "high", "null", "r2_back"])


def deviations(X: Rows, weights: np.ndarray | FileRows | None = None) -> np.ndarray:
    """(D,): standard deviation of the columns of X (N, D) with weights (N,), a piece of them at a time; NaN is left out."""
    pieces = [slice(start, start + ROWS) for start in range(0, len(X), ROWS)]
    of = lambda rows: np.asarray(X[rows], dtype=np.float64)  # noqa: E731
    w = lambda rows: np.ones(len(X[rows])) if weights is None else np.asarray(weights[rows], dtype=np.float64)  # noqa: E731
    number = sum(w(rows) @ ~np.isnan(of(rows)) for rows in pieces)
    mean = sum(w(rows) @ np.nan_to_num(of(rows)) for rows in pieces) / number
    return np.sqrt(sum(w(rows) @ np.nan_to_num(of(rows) - mean) ** 2 for rows in pieces) / number)


def sensitivity(
    network: HierarchicalNetwork, X: np.ndarray | FileRows, weights: np.ndarray | FileRows | None = None, rows: int = 2048
) -> np.ndarray:
    """(n, D): root mean square over frames of d CV_k / d s_i, times the standard deviation of s_i, over the CV's (1 for an angle).

    One gradient a CV, on at most ``rows`` evenly spread rows of X (N, D), which are in raw units.
    """
    pick = np.linspace(0, len(X) - 1, min(len(X), rows)).round().astype(int)
    w = np.ones(len(pick)) if weights is None else weights[pick]
    network = copy.deepcopy(network).double()  # of float32 inputs far from zero little is left beside their mean
    s = filled(network, torch.as_tensor(X[pick]).to(network.bottleneck.T)).requires_grad_(True)
    cvs, moved = network.encode(s), deviations(X, weights)
    spreads = deviations(cvs.detach().double().cpu().numpy(), w)
    out = []
    for k, kind in enumerate(network.bottleneck.kinds):
        gradient = torch.autograd.grad(cvs[:, k].sum(), s, retain_graph=True)[0].double().cpu().numpy()
        spread = 1.0 if PERIODS[kind] else spreads[k] or 1.0
        out.append(np.sqrt(np.average(gradient**2, axis=0, weights=w)) * moved / spread)
    return np.array(out)


def frames_along(cvs: np.ndarray, k: int, kind: str = "linear", n: int = 25) -> np.ndarray:
    """Rows (n,) of real frames along CV_k (k from 0): at even steps from its 1st to its 99th percentile (round the whole circle for
    an angle), each the one of the near frames whose other CVs are nearest to their medians. cvs: (N, n_cvs)."""
    x = cvs[:, k]
    low, high = np.quantile(x, [0.01, 0.99])
    goals = np.linspace(-np.pi, np.pi, n, endpoint=False) if PERIODS[kind] else np.linspace(low, high, n)
    others = np.delete(cvs, k, axis=1)
    spread = np.quantile(others, 0.84, axis=0) - np.quantile(others, 0.16, axis=0)
    away = (((others - np.median(others, axis=0)) / np.where(spread > 0, spread, 1)) ** 2).sum(1)
    rows = []
    for goal in goals:
        distance = np.abs(np.angle(np.exp(1j * (x - goal)))) if PERIODS[kind] else np.abs(x - goal)
        near = np.argsort(distance, kind="stable")[: max(len(x) // 200, 1)]
        rows.append(near[np.argmin(away[near])])
    return np.array(rows)
