"""What each feature, or a group of features such as an atom, contributes to the gain of each CV, and how sure that is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from hae.data.rows import MadeRows, Rows
from hae.errors import BadInput
from hae.importance.intervals import Sampling
from hae.importance.report import Contributions
from hae.network.hierarchy import HierarchicalNetwork
from hae.network.objective import rounding
from hae.network.scoring import Sliced, chunks, filled

__all__ = ["contributions", "feature_errors"]


def feature_errors(
    network: HierarchicalNetwork, X: Rows, sampling: Sampling, target: Sliced | None = None
) -> np.ndarray:
    """(n + 1, D', P): squared errors of the mean and of every level in each feature, as the `sums` of their frames.

    X: (N, D), target: (N, D') or None for X, in raw units; rows go through a chunk at a time, so that errors by frame and feature are
    never held all at once. Features that are missing count nothing, as in `hae.network.scoring.score_frames`.
    """
    target = X if target is None else target
    constant = torch.from_numpy(rounding(network.output_mean.cpu().numpy())).to(network.output_mean.device)
    total = np.zeros(1)

    def add(net, s, numbers, wanted):
        nonlocal total
        rows = slice(numbers[0], numbers[-1] + 1)
        y = torch.as_tensor(np.ascontiguousarray(wanted)).to(s) - net.output_mean
        y = torch.where(y.abs() <= constant, 0, y) / net.output_scale  # rounding has no variance that shares could be of
        levels = net.standardised_levels(net.standardise(filled(net, s)))
        squares = ((y - level).nan_to_num().square().T for level in (torch.zeros_like(y), *levels))
        total = total + np.stack([sampling.sums(x.double().cpu().numpy(), rows) for x in squares])

    for _ in chunks(network, MadeRows(X, X.shape[1]), add, range(len(X)), target):
        pass
    return total


def contributions(errors: np.ndarray, features: Sequence[str], groups: Mapping[str, str] | None, sure: Sequence[bool]) -> Contributions:
    """Gain that each feature (D' names), or each group of them (feature -> group), contributes; over all they add up to the gain.

    errors: of `feature_errors`; sure: for each CV whether there are enough independent frames for intervals.
    Raises BadInput for a feature without a group.

    Example: The first principal component follows the feature x, of which nearly all of the gain is.
        >>> from hae.training.baselines import principal_components
        >>> X = np.random.default_rng(0).normal(size=(1000, 2)) * [3.0, 0.3]
        >>> errors = feature_errors(principal_components(X, n=1), X, Sampling.of(1000))
        >>> gain = contributions(errors, ["x", "y"], None, sure=[True]).to_frame()["gain_cv1"]
        >>> bool(gain["x"] > 0.98), bool(gain["y"] < 0.01)
        (True, True)
    """
    if groups is not None:
        missing = [name for name in features if name not in groups]
        if missing:
            raise BadInput(f"groups: nothing for {', '.join(missing[:5])}; allowed: a group for every feature")
        names = list(dict.fromkeys(groups[name] for name in features))
        member = np.array([[groups[feature] == name for feature in features] for name in names], dtype=float)
        errors, features = np.einsum("gd,kdp->kgp", member, errors), names
    found = Sampling.ratio_of_sums(-np.diff(errors, axis=0), errors[0].sum(0))
    doubt = ~np.asarray(sure)[:, None]
    bounds = (np.where(doubt, np.nan, bound) for bound in (found.low, found.high))
    return Contributions(tuple(features), *(tuple(map(tuple, figures.tolist())) for figures in (found.value, *bounds)))
