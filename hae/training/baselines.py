"""Baselines: principal components, and the plain autoencoder of as many nodes, as networks like the others."""

from collections.abc import Callable, Sequence
from dataclasses import astuple
from functools import partial

import numpy as np
import torch

from hae.network.hierarchy import HierarchicalNetwork
from hae.network.layers import MaskedMLP
from hae.network.objective import Objective, standardisation
from hae.training.members import train_members
from hae.training.pairs import Standard
from hae.training.rows import RowSource
from hae.training.schedule import Settings
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


def plain_autoencoders(
    data: RowSource,
    validation: RowSource | None,
    standard: Standard,
    kinds: Sequence[str],
    *,
    hidden: Sequence[int],
    activation: str,
    settings: Settings,
    seeds: Sequence[int],
    objective: Objective | None = None,
    progress: str | None = None,
    on_epoch: Callable[[int, list[dict]], None] | None = None,
) -> list[HierarchicalNetwork]:
    """The plain autoencoder of k nodes for every k from 1 to the number of ``kinds``, each the best of several members.

    It has no hierarchy, so level k of a hierarchical network of the same widths can hardly explain more. For k = 1 all three kinds of
    network are the same.
    """
    best = []
    for k in range(1, len(kinds) + 1):

        def build(members, k=k):
            sizes = len(standard.input_mean), len(standard.output_mean)
            network = HierarchicalNetwork.mlp(sizes[0], kinds[:k], "plain", hidden, activation, sizes[1], members)
            network.scale_by(*astuple(standard))
            return network

        members = train_members(
            build,
            data,
            validation,
            objective or Objective(),
            settings,
            seeds,
            progress=progress and f"{progress}, {k} node" + "s" * (k > 1),
            on_epoch=None if on_epoch is None else partial(on_epoch, k),
        )
        best.append(members.networks[0])
    return best
