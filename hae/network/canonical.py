"""One fixed form of the CVs: sign, scale, mixing and zero of angles chosen by rule, every reconstruction unchanged.

Training fixes the levels q_k, not the CVs: a linear CV may be shifted, scaled and flipped, in the collective variant also mixed with
earlier CVs, a circular one turned and reflected, and the decoders absorb it. `canonicalise` picks one form from the training data, and
`match` follows a reference model, so that a retrained model does not turn its users' axes around. Both only rename (see
`hae.network.bottleneck.Bottleneck.rename`): the levels of a network are the same to the last bit.
"""

from collections.abc import Sequence

import numpy as np
import torch

from .hierarchy import HierarchicalNetwork
from .kinds import PERIODS
from .scoring import chunked, encode, filled

__all__ = ["canonicalise", "canonicalise_members", "match"]

# Of a CV without a period: whether it is shifted, scaled and unmixed, or its sign alone is chosen.
AFFINE = {"linear": True, "tanh": False}
DEPENDENT = 1e-3  # a linear CV with less than this share of its spread left by earlier CVs is a copy: it is not unmixed


def canonicalise(network: HierarchicalNetwork, X: np.ndarray, weights: np.ndarray | None = None) -> None:
    """Give the CVs of a network their canonical form, from training rows X (N, D) in raw units.

    - linear: mean 0 and standard deviation 1; in the collective variant uncorrelated with everything earlier (sequential
      orthogonalisation, which turns linear networks into PCA);
    - linear and tanh: the sign that makes the covariance with the feature of largest covariance positive;
    - circular: turned so that the cosine follows the feature of largest covariance, and the sine, as far as it can, the others.

    Example: CVs of mean 0, unit variance and no correlation.
        >>> X = np.random.default_rng(0).normal(size=(500, 3))
        >>> network = HierarchicalNetwork.mlp(3, ["linear", "linear"]).double().reset(0)
        >>> canonicalise(network, X)
        >>> bool(np.allclose(np.cov(encode(network, X).T, bias=True), np.eye(2)))
        True
    """
    X = np.asarray(X, dtype=np.float64)
    weights = np.full(len(X), 1 / len(X)) if weights is None else np.asarray(weights, dtype=np.float64) / np.sum(weights)
    bottleneck = network.bottleneck
    c = np.concatenate(chunked(network, X, lambda net, s: net.coordinates(net.standardise(filled(net, s))).cpu().numpy()))
    features = (np.nan_to_num(X - network.input_mean.numpy()) / network.input_scale.numpy()) * weights[:, None]
    mean = weights @ c
    centred = c - mean
    T, t = np.eye(c.shape[1]), np.zeros(c.shape[1])
    for kind, columns in zip(bottleneck.kinds, bottleneck.columns):
        k = columns.start
        covariance = centred[:, columns].T @ features  # (1 or 2, D)
        if PERIODS[kind]:
            T[columns, columns] = _turn(covariance)
            continue
        row = T[k].copy()
        if AFFINE[kind]:
            if network.variant == "collective" and k > 0:
                root = np.sqrt(weights)[:, None]
                mixing = np.linalg.lstsq(root * centred[:, :k], root[:, 0] * centred[:, k], rcond=1e-10)[0]
                left = centred[:, k] - centred[:, :k] @ mixing
                if np.sqrt(weights @ left**2) > DEPENDENT * np.sqrt(weights @ centred[:, k] ** 2):
                    row[:k] = -mixing
            spread = np.sqrt(weights @ (centred @ row) ** 2)
            row /= spread if spread > 0 else 1
        covariance = (centred @ row) @ features
        row *= -1 if covariance[np.abs(covariance).argmax()] < 0 else 1
        T[k] = row
        t[k] = -row @ mean if AFFINE[kind] else 0
    bottleneck.forget_names()  # T and t are those of the coordinates, whatever form the CVs had
    bottleneck.rename(torch.from_numpy(T), torch.from_numpy(t))


def canonicalise_members(members: Sequence[HierarchicalNetwork], X: np.ndarray, weights: np.ndarray | None = None) -> None:
    """Canonical form of every member, and all in the frame of reference of the first, so that members can be compared."""
    for member in members:
        canonicalise(member, X, weights)
    reference = encode(members[0], X)
    for member in members[1:]:
        match(member, X, reference, members[0].bottleneck.kinds, weights)


def match(
    network: HierarchicalNetwork, X: np.ndarray, reference: np.ndarray, kinds: tuple[str, ...], weights: np.ndarray | None = None
) -> list[str]:
    """Let signs, zeros and directions follow reference CVs (N, n') of the same rows X (N, D) with weights (N,); kinds: of the reference.

    A CV whose counterpart is missing or of another kind stays as it is. Returns what was done to each CV, in words.

    Example: A reference whose CV has the other sign.
        >>> X = np.random.default_rng(0).normal(size=(500, 3))
        >>> network = HierarchicalNetwork.mlp(3, ["linear"]).double().reset(0)
        >>> match(network, X, -encode(network, X), ("linear",))
        ['flipped']
    """
    cvs = encode(network, np.asarray(X))
    bottleneck = network.bottleneck
    T, done = np.eye(bottleneck.n_coordinates), []
    for k, (kind, columns) in enumerate(zip(bottleneck.kinds, bottleneck.columns)):
        if k >= reference.shape[1] or kinds[k] != kind:
            done.append("kept: no counterpart")
        elif PERIODS[kind]:
            same, mirrored = (np.average(np.exp(1j * (reference[:, k] + sign * cvs[:, k])), weights=weights) for sign in (-1, 1))
            reflect = abs(mirrored) > abs(same)
            angle = np.angle(mirrored if reflect else same)
            T[columns, columns] = _rotation(angle) @ np.diag([1, -1 if reflect else 1])
            done.append(f"turned by {np.degrees(angle):.2f} degrees" + (" and reflected" if reflect else ""))
        else:
            flip = np.cov(cvs[:, k], reference[:, k], aweights=weights)[0, 1] < 0
            T[columns, columns] = -1 if flip else 1
            done.append("flipped" if flip else "kept")
    bottleneck.rename(torch.from_numpy(T), torch.zeros(bottleneck.n_coordinates, dtype=torch.float64))
    return done


def _rotation(angle: float) -> np.ndarray:
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def _turn(covariance: np.ndarray) -> np.ndarray:
    """Rotation, and perhaps reflection, of a point on the circle, from the covariance (2, D) of its coordinates with the features."""
    leading = covariance[:, (covariance**2).sum(0).argmax()]
    turn = _rotation(-np.arctan2(leading[1], leading[0]))
    sine = turn[1] @ covariance
    return np.diag([1, -1 if sine[np.abs(sine).argmax()] < 0 else 1]) @ turn
