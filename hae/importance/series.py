"""Figures of every row in the order of time that memory does not hold: made a piece at a time where they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from hae.data.rows import FileRows, Rows, pieces_of

__all__ = ["Series", "made", "quantiles", "series_of"]

TOGETHER = 65536  # values that are read at once
MOST = 2**20  # values that are sorted at once
BINS = 4096


@dataclass(frozen=True)
class Series:
    """Figures (..., N) in the place of an array, in the order of time: ``x[..., rows]`` of a slice of rows makes them.

    Example:
        >>> squares = made(lambda x: x**2, Series((5,), lambda rows: np.arange(5.0)[rows]))
        >>> squares.shape, squares[..., 3:].tolist()
        ((5,), [9.0, 16.0])
    """

    shape: tuple[int, ...]
    at: Callable[[slice], np.ndarray]

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def __getitem__(self, place: tuple) -> np.ndarray:
        return self.at(place[-1])


def made(function: Callable[..., np.ndarray], *of: np.ndarray | Series):
    """``function(*of)``, of figures (..., N) to others, row by row: at once of arrays, a piece at a time where one is a `Series`."""
    if not any(isinstance(x, Series) for x in of):
        return function(*of)
    at = lambda rows: function(*(x[..., rows] for x in of))  # noqa: E731
    return Series((*at(slice(0, 0)).shape[:-1], of[0].shape[-1]), at)


def series_of(rows: FileRows) -> Series:
    """Rows (N, k) in a file, or (N,), as figures (k, N), or (N,)."""
    return Series((*rows.shape[:0:-1], len(rows)), lambda piece: rows[piece].T)


def quantiles(x: Rows, k: int, shares: list[float], weights: np.ndarray | FileRows | None = None) -> list[float]:
    """Quantiles of column k of rows (N, K), as `np.quantile` has them (with weights (N,), by the inverted distribution function): of those
    in files in a few passes, by ever finer bins."""
    if isinstance(x, np.ndarray):
        if weights is None:
            return [float(np.quantile(x[:, k], share)) for share in shares]
        return [float(np.quantile(x[:, k], share, weights=weights[:], method="inverted_cdf")) for share in shares]
    if weights is not None:
        return _weighted(x, k, shares, weights)
    pieces = lambda: (np.asarray(x[rows][:, k], dtype=np.float64) for rows in pieces_of(len(x), TOGETHER))  # noqa: E731
    ends = [(piece.min(), piece.max()) for piece in pieces()]
    reach = float(min(low for low, _ in ends)), float(max(high for _, high in ends))
    found = []
    for share in shares:
        place = share * (len(x) - 1)
        pair = np.array([_ranked(pieces, rank, *reach) for rank in (int(place), min(int(place) + 1, len(x) - 1))])
        found.append(float(np.quantile(pair, place - int(place))))
    return found


def _weighted(x: Rows, k: int, shares: list[float], weights: np.ndarray | FileRows) -> list[float]:
    """The smallest value up to which the rows have a share of the weight, for each share."""

    def pieces() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for rows in pieces_of(len(x), TOGETHER):
            w = np.asarray(weights[rows], dtype=np.float64)
            yield np.asarray(x[rows][:, k], dtype=np.float64)[w > 0], w[w > 0]

    total, found = sum(w.sum() for _, w in pieces()), []
    for share in shares:
        low, high = min(v.min() for v, _ in pieces() if len(v)), max(v.max() for v, _ in pieces() if len(v))
        goal, before = share * total, 0.0  # weight of values below low
        while low < high:
            edges = np.linspace(low, high, BINS + 1)[1:-1]
            sums, counts = np.zeros(BINS), np.zeros(BINS, dtype=np.int64)
            for v, w in pieces():
                inside = (v >= low) & (v <= high)
                bins = np.searchsorted(edges, v[inside], side="right")
                sums += np.bincount(bins, w[inside], BINS)
                counts += np.bincount(bins, minlength=BINS)
            if counts.sum() <= MOST:
                few = [(v[(v >= low) & (v <= high)], w[(v >= low) & (v <= high)]) for v, w in pieces()]
                v, w = (np.concatenate(column) for column in zip(*few, strict=True))
                order = np.argsort(v, kind="stable")
                at = int(np.searchsorted(before + np.cumsum(w[order]), goal))
                low = float(v[order][min(at, len(v) - 1)])
                break
            at = min(int(np.searchsorted(before + np.cumsum(sums), goal)), BINS - 1)
            finer = float(edges[at - 1]) if at else low, float(np.nextafter(edges[at], -np.inf)) if at < BINS - 1 else high
            if finer == (low, high):
                break
            before, (low, high) = before + float(sums[:at].sum()), finer
        found.append(float(low))
    return found


def _ranked(pieces: Callable[[], Iterator[np.ndarray]], rank: int, low: float, high: float) -> float:
    """The value of this rank, from 0, of values from low to high."""
    before = 0  # values below low
    while low < high:
        edges = np.linspace(low, high, BINS + 1)[1:-1]
        inside = (piece[(piece >= low) & (piece <= high)] for piece in pieces())
        counts = np.zeros(BINS, dtype=np.int64)
        for piece in inside:
            counts += np.bincount(np.searchsorted(edges, piece, side="right"), minlength=BINS)
        if counts.sum() <= MOST:
            few = [piece[(piece >= low) & (piece <= high)] for piece in pieces()]
            return float(np.sort(np.concatenate(few))[rank - before])
        at = int(np.searchsorted(np.cumsum(counts), rank - before, side="right"))
        finer = float(edges[at - 1]) if at else low, float(np.nextafter(edges[at], -np.inf)) if at < BINS - 1 else high
        if finer == (low, high):
            break
        before, (low, high) = before + int(counts[:at].sum()), finer
    return low
