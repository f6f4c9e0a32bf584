"""How rows that are in files follow each other in time: their places, found with a piece of them in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from hae.data.rows import FileRows, NamedRows, RowFile, Shelf, pieces_of

__all__ = ["Runs", "Timeline", "in_time", "timeline_of"]

NUMBERS = 2**20  # that are put in order at once
ROWS = 65536  # at a time
SAMPLED = 256  # of a sample of one row in 1,024, in a bucket
FAR = 50  # places for each distinct frame, from which on only the order of the frames counts


@dataclass(frozen=True)
class Runs:
    """Numbers 0, 1, ... of runs that follow each other, where each begins: (N,) in slices.

    Example:
        >>> Runs(np.array([0, 2]), 5)[1:4].tolist()
        [0, 1, 1]
    """

    starts: np.ndarray
    length: int

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, rows: slice) -> np.ndarray:
        first, end, _ = rows.indices(self.length)
        return np.searchsorted(self.starts, np.arange(first, end), side="right") - 1


@dataclass(frozen=True)
class Timeline:
    """Of N rows in files. place: (N,) of each row in the order of time, None where they are in that order; frame, slot, walker: (N,) of
    each row in that order, see `hae.importance.intervals.Sampling`; reach: the longest lag that may be looked at.

    Example: Frames 5 and 4 of trajectory a, and frame 0 of b between them.
        >>> import tempfile
        >>> from pathlib import Path
        >>> shelf = Shelf(Path(tempfile.mkdtemp()))
        >>> codes, frame = (shelf.keep([np.array(numbers)]) for numbers in ([0, 1, 0], [5, 0, 4]))
        >>> time = timeline_of(NamedRows(codes, ("a", "b")), frame, shelf)
        >>> time.place[:].tolist(), time.frame[:].tolist(), time.walker[0:3].tolist()
        ([1, 2, 0], [4, 5, 0], [0, 0, 1])
    """

    place: FileRows | None
    frame: FileRows
    slot: FileRows
    walker: Runs
    reach: int


def timeline_of(trajectory: NamedRows, frame: FileRows, shelf: Shelf) -> Timeline:
    """Of rows by the names of their trajectories and their frame numbers; those named "" are one series in the order given."""
    n, names = len(frame), np.array(trajectory.names)
    rank = np.empty(len(names), dtype=np.int64)
    rank[np.argsort(names)] = np.arange(len(names))

    def keys() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """The number of the trajectory and the frame, a piece at a time."""
        for rows in pieces_of(n, ROWS):
            code = trajectory.codes[rows]
            yield rank[code], np.where(names[code] == "", np.arange(rows.start, rows.stop), frame[rows])

    counts, latest = np.zeros(len(names), dtype=np.int64), np.full(len(names), np.iinfo(np.int64).min)
    in_order, growing, highest = True, True, 0
    for walker, number in keys():
        in_order = in_order and bool((np.diff(walker, prepend=highest) >= 0).all())
        highest = int(walker[-1])
        for one, rows in _parted(walker):
            own = np.append(latest[one], number[rows])
            growing, latest[one] = growing and bool((own[1:] >= own[:-1]).all()), own[-1]
        counts += np.bincount(walker, minlength=len(names))
    starts = np.cumsum(counts) - counts
    numbers = (number for _, number in keys())
    place: FileRows | None = None
    if not growing:
        place = _sorted(keys, shelf)
    elif not in_order:
        place = in_time(_grown(keys(), starts), None, shelf)
    frames = in_time(numbers, place, shelf)
    walkers = Runs(starts, n)
    slot, reach = _slots(frames, walkers, shelf)
    return Timeline(place, frames, slot, walkers, reach)


def in_time(pieces: Iterable[np.ndarray], place: FileRows | None, shelf: Shelf) -> FileRows:
    """Rows (N, ...) that come in pieces, in a file in the order of time. place: (N,) of each of them there."""
    if place is None:
        kept = shelf.keep(pieces)
        assert isinstance(kept, FileRows)
        return kept
    buckets: dict[int, tuple[RowFile, RowFile]] = {}
    first, together = 0, 0
    for piece in pieces:
        together = together or max(NUMBERS // max(int(np.prod(piece.shape[1:])), 1), 1)
        at = place[first : first + len(piece)]
        first += len(piece)
        for bucket, rows in _parted(at // together):
            files = buckets.get(bucket) or buckets.setdefault(bucket, (shelf.file(), shelf.file()))
            files[0].add(at[rows])
            files[1].add(piece[rows])
    kept = shelf.keep(_emptied(buckets, together))
    assert isinstance(kept, FileRows)
    return kept


def _emptied(buckets: dict[int, tuple[RowFile, RowFile]], together: int) -> Iterator[np.ndarray]:
    for bucket in sorted(buckets):
        at, rows = (file.rows()[:] for file in buckets[bucket])
        out = np.empty_like(rows)
        out[at - bucket * together] = rows
        for file in buckets[bucket]:
            file.path.unlink()
        yield out


def _grown(keys: Iterable[tuple[np.ndarray, np.ndarray]], starts: np.ndarray) -> Iterator[np.ndarray]:
    """Places of rows whose trajectories are mixed, but each in its own order."""
    seen = starts.copy()
    for walker, _ in keys:
        order = np.argsort(walker, kind="stable")
        counts = np.bincount(walker, minlength=len(starts))
        within = np.empty(len(walker), dtype=np.int64)
        within[order] = np.arange(len(walker)) - np.repeat(np.cumsum(counts) - counts, counts)
        yield seen[walker] + within
        seen += counts


def _sorted(keys: Callable[[], Iterator[tuple[np.ndarray, np.ndarray]]], shelf: Shelf) -> FileRows:
    """Places of rows in any order: they are cut into buckets between quantiles of a sample, and each bucket is sorted."""
    some = [(walker[:: max(len(walker) // 64, 1)], number[:: max(len(walker) // 64, 1)]) for walker, number in keys()]
    sample = np.array([np.concatenate(column) for column in zip(*some, strict=True)])
    ends = sample[:, np.lexsort(sample[::-1])][:, SAMPLED::SAMPLED]
    buckets: dict[int, RowFile] = {}
    n = 0
    for walker, number in keys():
        bucket = _bucket(ends, walker, number)
        columns = np.stack([walker, number, np.arange(n, n + len(walker))], axis=1)
        for one, rows in _parted(bucket):
            (buckets.get(one) or buckets.setdefault(one, shelf.file())).add(columns[rows])
        n += len(walker)

    def ordered() -> Iterator[np.ndarray]:
        for one in sorted(buckets):
            walker, number, row = buckets[one].rows()[:].T
            buckets[one].path.unlink()
            yield row[np.lexsort((row, number, walker))]

    order = shelf.keep(ordered())
    assert isinstance(order, FileRows)
    return in_time((np.arange(piece.start, piece.stop) for piece in pieces_of(n, ROWS)), order, shelf)


def _bucket(ends: np.ndarray, walker: np.ndarray, number: np.ndarray) -> np.ndarray:
    """How many of the sorted ends (2, B) are not behind each row, of those of the row's trajectory by the frame."""
    found = np.searchsorted(ends[0], walker)
    for one in np.unique(walker):
        rows = walker == one
        found[rows] += np.searchsorted(ends[1][ends[0] == one], number[rows], side="right")
    return found


def _parted(bucket: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Each number of (n,) once, and where it is."""
    order = np.argsort(bucket, kind="stable")
    numbers, begins = np.unique(bucket[order], return_index=True)
    yield from zip(numbers.tolist(), np.split(order, begins[1:]), strict=True)


def _slots(frames: FileRows, walkers: Runs, shelf: Shelf) -> tuple[FileRows, int]:
    """Places on an axis of time on which trajectories are too far apart to see each other, and the longest lag: by the steps of the frames
    of each trajectory, or their order alone where these are far apart."""
    K, n = len(walkers.starts), len(frames)
    first, last, step, distinct = np.zeros((4, K), dtype=np.int64)
    distinct += 1
    for walker, number, moved, begins in _moves(frames, walkers):
        here, groups = walker[begins], np.append(begins[1:], len(walker))
        step[here] = np.gcd(step[here], np.gcd.reduceat(np.maximum(moved, 0), begins))
        distinct[here] += np.add.reduceat((moved > 0).astype(np.int64), begins)
        new = moved[begins] < 0
        first[here[new]] = number[begins[new]]
        last[here] = number[groups - 1]
    step = np.maximum(step, 1)
    far = (last - first) // step >= FAR * distinct
    length = np.where(far, distinct, (last - first) // step + 1)
    reach = min(int(length.max(initial=1)), max(n // 10, 1))
    shift = np.cumsum(length + reach) - length - reach
    seen = np.full(K, -1)

    def slots() -> Iterator[np.ndarray]:
        for walker, number, moved, begins in _moves(frames, walkers):
            fresh = np.cumsum(moved != 0)
            sizes = np.diff(np.append(begins, len(walker)))
            fresh -= np.repeat(fresh[begins] - (moved[begins] != 0), sizes)
            fresh += seen[walker]
            ends = np.append(begins[1:], len(walker)) - 1
            seen[walker[ends]] = fresh[ends]
            yield shift[walker] + np.where(far[walker], fresh, (number - first[walker]) // step[walker])

    kept = shelf.keep(slots())
    assert isinstance(kept, FileRows)
    return kept, reach


def _moves(frames: FileRows, walkers: Runs) -> Iterator[tuple[np.ndarray, ...]]:
    """A piece at a time: trajectory and frame of each row, by how much it is behind the row before it in its trajectory (-1: there is
    none), and where in the piece each trajectory begins."""
    before = np.zeros(1, dtype=np.int64)
    for rows in pieces_of(len(frames), ROWS):
        walker, number = walkers[rows], frames[rows]
        moved = np.diff(number, prepend=before)
        moved[np.arange(rows.start, rows.stop) == walkers.starts[walker]] = -1
        before = number[-1:]
        yield walker, number, moved, np.flatnonzero(np.diff(walker, prepend=-1))
