"""What a network explains: errors of its levels frame by frame, and FVE, the fraction of the variance explained."""

import copy
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from .hierarchy import HierarchicalNetwork
from .objective import frame_errors, rounding

__all__ = ["FrameErrors", "Sliced", "chunk_rows", "chunked", "chunks", "encode", "encoded", "error_pieces", "explained", "filled",
           "reconstructions", "score_frames"]

CHUNK_ROWS, CHUNK_NUMBERS = 16384, 2**23  # rows and their features a pass at a time: bounds the memory of the levels


class Sliced(Protocol):
    """Rows (N, D) that are read in slices: an array, or what stands in the place of one that memory does not hold.

    Example: Rows that are made where they are read.
        >>> class Ones:
        ...     dtype = np.dtype(np.float32)
        ...     __len__ = lambda self: 1000
        ...     __getitem__ = lambda self, rows: np.ones((len(range(1000)[rows]), 2), np.float32)
        >>> encode(HierarchicalNetwork.mlp(2, ["linear"]), Ones()).shape
        (1000, 1)
    """

    @property
    def dtype(self) -> np.dtype: ...

    def __len__(self) -> int: ...

    def __getitem__(self, rows: slice, /) -> np.ndarray: ...


@dataclass(frozen=True)
class FrameErrors:
    """e (n, N): squared error of every level at every frame in the metric W; v (N,): squared distance from the training mean.

    Example:
        >>> errors = FrameErrors(e=np.array([[0.5, 0.5], [0.1, 0.1]]), v=np.array([1.0, 1.0]))
        >>> errors.fve, errors.gains
        (array([0.5, 0.9]), array([0.5, 0.4]))
    """

    e: np.ndarray
    v: np.ndarray
    weights: np.ndarray | None = None

    @property
    def fve(self) -> np.ndarray:
        """(n,): FVE_k = 1 - E_k / V. About the mean of the training rows, so a bias counts as error. 0 where there is no variance."""
        error = np.average(self.e, axis=1, weights=self.weights)
        variance = np.average(self.v, weights=self.weights)
        return 1 - error / variance if variance > 0 else np.zeros_like(error)

    @property
    def gains(self) -> np.ndarray:
        """(n,): FVE_k - FVE_{k-1} with FVE_0 = 0, the importance of CV_k."""
        return np.diff(self.fve, prepend=0.0)


def chunk_rows(network: HierarchicalNetwork) -> int:
    """How many rows pass through a network at a time."""
    return max(min(CHUNK_ROWS, CHUNK_NUMBERS // max(len(network.input_mean), len(network.output_mean))), 1)


def chunked(network: HierarchicalNetwork, X: Sliced, function, *others: Sliced) -> list:
    """All that `chunks` gives."""
    return list(chunks(network, X, function, *others))


def chunks(network: HierarchicalNetwork, X: Sliced, function, *others: Sliced | range) -> Iterator:
    """``function(network, s, *cuts)`` over the rows of X a chunk at a time, in the type of X, without gradients; cuts: the same rows of
    other arrays, as they are. Of no rows it is asked once, so that what comes back has its shape."""
    dtype = torch.float32 if X.dtype == np.float32 else torch.float64
    device = network.input_mean.device
    network = network if network.dtype == dtype else copy.deepcopy(network).to(dtype)
    together = chunk_rows(network)
    for i in range(0, max(len(X), 1), together):
        s = torch.from_numpy(np.ascontiguousarray(X[i : i + together])).to(device, dtype)
        with torch.no_grad():  # not while the caller has the piece
            found = function(network, s, *(other[i : i + together] for other in others))
        yield found


def filled(network: HierarchicalNetwork, s: torch.Tensor) -> torch.Tensor:
    """Inputs (N, D) with the training mean where they are missing, in float64 as it is."""
    return torch.where(s.isnan(), network.input_mean, s)


def encode(network: HierarchicalNetwork, X: Sliced) -> np.ndarray:
    """CVs (N, n) of rows X (N, D) in raw units, a chunk at a time."""
    return np.concatenate(list(encoded(network, X)))


def encoded(network: HierarchicalNetwork, X: Sliced) -> Iterator[np.ndarray]:
    """The same in pieces."""
    return chunks(network, X, lambda net, s: net.encode(filled(net, s)).cpu().numpy())


def reconstructions(network: HierarchicalNetwork, X: np.ndarray) -> np.ndarray:
    """q_1..q_n (n, N, D') of rows X (N, D), in raw units, a chunk at a time."""
    return np.concatenate(chunked(network, X, lambda net, s: torch.stack(list(net(filled(net, s))[1])).cpu().numpy()), axis=1)


def score_frames(
    network: HierarchicalNetwork,
    X: Sliced,
    target: Sliced | None = None,
    root: np.ndarray | None = None,
    weights: np.ndarray | None = None,
) -> FrameErrors:
    """Errors of a network at rows X (N, D) in raw units against ``target`` (N, D'), the rows themselves by default.

    NaN in the target is left out of errors and variance; NaN in X is read as the training mean. ``root``: see `frame_errors`.
    A target that is the mean to rounding has no variance (see `hae.network.objective.rounding`).

    Example: A network before its start (`reset`) gives the mean for every row, which explains nothing.
        >>> network = HierarchicalNetwork.mlp(2, ["linear"])
        >>> score_frames(network, np.array([[1.0, 2.0], [-1.0, 0.0]])).fve
        array([0.])
    """
    both = np.concatenate(list(error_pieces(network, X, target, root)), axis=1)
    return FrameErrors(both[:-1], both[-1], weights)


def error_pieces(
    network: HierarchicalNetwork, X: Sliced, target: Sliced | None = None, root: np.ndarray | None = None
) -> Iterator[np.ndarray]:
    """e of `FrameErrors`, and v as its last row, (n + 1, rows), a chunk of rows at a time; arguments as of `score_frames`."""
    target = X if target is None else target
    metric = None if root is None else torch.as_tensor(root)
    eps = max((float(np.finfo(of.dtype).eps) for of in (target, X) if of.dtype == np.float32), default=0.0)
    constant = torch.from_numpy(rounding(network.output_mean.cpu().numpy(), eps)).to(network.output_mean.device)

    def errors(network, s, wanted):
        y = torch.from_numpy(np.ascontiguousarray(wanted)).to(s.device) - network.output_mean
        y = (torch.where(y.abs() <= constant, 0, y) / network.output_scale).to(s.dtype)
        observed = None if not y.isnan().any() else (~y.isnan()).to(y)
        y = y.nan_to_num()
        levels = network.standardised_levels(network.standardise(filled(network, s)))
        levels = torch.cat([levels, torch.zeros_like(levels[:1])])  # the mean is the level without any CV
        return frame_errors(levels, y, None if metric is None else metric.to(y), observed).double().cpu().numpy()

    return chunks(network, X, errors, target)


def explained(networks: Sequence[HierarchicalNetwork], pieces: Iterable[tuple[np.ndarray, np.ndarray | None]]) -> list[np.ndarray]:
    """FVE (n,) of each network over rows that come in pieces, values (N, D) with weights (N,) or None: as of `score_frames`."""
    sums = [np.zeros(network.n_levels + 1) for network in networks]
    for X, weights in pieces:
        if not len(X):  # a trajectory that is too short for a block of this side
            continue
        for network, total in zip(networks, sums, strict=True):
            found = score_frames(network, X)
            total += np.concatenate([found.e, found.v[None]]) @ (np.ones(len(X)) if weights is None else weights)
    return [1 - total[:-1] / total[-1] if total[-1] > 0 else np.zeros(len(total) - 1) for total in sums]
