"""How long a series remembers itself: its integrated autocorrelation time, with a bounded part of the series in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np
from scipy.fft import irfft, next_fast_len, rfft

__all__ = ["correlation_time"]

WHOLE = 2**18  # places of the axis of time that are looked at together
WIDTH = 2**16  # places, and lags, that are looked at at a time of a longer axis

Pieces = Callable[[], Iterable[tuple[np.ndarray, np.ndarray]]]


def correlation_time(pieces: Pieces, number: int, power: float, last: int, reach: int) -> float:
    """Integrated autocorrelation time, 1 or more, of a series of ``number`` values whose mean square is ``power``.

    pieces: of places on an axis of time, growing, and the values there; last: the last place; reach: the longest lag that is looked at.
    The time is summed up to the first lag of 5 times itself (Sokal 1997), or the first without correlation (Geyer 1992).

    Example: Each value stands twice.
        >>> series = np.random.default_rng(0).normal(size=5000).repeat(2)
        >>> round(correlation_time(lambda: [(np.arange(10000), series)], 10000, np.mean(series**2), 9999, 1000))
        2
    """
    if last + 1 + reach <= WHOLE:
        return _summed(_whole(pieces, last, reach), number, power, reach)[0]
    lags = np.zeros((2, 0))
    found: list[float] = []
    while not found:
        lags = np.concatenate([lags, _lagged(pieces, lags.shape[1] // WIDTH)], axis=1)[:, :reach]
        found = _summed(lags, number, power, reach)
    return found[0]


def _summed(lags: np.ndarray, number: int, power: float, reach: int) -> list[float]:
    """The time from sums of products (2, L), and numbers of pairs, at the first lags; [] where it takes more than these to tell."""
    seen = np.flatnonzero(lags[1] > 0.1 * number)
    rho = np.interp(np.arange(lags.shape[1]), seen, lags[0][seen] / lags[1][seen]) / power
    time = np.maximum(2 * np.cumsum(rho) - rho[0], 1.0)
    closed = np.flatnonzero((np.arange(len(rho)) >= 5 * time) | (rho + np.append(rho[1:], 0) <= 0))
    if len(rho) < reach:
        closed = closed[closed < seen[-1]]  # beyond, a further lag may be between these
        return [float(time[closed[0]])] if len(closed) else []
    return [float(time[closed[0] if len(closed) else -1])]


def _whole(pieces: Pieces, last: int, reach: int) -> np.ndarray:
    """Sums of products and numbers of pairs (2, L) of the whole axis at once."""
    size = next_fast_len(last + 1 + reach, real=True)
    axis = np.zeros((2, size))
    for slots, values in pieces():
        axis[0, slots], axis[1, slots] = values, 1
    return irfft(np.abs(rfft(axis)) ** 2, size)[:, : min(reach, size // 2)]


def _lagged(pieces: Pieces, shift: int) -> np.ndarray:
    """(2, WIDTH): the same at lags from ``shift`` times WIDTH on."""
    total = np.zeros((2, WIDTH))
    ahead = _windows(pieces, (shift + 1) * WIDTH)
    nothing = np.zeros((2, WIDTH))
    for _ in range(shift):
        next(ahead, nothing)
    near = next(ahead, nothing)
    for window in _windows(pieces, (shift + 1) * WIDTH):
        far = next(ahead, nothing)
        if window[1].any() and (near[1].any() or far[1].any()):
            both = rfft(np.concatenate([near, far], axis=1))
            total += irfft(np.conj(rfft(window, 2 * WIDTH)) * both, 2 * WIDTH)[:, :WIDTH]
        near = far
    return total


def _windows(pieces: Pieces, gap: int) -> Iterator[np.ndarray]:
    """The axis, values and 1 where there is one, (2, WIDTH) at a time; longer stretches without any are cut to ``gap`` places."""
    window, first, before, at = np.zeros((2, WIDTH)), 0, 0, 0
    for slots, values in pieces():
        places = at + np.cumsum(np.minimum(np.diff(slots, prepend=before), gap))
        before, at = int(slots[-1]), int(places[-1])
        while len(places):
            here = int(np.searchsorted(places, first + WIDTH))
            window[0, places[:here] - first], window[1, places[:here] - first] = values[:here], 1
            places, values = places[here:], values[here:]
            if len(places):
                yield window
                window, first = np.zeros((2, WIDTH)), first + WIDTH
    yield window
