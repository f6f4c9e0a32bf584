"""How sure a measured figure is: intervals from segments of a time series, and how many independent frames it holds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property, reduce

import numpy as np
from scipy import sparse
from scipy.special import gammaincinv, stdtrit  # of scipy.stats, which takes a second to import, in its own words

from hae.data.rows import IN_MEMORY, FileRows, MadeRows, NamedRows, Shelf, pieces_of
from hae.importance.correlation import correlation_time
from hae.importance.series import Series, made, series_of
from hae.importance.tails import tail_index
from hae.importance.timeline import Runs, in_time, timeline_of

__all__ = ["STATUSES", "Estimate", "Sampling", "status_of"]

SEGMENTS = (8, 10, 16, 24, 32)  # numbers of segments tried; the widest interval counts
CONFIDENCE = 0.90
TOGETHER = 65536  # rows whose shares of segments are held at once
PIECES = 300  # of a series, to see whether a few of them decide
SURELY = 0.999  # confidence at which trajectories are said to differ
STATUSES = ("ok", "rough", "not enough data")
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
    reach: longest lag that may be looked at; walker: (N,) number of the trajectory of each ordered row; frame: (N,) its frame number.
    Of rows in files, these are in files of the shelf, order is None, and place and counted are those of `place` and `by_row` (None: the
    rows are in the order of time).

    Figures x (..., N) of the rows are an array in their order, or a `Series` in the order of time, of which a piece is in memory at a time.
    `series` makes of figures that come in pieces what the rows are: an array, or a `Series` in a file.

    Example: A series in which every number stands four times is worth a quarter of its frames.
        >>> noise = np.random.default_rng(0).normal(size=(1, 1000))
        >>> Sampling.of(1000).n_eff(noise).round(-2)
        array([1000.])
        >>> Sampling.of(4000, np.full(4000, "a"), np.arange(4000)).n_eff(noise.repeat(4, axis=1)).round(-2)
        array([1000.])
    """

    order: np.ndarray | None
    weights: np.ndarray | FileRows
    slot: np.ndarray | FileRows
    reach: int
    walker: np.ndarray | Runs
    frame: np.ndarray | FileRows
    alone: bool = False
    shelf: Shelf = IN_MEMORY
    place: FileRows | None = None
    counted: FileRows | None = None

    @classmethod
    def of(
        cls,
        n: int,
        trajectory: np.ndarray | NamedRows | None = None,
        frame: np.ndarray | FileRows | None = None,
        weights: np.ndarray | FileRows | None = None,
        shelf: Shelf = IN_MEMORY,
    ) -> Sampling:
        """Of n rows with their trajectories' names and frame numbers; None, or the name "": rows in the order given. shelf: where rows in
        files may have more files."""
        if isinstance(trajectory, NamedRows) and isinstance(frame, FileRows):
            return cls._of_files(trajectory, frame, weights, shelf)
        trajectory = np.full(n, "") if trajectory is None else np.asarray(trajectory).astype(str)
        frame = np.arange(n) if frame is None else np.where(trajectory == "", np.arange(n), np.asarray(frame))
        order = np.lexsort((frame, trajectory))  # stable: equal frames stay together
        weights = np.ones(n) if weights is None else np.asarray(weights, dtype=np.float64)
        names, starts, walker = np.unique(trajectory[order], return_index=True, return_inverse=True)
        places = [_places(part) for part in np.split(frame[order], starts[1:])]
        longest = max((int(p[-1]) + 1 for p in places), default=1)
        reach = min(longest, max(n // 10, 1))
        shift = np.cumsum([0, *(int(p[-1]) + 1 + reach for p in places[:-1])])
        slot = np.concatenate([p + s for p, s in zip(places, shift, strict=True)]) if n else np.zeros(0, dtype=int)
        return cls(order, weights[order] / weights.mean(), slot, reach, walker, frame[order], "" in names)

    @classmethod
    def _of_files(cls, trajectory: NamedRows, frame: FileRows, weights: np.ndarray | FileRows | None, shelf: Shelf) -> Sampling:
        time, n = timeline_of(trajectory, frame, shelf), len(frame)
        weighed = lambda p: np.ones(p.stop - p.start) if weights is None else weights[p].astype(np.float64)  # noqa: E731
        pieces = lambda: map(weighed, pieces_of(n, TOGETHER))  # noqa: E731
        mean = sum(float(piece.sum()) for piece in pieces()) / n
        counted = in_time((piece / mean for piece in pieces()), None, shelf)
        ordered = counted if time.place is None else in_time((piece / mean for piece in pieces()), time.place, shelf)
        return cls(None, ordered, time.slot, time.reach, time.walker, time.frame, "" in trajectory.names, shelf, time.place, counted)

    def __len__(self) -> int:
        return len(self.slot)

    def by_row(self, rows: slice = slice(None)) -> np.ndarray:
        """(rows,): the weights in the order of the rows."""
        return self.weights[self._place[rows]] if self.counted is None else self.counted[rows]

    def series(self, pieces: Iterable[np.ndarray]) -> np.ndarray | Series:
        """Figures (k, N), or (N,), that come in pieces (k, n) in the order of the rows, as the methods take them."""
        if self.order is not None:
            return np.concatenate([np.ascontiguousarray(piece) for piece in pieces], axis=-1)
        return series_of(in_time((np.ascontiguousarray(piece.T) for piece in pieces), self.place, self.shelf))

    def of_rows(self, rows: np.ndarray | FileRows | MadeRows) -> np.ndarray | Series:
        """Figures (k, N) of the columns of rows (N, k), as the methods take them."""
        return np.ascontiguousarray(rows.T) if isinstance(rows, np.ndarray) else self.series(rows[piece].T for piece in self._pieces())

    def blocks(self, block_frames: int) -> int:
        """How many blocks, of so many frames, the rows come from; a row without trajectory is a block of its own."""
        before, number = (-1, -1), 0
        for rows in self._pieces():
            walker, block = self.walker[rows], self.frame[rows] // block_frames
            new = (np.diff(walker, prepend=before[0]) != 0) | (np.diff(block, prepend=before[1]) != 0)
            number += int(np.count_nonzero(new | (walker == 0) if self.alone else new))
            before = int(walker[-1]), int(block[-1])
        return number

    def _pieces(self) -> Iterator[slice]:
        return pieces_of(len(self), TOGETHER)

    def _at(self, x: np.ndarray | Series, rows: slice) -> np.ndarray:
        """x (..., n) at these places in the order of time."""
        return x[..., rows] if isinstance(x, Series) or self.order is None else x[..., self.order[rows]]

    @property
    def trajectories(self) -> int:
        """How many trajectories the frames come from; rows without one count as one series."""
        return int(self.walker[len(self) - 1 : len(self)][0]) + 1 if len(self) else 0

    def answers(self, x: np.ndarray | Series, order: int = 1) -> np.ndarray:
        """How many independent frames (...) the trajectories leave of x (..., N), or of its power ``order``; inf where they may agree.

        They surely differ where the scatter of their means is beyond what the independent frames inside each allow, by a chi-squared test
        at one in a thousand. K trajectories of which a share r of the variance lies between them are then worth K / r frames. Few
        trajectories hardly tell r: its upper 95 % bound is taken.
        """
        K = self.trajectories
        sure, least = 2 * gammaincinv(max(K - 1, 1) / 2, [SURELY, 0.05])  # quantiles of chi-squared

        def worth(row: np.ndarray | Series) -> float:
            scatter, of_mean, inside = self._scatter(row)
            if not scatter > sure:
                return np.inf
            between = (scatter / least - 1) * of_mean
            return K * (1 + inside / between) ** order

        return self._of_each(x, worth, float)

    def between(self, x: np.ndarray | Series) -> np.ndarray:
        """Half width (...) of the 90 % interval of the mean of x (..., N) that comes from trajectories differing by more than chance.

        Their variance is that of DerSimonian and Laird (1986): the scatter of the means beyond what the independent frames inside each
        allow, 0 where there is none beyond. Every frame of the same trajectories has it: more frames make it no smaller.
        """
        K = self.trajectories

        def half(row: np.ndarray | Series) -> float:
            scatter, of_mean, _ = self._scatter(row)
            beyond = max(scatter / (K - 1) - 1, 0) * of_mean
            return float(stdtrit(K - 1, 0.5 + CONFIDENCE / 2) * np.sqrt(beyond / K))

        return self._of_each(x, half if K > 1 else lambda row: 0.0, float)

    def _of_each(self, x: np.ndarray | Series, function, dtype: type) -> np.ndarray:
        x = x if isinstance(x, Series) else np.asarray(x, dtype=np.float64)
        number = int(np.prod(x.shape[:-1]))
        rows = made(lambda x: x.reshape(number, x.shape[-1]), x)
        found = [function(made(lambda x, k=k: x[k], rows)) for k in range(number)]
        return np.array(found, dtype=dtype).reshape(x.shape[:-1])

    def _scatter(self, x: np.ndarray | Series) -> tuple[float, float, float]:
        """Chi-squared of the trajectories' means of x (N,), the variance that one such mean has from the frames inside, and theirs."""
        sums = np.zeros((2, self.trajectories))
        for rows in self._pieces():
            walker, weights = self.walker[rows], self.weights[rows]
            for total, values in zip(sums, (weights, self._at(x, rows) * weights), strict=True):
                total += np.bincount(walker, values, len(total))
        total, mean = sums[0], sums[1] / sums[0]
        inside = Series(x.shape, lambda rows: self._at(x, rows) - mean[self.walker[rows]])
        variance = self.mean(made(np.square, inside))
        if len(total) < 2 or not variance > 0:
            return 0.0, 0.0, 0.0
        independent = self._n_eff(inside) * total / total.sum()
        return float(independent @ (mean - self.mean(x)) ** 2 / variance), float(variance / independent.mean()), float(variance)

    def participation(self, x: np.ndarray | Series) -> np.ndarray:
        """Over how many of up to 300 pieces of the series the square of x (..., N) is spread: (sum b^2)^2 / sum b^4 of the sums b of
        pieces. A third of the pieces for light tails; few where a few frames decide."""
        x = x if isinstance(x, Series) else np.asarray(x, dtype=np.float64)
        starts = np.unique(np.linspace(0, len(self), PIECES, endpoint=False).astype(int))
        sums = np.zeros((*x.shape[:-1], len(starts)))
        for rows in self._pieces():
            first, end = np.searchsorted(starts, rows.start, side="right") - 1, np.searchsorted(starts, rows.stop)
            inside = np.maximum(starts[first:end] - rows.start, 0)
            sums[..., first:end] += np.add.reduceat(self._at(x, rows) * self.weights[rows], inside, axis=-1)
        square = sums**2
        fourth = (square**2).sum(-1)
        return np.where(fourth > 0, square.sum(-1) ** 2 / np.where(fourth > 0, fourth, 1), len(starts))  # nothing at all: no few hold it

    def tail(self, x: np.ndarray | Series) -> tuple[float, float]:
        """Index of the upper tail of x (N,), as its weights have it, and its upper bound: see `hae.importance.tails.tail_index`."""
        return tail_index(lambda: (self._at(x, rows) * self.weights[rows] for rows in self._pieces()), len(self))

    def mean(self, x: np.ndarray | Series) -> np.ndarray:
        """Weighted mean over frames of x (..., N)."""
        return sum(self._at(x, rows) @ self.weights[rows] for rows in self._pieces()) / len(self)

    def ratio(self, a: np.ndarray | Series, v: np.ndarray | Series) -> Estimate:
        """mean(a) / mean(v) with its interval: a (..., N) and v (N,) in the order of the rows given to `of`. See `ratio_of_sums`."""
        return self.ratio_of_sums(self.sums(a), self.sums(v))

    def sums(self, x: np.ndarray | Series, rows: slice = slice(None)) -> np.ndarray:
        """Weighted sums (..., P) of x (..., rows) over all frames and over every segment, for `ratio_of_sums`. Those of all the rows
        are those of some added to those of the rest, so that what has no room for all frames at once can go through them in pieces.
        x may be a sparse array (M, rows)."""
        first, end, _ = rows.indices(len(self))
        x = x if sparse.issparse(x) or isinstance(x, Series) else np.asarray(x, dtype=np.float64)
        in_time = isinstance(x, Series)
        parts = (self._sums(x[..., start - first : start - first + TOGETHER], slice(start, min(start + TOGETHER, end)), in_time)
                 for start in range(first, max(end, first + 1), TOGETHER))
        return reduce(np.add, parts)

    def _sums(self, x, rows: slice, in_time: bool) -> np.ndarray:
        shares = self._shares(rows, in_time)
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
    def _place(self) -> np.ndarray | FileRows | range:
        """(N,): of each row in the order of time."""
        if self.order is None:
            return range(len(self)) if self.place is None else self.place
        place = np.empty(len(self), dtype=int)
        place[self.order] = np.arange(len(self))
        return place

    def _shares(self, rows: slice, in_time: bool) -> sparse.csc_array:
        """(P, rows): weight of each row in the sum over all frames, then in every segment that holds it or a part of it; in_time: rows are
        places in the order of time."""
        n, place = len(self), np.arange(rows.start, rows.stop) if in_time else np.asarray(self._place[rows])
        weights = self.weights[rows] if in_time else self.by_row(rows)
        at = np.arange(len(place))
        groups, n_parts = [(np.zeros(len(place), dtype=int), at, np.ones(len(place)))], 1
        for pieces in SEGMENTS if n >= max(SEGMENTS) else ():
            own = place * pieces // n
            inside = np.minimum((own + 1) * n / pieces - place, 1.0)
            split = inside < 1  # the next segment begins within this frame
            groups += [(n_parts + own, at, inside), (n_parts + own[split] + 1, at[split], 1 - inside[split])]
            n_parts += pieces
        part, at, share = (np.concatenate(column) for column in zip(*groups, strict=True))
        return sparse.csc_array((share * weights[at], (part, at)), shape=(n_parts, len(place)))

    def n_eff(self, x: np.ndarray | Series) -> np.ndarray:
        """Number of independent frames (...) that x (..., N) is worth: N over its integrated autocorrelation time, weights counted.

        The time is that of `hae.importance.correlation.correlation_time`, from pairs of frames of one trajectory, also across frames that
        were left out.
        """
        return self._of_each(x, self._n_eff, float)

    def _n_eff(self, x: np.ndarray | Series) -> float:
        mean = self.mean(x)
        number, power, spread = 0, 0.0, 0.0
        for _, influence, deviations in self._by_slot(x, mean):
            number, power, spread = number + len(influence), power + np.sum(influence**2), spread + np.sum(deviations)
        power, spread = power / number, spread / number
        size = sum(np.sum(np.abs(self._at(x, rows))) for rows in self._pieces()) / len(self)
        if not power > 1e-24 * max(size**2, 1e-300):
            return float(number)  # a series that never changes is known from any frame
        last = int(self.slot[len(self) - 1 : len(self)][0])
        time = correlation_time(lambda: (slot[:2] for slot in self._by_slot(x, mean)), number, power, last, self.reach)
        return float(number * spread / power / time)

    def _by_slot(self, x: np.ndarray | Series, mean: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """A piece at a time: slots, and in each the mean of the influence of its frames, and of their squared deviations, with weights."""
        waiting = np.zeros((3, 0))  # of the last slot, which may have more frames in the next piece: number, sums
        last = np.zeros(0, dtype=int)
        for rows in self._pieces():
            deviation, weights = self._at(x, rows) - mean, self.weights[rows]
            columns = np.stack([np.ones(len(deviation)), deviation * weights, deviation**2 * weights])
            slots, inverse = np.unique(np.append(last, self.slot[rows]), return_inverse=True)
            sums = np.array([np.bincount(inverse, np.append(w, column)) for w, column in zip(waiting, columns, strict=True)])
            kept = len(slots) - (rows.stop < len(self))
            yield slots[:kept], sums[1, :kept] / sums[0, :kept], sums[2, :kept] / sums[0, :kept]
            last, waiting = slots[kept:], sums[:, kept:]


def _places(frame: np.ndarray) -> np.ndarray:
    """Sorted frame numbers of one trajectory -> places 0, 1, ... with holes where frames are missing, equal ones in one place."""
    distinct, inverse = np.unique(frame, return_inverse=True)
    steps = np.diff(distinct)
    if len(steps) == 0:
        return inverse
    place = (distinct - distinct[0]) // max(int(np.gcd.reduce(steps.astype(np.int64))), 1)
    return (place if place[-1] < 50 * len(distinct) else np.arange(len(distinct)))[inverse]
