"""How sure a measured figure is: intervals from segments of a time series, and how many independent frames it holds."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import sparse
from scipy.fft import irfft, next_fast_len, rfft
from scipy.special import gammaincinv, stdtrit  # of scipy.stats, which takes a second to import, in its own words

__all__ = ["STATUSES", "Estimate", "Sampling", "status_of"]

SEGMENTS = (8, 10, 16, 24, 32)  # numbers of segments tried; the widest interval counts
CONFIDENCE = 0.90
TOGETHER = 65536  # rows whose shares of segments are held at once
PIECES = 300  # of a series, to see whether a few of them decide
SURELY = 0.999  # confidence at which trajectories are said to differ
TAIL, SURE_OF_TAIL = 25, 1.96  # one in so many frames is of the tail; standard deviations of its index on the safe side
STATUSES = ("ok", "rough", "not enough data")
FEWEST_OF_TAIL = 10  # frames in it
OK_N_EFF, ROUGH_N_EFF, ENOUGH_BLOCKS = 200, 100, 20


def status_of(n_eff: float, n_blocks: int | None = None) -> str:
    """Whether the data are enough for an interval: its measured coverage is nominal from 200 independent frames, a little low from 100."""
    if n_eff < ROUGH_N_EFF or (n_blocks is not None and n_blocks < ENOUGH_BLOCKS):
        return "not enough data"
    return "ok" if n_eff >= OK_N_EFF else "rough"


@dataclass(frozen=True)
class Estimate:
    """A figure, or an array of figures, with the bounds of its 90 % interval.

    Example:
        >>> error = 0.3 + 0.1 * np.random.default_rng(0).normal(size=(1, 400))
        >>> share = Sampling.of(400).ratio(error, np.ones(400))
        >>> share.low.round(2), share.value.round(2), share.high.round(2)
        (array([0.29]), array([0.3]), array([0.31]))
    """

    value: np.ndarray
    low: np.ndarray
    high: np.ndarray


@dataclass(frozen=True)
class Sampling:
    """How N evaluated frames follow each other in time, and what each counts. Made by `Sampling.of`.

    order: (N,) rows in time order, trajectory after trajectory; weights: (N,) of mean 1, in that order;
    slot: (N,) place of each ordered row on an axis of time on which trajectories are too far apart to see each other;
    reach: longest lag that may be looked at; walker: (N,) number of the trajectory of each ordered row.

    Example: A series in which every number stands four times is worth a quarter of its frames.
        >>> noise = np.random.default_rng(0).normal(size=(1, 1000))
        >>> Sampling.of(1000).n_eff(noise).round(-2)
        array([1000.])
        >>> Sampling.of(4000, np.full(4000, "a"), np.arange(4000)).n_eff(noise.repeat(4, axis=1)).round(-2)
        array([1000.])
    """

    order: np.ndarray
    weights: np.ndarray
    slot: np.ndarray
    reach: int
    walker: np.ndarray

    @classmethod
    def of(
        cls, n: int, trajectory: np.ndarray | None = None, frame: np.ndarray | None = None, weights: np.ndarray | None = None
    ) -> Sampling:
        """Of n rows with their trajectories' names and frame numbers; None, or the name "": rows in the order given."""
        trajectory = np.full(n, "") if trajectory is None else np.asarray(trajectory).astype(str)
        frame = np.arange(n) if frame is None else np.where(trajectory == "", np.arange(n), np.asarray(frame))
        order = np.lexsort((frame, trajectory))  # stable: equal frames stay together
        weights = np.ones(n) if weights is None else np.asarray(weights, dtype=np.float64)
        _, starts, walker = np.unique(trajectory[order], return_index=True, return_inverse=True)
        places = [_places(part) for part in np.split(frame[order], starts[1:])]
        longest = max((int(p[-1]) + 1 for p in places), default=1)
        reach = min(longest, max(n // 10, 1))
        shift = np.cumsum([0, *(int(p[-1]) + 1 + reach for p in places[:-1])])
        slot = np.concatenate([p + s for p, s in zip(places, shift, strict=True)]) if n else np.zeros(0, dtype=int)
        return cls(order, weights[order] / weights.mean(), slot, reach, walker)

    def __len__(self) -> int:
        return len(self.order)

    def by_row(self) -> np.ndarray:
        """(N,): the weights in the order of the rows."""
        return self.weights[self._place]

    @property
    def trajectories(self) -> int:
        """How many trajectories the frames come from; rows without one count as one series."""
        return int(self.walker[-1]) + 1 if len(self) else 0

    def answers(self, x: np.ndarray, order: int = 1) -> np.ndarray:
        """How many independent frames (...) the trajectories leave of x (..., N), or of its power ``order``; inf where they may agree.

        They surely differ where the scatter of their means is beyond what the independent frames inside each allow, by a chi-squared test
        at one in a thousand. K trajectories of which a share r of the variance lies between them are then worth K / r frames. Few
        trajectories hardly tell r: its upper 95 % bound is taken.
        """
        K = self.trajectories
        sure, least = 2 * gammaincinv(max(K - 1, 1) / 2, [SURELY, 0.05])  # quantiles of chi-squared

        def worth(row: np.ndarray) -> float:
            scatter, of_mean, inside = self._scatter(row)
            if not scatter > sure:
                return np.inf
            between = (scatter / least - 1) * of_mean
            return K * (1 + inside / between) ** order

        return self._of_each(x, worth, float)

    def between(self, x: np.ndarray) -> np.ndarray:
        """Half width (...) of the 90 % interval of the mean of x (..., N) that comes from trajectories differing by more than chance.

        Their variance is that of DerSimonian and Laird (1986): the scatter of the means beyond what the independent frames inside each
        allow, 0 where there is none beyond. Every frame of the same trajectories has it: more frames make it no smaller.
        """
        K = self.trajectories

        def half(row: np.ndarray) -> float:
            scatter, of_mean, _ = self._scatter(row)
            beyond = max(scatter / (K - 1) - 1, 0) * of_mean
            return float(stdtrit(K - 1, 0.5 + CONFIDENCE / 2) * np.sqrt(beyond / K))

        return self._of_each(x, half if K > 1 else lambda row: 0.0, float)

    def _of_each(self, x: np.ndarray, function, dtype: type) -> np.ndarray:
        x = np.asarray(x, dtype=np.float64)
        return np.array([function(row) for row in x.reshape(-1, x.shape[-1])], dtype=dtype).reshape(x.shape[:-1])

    def _scatter(self, x: np.ndarray) -> tuple[float, float, float]:
        """Chi-squared of the trajectories' means of x (N,), the variance that one such mean has from the frames inside, and theirs."""
        total = np.bincount(self.walker, self.weights)
        mean = np.bincount(self.walker, x[self.order] * self.weights) / total
        inside = np.empty(len(x))
        inside[self.order] = x[self.order] - mean[self.walker]
        variance = self.mean(inside**2)
        if len(total) < 2 or not variance > 0:
            return 0.0, 0.0, 0.0
        independent = self._n_eff(inside) * total / total.sum()
        return float(independent @ (mean - self.mean(x)) ** 2 / variance), float(variance / independent.mean()), float(variance)

    def participation(self, x: np.ndarray) -> np.ndarray:
        """Over how many of up to 300 pieces of the series the square of x (..., N) is spread: (sum b^2)^2 / sum b^4 of the sums b of
        pieces. A third of the pieces for light tails; few where a few frames decide."""
        x = np.asarray(x, dtype=np.float64)[..., self.order] * self.weights
        starts = np.unique(np.linspace(0, len(self), PIECES, endpoint=False).astype(int))
        square = np.add.reduceat(x, starts, axis=-1) ** 2
        fourth = (square**2).sum(-1)
        return np.where(fourth > 0, square.sum(-1) ** 2 / np.where(fourth > 0, fourth, 1), len(starts))  # nothing at all: no few hold it

    def tail(self, x: np.ndarray) -> tuple[float, float]:
        """Index of the upper tail of x (N,), as its weights have it, and its upper 97.5 % bound: 0 for an exponential tail, 0.5 where the
        variance ceases to exist, below 0 where there is an end.

        Of a generalised Pareto tail by probability weighted moments (Hosking and Wallis 1987) of the largest 4 %, known to (1 + index) over
        the root of the number of times that the series goes there. NaN for fewer than 250 frames, whose largest 4 % tell nothing.
        """
        x = np.asarray(x, dtype=np.float64)[self.order] * self.weights
        most = np.sort(x)[-(len(x) // TAIL) - 1 :]
        beyond = most[1:] - most[0]
        if len(beyond) < FEWEST_OF_TAIL:
            return float("nan"), float("nan")
        if not beyond[-1] > 1e-9 * abs(most[-1]):  # all but equal: rounding has no tail
            return 0.0, 0.0
        mean = beyond.mean()
        weighted = beyond @ (np.arange(len(beyond))[::-1] + 0.35) / len(beyond) ** 2
        index = 2 - mean / max(mean - 2 * weighted, 1e-12 * mean)
        times = 1 + np.count_nonzero(np.diff((x > most[0]).astype(int)) > 0)
        return float(index), float(index + SURE_OF_TAIL * (1 + max(index, 0)) / np.sqrt(times))

    def mean(self, x: np.ndarray) -> np.ndarray:
        """Weighted mean over frames of x (..., N)."""
        return x[..., self.order] @ self.weights / len(self)

    def ratio(self, a: np.ndarray, v: np.ndarray) -> Estimate:
        """mean(a) / mean(v) with its interval: a (..., N) and v (N,) in the order of the rows given to `of`. See `ratio_of_sums`."""
        return self.ratio_of_sums(self.sums(a), self.sums(v))

    def sums(self, x: np.ndarray, rows: slice = slice(None)) -> np.ndarray:
        """Weighted sums (..., P) of x (..., rows) over all frames and over every segment, for `ratio_of_sums`. Those of all the rows
        are those of some added to those of the rest, so that what has no room for all frames at once can go through them in pieces.
        x may be a sparse array (M, rows)."""
        first, end, _ = rows.indices(len(self))
        x = x if sparse.issparse(x) else np.asarray(x, dtype=np.float64)
        parts = [self._sums(x[..., start - first : start - first + TOGETHER], slice(start, min(start + TOGETHER, end)))
                 for start in range(first, max(end, first + 1), TOGETHER)]
        return sum(parts[1:], parts[0])

    def _sums(self, x, rows: slice) -> np.ndarray:
        shares = self._shares(rows)
        if sparse.issparse(x):
            return (shares @ x.T).T.toarray()
        return (shares @ x.reshape(-1, x.shape[-1]).T).T.reshape(*x.shape[:-1], shares.shape[0])

    @staticmethod
    def ratio_of_sums(a: np.ndarray, v: np.ndarray) -> Estimate:
        """The ratio of two means with its interval, from their `sums`: a (..., P), v (P,).

        The influence of frame i is a_i - R v_i, over mean(v). Its series is cut into equal segments with fractional edges (nothing is
        dropped, and frames that are all repeated change nothing); the standard error comes from the scatter of the segments' means,
        with Student's t, and the widest of several numbers of segments is taken.
        Where the frames have no variance, or are too few to cut, the bounds are NaN.
        """
        nothing = np.full(a.shape[:-1], np.nan)
        if not v[0] > 0:
            return Estimate(np.zeros(a.shape[:-1]), nothing, nothing)
        value = a[..., 0] / v[0]
        if a.shape[-1] == 1:
            return Estimate(value, nothing, nothing)
        influence = np.split((a - value[..., None] * v)[..., 1:] / v[0], np.cumsum(SEGMENTS)[:-1], axis=-1)
        scatter = [  # a segment's mean is its sum times the number of segments
            stdtrit(pieces - 1, 0.5 + CONFIDENCE / 2) * np.sqrt(pieces) * sums.std(axis=-1, ddof=1)
            for pieces, sums in zip(SEGMENTS, influence, strict=True)
        ]
        half = np.max(scatter, axis=0)
        return Estimate(value, value - half, value + half)

    @cached_property
    def _place(self) -> np.ndarray:
        """(N,): of each row in the order of time."""
        place = np.empty(len(self), dtype=int)
        place[self.order] = np.arange(len(self))
        return place

    def _shares(self, rows: slice) -> sparse.csc_array:
        """(P, rows): weight of each row in the sum over all frames, then in every segment that holds it or a part of it."""
        n, place = len(self), self._place[rows]
        at = np.arange(len(place))
        groups, n_parts = [(np.zeros(len(place), dtype=int), at, np.ones(len(place)))], 1
        for pieces in SEGMENTS if n >= max(SEGMENTS) else ():
            own = place * pieces // n
            inside = np.minimum((own + 1) * n / pieces - place, 1.0)
            split = inside < 1  # the next segment begins within this frame
            groups += [(n_parts + own, at, inside), (n_parts + own[split] + 1, at[split], 1 - inside[split])]
            n_parts += pieces
        part, at, share = (np.concatenate(column) for column in zip(*groups, strict=True))
        return sparse.csc_array((share * self.weights[place[at]], (part, at)), shape=(n_parts, len(place)))

    def n_eff(self, x: np.ndarray) -> np.ndarray:
        """Number of independent frames (...) that x (..., N) is worth: N over its integrated autocorrelation time, weights counted.

        The time is summed up to the first lag of 5 times itself (Sokal 1997), or the first without correlation (Geyer 1992), from
        pairs of frames of one trajectory, also across frames that were left out.
        """
        return self._of_each(x, self._n_eff, float)

    def _n_eff(self, x: np.ndarray) -> float:
        deviation = (x - self.mean(x))[self.order]
        influence = deviation * self.weights
        slots, inverse, counts = np.unique(self.slot, return_inverse=True, return_counts=True)
        series = np.bincount(inverse, influence) / counts
        power = np.mean(series**2)
        spread = np.mean(np.bincount(inverse, deviation**2 * self.weights) / counts)
        if not power > 1e-24 * max(np.mean(np.abs(x)) ** 2, 1e-300):
            return float(len(slots))  # a series that never changes is known from any frame
        size = next_fast_len(int(slots[-1]) + 1 + self.reach, real=True)
        padded, mask = np.zeros(size), np.zeros(size)
        padded[slots], mask[slots] = series, 1
        lags = min(self.reach, size // 2)
        together = irfft(np.abs(rfft(np.stack([padded, mask]))) ** 2, size)[:, :lags]
        seen = together[1] > 0.1 * len(slots)
        rho = np.interp(np.arange(lags), np.flatnonzero(seen), together[0][seen] / together[1][seen]) / power
        time = np.maximum(2 * np.cumsum(rho) - rho[0], 1.0)
        closed = np.flatnonzero((np.arange(lags) >= 5 * time) | (rho + np.append(rho[1:], 0) <= 0))
        return float(len(slots) * spread / power / time[closed[0] if len(closed) else -1])


def _places(frame: np.ndarray) -> np.ndarray:
    """Sorted frame numbers of one trajectory -> places 0, 1, ... with holes where frames are missing, equal ones in one place."""
    distinct, inverse = np.unique(frame, return_inverse=True)
    steps = np.diff(distinct)
    if len(steps) == 0:
        return inverse
    place = (distinct - distinct[0]) // max(int(np.gcd.reduce(steps.astype(np.int64))), 1)
    return (place if place[-1] < 50 * len(distinct) else np.arange(len(distinct)))[inverse]
