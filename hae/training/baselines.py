"""Baselines: principal components, and the plain autoencoder of as many nodes, as networks like the others."""

from dataclasses import astuple, replace

import numpy as np
import torch

from hae.network.hierarchy import HierarchicalNetwork
from hae.network.layers import MaskedMLP
from hae.network.objective import standardisation
from hae.training.fit import Plan, fit_members
from hae.training.pairs import Standard
from hae.training.sources import Source
from hae.training.stored import Moments

__all__ = ["plain_autoencoders", "principal_components", "principal_components_of"]


def principal_components(
    X: np.ndarray,
    n: int,
    scale: str = "global",
    weights: np.ndarray | None = None,
    root: np.ndarray | None = None,
    target: np.ndarray | None = None,
) -> HierarchicalNetwork:
    """The linear network of n CVs with the least error at every level, found without training.

    With the input as target: principal components in the metric W; level k is the projection on the first k. With another target:
    reduced-rank regression (Izenman 1975): principal components of what least squares predicts. It is the boosted linear network:
    n CVs, each decoded by a vector. X: (N, D) training rows; target: (N, D'); root: see `hae.network.objective.frame_errors`.

    Example: As many components as features leave nothing.
        >>> X = np.random.default_rng(0).normal(size=(100, 2))
        >>> cvs, levels = principal_components(X, n=2)(torch.from_numpy(X))
        >>> bool(np.allclose(levels[-1], X))
        True
    """
    target = X if target is None else target
    (mean, spread), (out_mean, out_spread) = standardisation(X, scale, weights), standardisation(target, scale, weights)
    x, y = np.nan_to_num((X - mean) / spread), np.nan_to_num((target - out_mean) / out_spread)
    w = np.ones(len(x)) if weights is None else np.asarray(weights, dtype=np.float64)
    w = (w / w.sum())[:, None]
    root = np.eye(y.shape[1]) if root is None else np.diag(root) if root.ndim == 1 else root
    same = target is X
    coefficients = np.eye(x.shape[1]) if same else np.linalg.lstsq(np.sqrt(w) * x, np.sqrt(w) * y, rcond=None)[0]
    map_to = coefficients @ root  # standardised input -> predicted target in the metric
    predicted = x @ map_to
    return _network(Standard(mean, spread, out_mean, out_spread), predicted.T @ (w * predicted), map_to, root, n)


def principal_components_of(moments: Moments, n: int, scale: str = "global") -> HierarchicalNetwork:
    """`principal_components` of rows that came in parts, from their moments with `products`."""
    mean, spread = moments.standard(scale)
    assert moments.products is not None
    covariance = moments.products / moments.total / np.outer(spread, spread)
    return _network(Standard(mean, spread, mean, spread), covariance, np.eye(len(mean)), np.eye(len(mean)), n)


def _network(standard: Standard, covariance: np.ndarray, map_to: np.ndarray, root: np.ndarray, n: int) -> HierarchicalNetwork:
    """Of the covariance of what is predicted, in the metric."""
    _, vectors = np.linalg.eigh(covariance)
    axes = vectors[:, ::-1][:, :n]
    axes = np.pad(axes, ((0, 0), (0, n - axes.shape[1])))  # of fewer targets than CVs: the others add nothing
    sizes = len(standard.input_mean), len(standard.output_mean)
    network = HierarchicalNetwork.mlp(sizes[0], ["linear"] * n, "boosted", (), "identity", sizes[1]).double()
    network.scale_by(*astuple(standard))
    assert isinstance(network.encoder, MaskedMLP) and isinstance(network.decoder.outputs, MaskedMLP)
    with torch.no_grad():
        network.encoder.layers[0].weight.copy_(torch.from_numpy(map_to @ axes))
        decoder = network.decoder.outputs.layers[0].weight.zero_()  # (n, n, D'): decoder k reads CV_k alone
        back = axes.T @ np.linalg.pinv(root)
        for k in range(n):
            decoder[k, k] = torch.from_numpy(back[k])
    return network.requires_grad_(False)


def plain_autoencoders(source: Source, plan: Plan) -> list[HierarchicalNetwork]:
    """The plain autoencoder of k nodes for every k from 1 to the number of the plan's kinds, each the best of its members.

    It has no hierarchy, so level k of a hierarchical network of the same widths can hardly explain more. For k = 1 all three kinds of
    network are the same.
    """
    best = []
    for k in range(1, len(plan.kinds) + 1):
        title = plan.progress and f"{plan.progress}, {k} node" + "s" * (k > 1)
        best.append(fit_members(source, replace(plan, kinds=plan.kinds[:k], variant="plain", progress=title)).networks[0])
    return best
