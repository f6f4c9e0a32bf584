"""How heavy the tail of a series is, of which a piece is in memory at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

__all__ = ["descending", "tail_index"]

TAIL, SURE_OF_TAIL = 25, 1.96  # one in so many values is of the tail; standard deviations of its index on the safe side
FEWEST_OF_TAIL = 10  # values in it
MOST = 2**20  # values that are sorted at once

Pieces = Callable[[], Iterator[np.ndarray]]


def tail_index(pieces: Pieces, count: int) -> tuple[float, float]:
    """Index of the upper tail of a series of ``count`` values, in pieces (n,), and its upper 97.5 % bound: 0 for an exponential tail, 0.5
    where the variance ceases to exist, below 0 where there is an end.

    Of a generalised Pareto tail by probability weighted moments (Hosking and Wallis 1987) of the largest 4 %, known to (1 + index) over
    the root of the number of times that the series goes there. NaN for fewer than 250 values, whose largest 4 % tell nothing.

    Example: Of an exponential distribution.
        >>> x = np.random.default_rng(0).exponential(size=100_000)
        >>> abs(tail_index(lambda: iter([x[:50_000], x[50_000:]]), len(x))[0]) < 0.05
        True
    """
    number = count // TAIL
    if number < FEWEST_OF_TAIL:
        return float("nan"), float("nan")
    for top in descending(pieces, number + 1):
        least = top[-1]
    total, weighted, largest, above = 0.0, 0.0, 0.0, 0
    for part in [top[:-1]] if number < MOST else descending(pieces, number):
        beyond = part[::-1] - least
        largest = max(largest, beyond[-1])
        total += beyond.sum()
        weighted += beyond @ (np.arange(above, above + len(beyond))[::-1] + 0.35)
        above += len(beyond)
    if not largest > 1e-9 * abs(largest + least):  # all but equal: rounding has no tail
        return 0.0, 0.0
    mean, weighted = total / number, weighted / number**2
    index = 2 - mean / max(mean - 2 * weighted, 1e-12 * mean)
    times, before = 1, 1
    for piece in pieces():
        there = (piece > least).astype(int)
        times, before = times + int(np.count_nonzero(np.diff(there, prepend=before) > 0)), int(there[-1])
    return float(index), float(index + SURE_OF_TAIL * (1 + max(index, 0)) / np.sqrt(times))


def descending(pieces: Callable[[], Iterator[np.ndarray]], number: int) -> Iterator[np.ndarray]:
    """The largest values of pieces (n,), so many of them, the largest first, `MOST` at a time; the pieces are gone through once for each.

    Example:
        >>> [part.tolist() for part in descending(lambda: iter([np.array([1.0, 5.0]), np.array([4.0, 5.0])]), 3)]
        [[5.0, 5.0, 4.0]]
    """
    below, of_below, given = np.inf, 0, 0  # values above `below` were given, and so many of those equal to it
    while number:
        if given < of_below:
            some = min(of_below - given, number, MOST)
            given, number = given + some, number - some
            yield np.full(some, below)
            continue
        most, top = min(number, MOST), np.zeros(0)
        for piece in pieces():
            top = np.concatenate([top, piece[piece < below]])
            if len(top) > 2 * most:
                top = np.partition(top, len(top) - most)[-most:]
        top = np.sort(top)[-most:][::-1]
        if not len(top):
            return
        below = top[-1]
        of_below, given = sum(int(np.count_nonzero(piece == below)) for piece in pieces()), int(np.count_nonzero(top == below))
        number -= len(top)
        yield top
