"""The objective: the error of every level in the metric W, averaged over levels by their weights."""

import warnings
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..errors import BadInput

__all__ = ["Objective", "frame_errors", "like_units", "rounding", "scales", "standardisation", "warn_of_rounding"]

SCALES = ("auto", "global", "feature", "none")
UNLIKE = 10.0  # times a typical column, both in size and in spread, from which the largest one has another unit
ROUNDING = 1e-12  # of a mean: differences from it up to this are what arithmetic leaves of a constant
SMALLEST = 1.5e-154  # a difference whose square is no normal float64


def standardisation(values: np.ndarray, scale: str, weights: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Mean (D,) and scale (D,) of rows (N, D), missing entries (NaN) left out.

    "global": one number, the root of the mean variance (coordinates, all in one unit); "feature": the standard deviation of every
    column (tables); "none": 1; "auto": "global" for columns that are alike (`like_units`), else "feature". A column that never changes
    has the scale 1: nothing is to be explained there, and nothing divided by 0.
    Warns of columns that change by no more than `rounding`, and count as constant.
    """
    if scale not in SCALES:
        raise BadInput(f"scale: {scale!r} is not a metric; allowed: {', '.join(SCALES)}")
    values = np.asarray(values, dtype=np.float64)
    shares = np.broadcast_to(np.ones(len(values)) if weights is None else weights, values.T.shape).T * ~np.isnan(values)
    total = shares.sum(0)
    total[total == 0] = 1
    mean = (np.nan_to_num(values) * shares).sum(0) / total
    variance = (np.nan_to_num(values - mean) ** 2 * shares).sum(0) / total
    constant = np.sqrt(variance) <= rounding(mean)
    constant[constant] = [len(set(column[~np.isnan(column)].tolist())) > 1 for column in values.T[constant]]
    warn_of_rounding(constant)
    return mean, scales(mean, variance, scale)


def warn_of_rounding(columns: np.ndarray) -> None:
    """Say which columns, (D,) bool, have more than one value and count as constant all the same, if any."""
    still = np.flatnonzero(columns).tolist()
    if still:
        warnings.warn(
            f"columns {still[:10]}: they change by rounding alone, count as constant, and nothing of them is explained", stacklevel=3
        )


def rounding(mean: np.ndarray, eps: float = 0.0) -> np.ndarray:
    """The one rule of what counts as constant, (D,): a feature that differs from its mean by no more than this does not vary.

    eps: relative precision of the values, where it is less than that of float64.
    """
    return np.maximum(max(ROUNDING, eps) * np.abs(mean), SMALLEST)


def scales(mean: np.ndarray, variance: np.ndarray, scale: str) -> np.ndarray:
    """Scale (D,) of each feature from its mean and variance, see `standardisation`."""
    variance = np.where(np.sqrt(variance) <= rounding(mean), 0, variance)
    if scale == "none":
        return np.ones_like(variance)
    if scale == "global" or (scale == "auto" and like_units(mean, variance)):
        return np.full_like(variance, np.sqrt(variance.mean()) or 1)
    return np.where(variance > 0, np.sqrt(variance), 1)


def like_units(mean: np.ndarray, variance: np.ndarray) -> bool:
    """Whether columns of this mean and variance, (D,), seem to be in one unit, so that one number may scale all of them.

    They do unless the largest column is more than ten times a typical one (the lower median of those that vary) both in its standard
    deviation and in its root mean square. Both are asked: a loose end of a molecule moves far, and its positions are as large as others.

    Example: Positions in nm, one of them loose; then a table with a column of thousands.
        >>> like_units(np.array([1.0, 2.0, 3.0]), np.array([0.01, 0.01, 1.0]) ** 2)
        True
        >>> like_units(np.array([1.0, 2.0, 800.0]), np.array([0.3, 0.8, 300.0]) ** 2)
        False
    """
    varies = variance > 0
    if not varies.any():
        return True
    typical = (int(varies.sum()) - 1) // 2
    spread, size = np.sort(variance[varies]), np.sort((mean**2 + variance)[varies])
    return not (spread[-1] > UNLIKE**2 * spread[typical] and size[-1] > UNLIKE**2 * size[typical])


def frame_errors(levels: Tensor, target: Tensor, root: Tensor | None = None, observed: Tensor | None = None) -> Tensor:
    """Squared error of every level at every frame, in standardised units: mean over features of ((y - q) W^(1/2))^2.

    levels (..., n, N, D) and target (..., N, D) -> (..., n, N). ``root``: a further metric over the standardised features, a vector
    (D,) of root weights or a matrix (D, r) with W = root root^T. ``observed`` (..., N, D): 0 where the target is missing.
    """
    residual = target.unsqueeze(-3) - levels
    if observed is not None:
        residual = residual * observed.unsqueeze(-3)
    if root is not None:
        residual = residual * root if root.ndim == 1 else residual @ root
    return residual.square().sum(-1) / target.shape[-1]


@dataclass(frozen=True)
class Objective:
    """L = sum_k w_k E_k / sum_k w_k with E_k the mean of `frame_errors` over frames (Chen, Tan, Ferguson 2018: w_k = 1).

    level_weights: (n,) or None; root: see `frame_errors`. smooth: weight of the steepness of the CVs
    (`hae.network.hierarchy.HierarchicalNetwork.steepness`) that training adds to L; what is explained is measured without it.

    Example: Two levels of one feature at two frames; the second is exact.
        >>> import torch
        >>> target = torch.tensor([[1.0], [-1.0]])
        >>> errors = Objective().level_errors(torch.stack([0 * target, target]), target)
        >>> errors, Objective().loss(errors)
        (tensor([1., 0.]), tensor(0.5000))
    """

    level_weights: Tensor | None = None
    root: Tensor | None = None
    smooth: float = 0.0

    def level_errors(self, levels: Tensor, target: Tensor, weights: Tensor | None = None, observed: Tensor | None = None) -> Tensor:
        """E_k, (..., n): mean over frames, weighted by ``weights`` (..., N) of mean 1 over the data set."""
        if weights is None and observed is None and self.root is None:
            return (target.unsqueeze(-3) - levels).square().mean((-2, -1))
        errors = frame_errors(levels, target, self.root, observed)
        return errors.mean(-1) if weights is None else (errors * weights.unsqueeze(-2)).mean(-1)

    def loss(self, errors: Tensor) -> Tensor:
        """L of each member, (...), from its level errors (..., n)."""
        return errors.mean(-1) if self.level_weights is None else (errors * self.shares(errors.shape[-1], errors)).sum(-1)

    def shares(self, n: int, like: Tensor) -> Tensor:
        """Share of each level in L, (n,): 1/n, or w_k / sum_k w_k. Gradients that are written out (`hae.training.written_out`) ask too."""
        weights = torch.ones(n).to(like) if self.level_weights is None else self.level_weights
        return weights / weights.sum()

    def to(self, like: Tensor) -> "Objective":
        """The same on the device and in the type of ``like``."""
        move = lambda tensor: None if tensor is None else tensor.to(device=like.device, dtype=like.dtype)  # noqa: E731
        return Objective(move(self.level_weights), move(self.root), self.smooth)
