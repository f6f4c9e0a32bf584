"""The sides of a data set for what looks at all rows: arrays where memory holds them, else rows in files."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from zlib import crc32

import numpy as np
import pandas as pd

from hae.data.frames import Frames, concatenate, read_pieces
from hae.data.parts import Manifest
from hae.data.rows import FileRows, Growing, LabelRows, NamedRows, Shelf
from hae.errors import BadInput

__all__ = ["Beside", "StoredSide", "sample_of", "scratch_of", "sides_of"]

GOLDEN = (5**0.5 - 1) / 2  # multiples of it are evenly spread over 0 to 1, however many


@dataclass(frozen=True)
class StoredSide:
    """Rows of a side in files, under the names that `hae.data.frames.Frames` gives them.

    Example: Four rows in files.
        >>> import tempfile
        >>> place = Path(tempfile.mkdtemp())
        >>> frames = Frames(np.arange(8.0).reshape(4, 2), ("x", "y"), ("", ""), np.full(4, "a"), np.arange(4),
        ...                 pd.DataFrame(index=range(4)), split=np.array(["train", "gap", "train", "test"]))
        >>> _ = frames.write(place / "frames")
        >>> with sides_of(place / "frames", place / "scratch", limit=10) as (train, test, seen, _):
        ...     len(train), len(test), len(seen), train.select(np.array([1])).values.tolist()
        (2, 1, 4, [[4.0, 5.0]])
    """

    values: FileRows
    features: tuple[str, ...]
    units: tuple[str, ...]
    trajectory: NamedRows
    frame: FileRows
    weights: FileRows | None
    labels: LabelRows
    label_units: tuple[str, ...] = ()
    label_periods: tuple[float | None, ...] = ()

    def __len__(self) -> int:
        return len(self.values)

    @property
    def n_features(self) -> int:
        return len(self.features)

    def select(self, rows: np.ndarray) -> Frames:
        """Some rows, by their numbers, in memory."""
        labels = pd.DataFrame(self.labels.rows[rows], columns=list(self.labels.columns))
        return Frames(self.values[rows], self.features, self.units, self.trajectory[rows], self.frame[rows], labels, self.label_units,
                      self.label_periods, None if self.weights is None else self.weights[rows])


class Beside:
    """Where rows that come in pieces stand in time, and their weights: in files of a shelf that has a folder, else in arrays.

    Example:
        >>> beside = Beside(Shelf())
        >>> beside.add(np.array(["a", "a"]), np.array([3, 4]), None)
        >>> beside.trajectory.tolist(), beside.frame.tolist(), beside.weights
        (['a', 'a'], [3, 4], None)
    """

    def __init__(self, shelf: Shelf):
        self.shelf, self.count, self.weighted = shelf, 0, False
        self._names, self._frames, self._weights = (Growing(shelf) for _ in range(3))
        self._codes: dict[str, int] = {}

    def add(self, trajectory: np.ndarray, frame: np.ndarray, weights: np.ndarray | None) -> None:
        self.count += len(frame)
        if self.shelf.folder is not None:
            names, of = np.unique(trajectory, return_inverse=True)
            trajectory = np.array([self._codes.setdefault(name, len(self._codes)) for name in names.tolist()], dtype=np.int64)[of]
            frame = np.asarray(frame).astype(np.int64)
        self._names.add(trajectory)
        self._frames.add(frame)
        if weights is not None:
            self.weighted = True
            self._weights.add(weights)

    @property
    def trajectory(self) -> np.ndarray | NamedRows:
        rows = self._names.rows()
        return rows if isinstance(rows, np.ndarray) else NamedRows(rows, tuple(self._codes))

    @property
    def frame(self) -> np.ndarray | FileRows:
        return self._frames.rows()

    @property
    def weights(self) -> np.ndarray | FileRows | None:
        return self._weights.rows() if self.weighted else None

    def sampling_of(self) -> tuple:
        """The arguments of `hae.importance.intervals.Sampling.of`."""
        return self.count, self.trajectory, self.frame, self.weights, self.shelf


def sample_of(folder: Path, rows: Mapping[str, int], block_frames: int) -> Frames:
    """About so many rows of each of these sides of a data set, in memory: whole blocks, which a hash of their names draws, whatever the
    order of the rows, and evenly spread rows of those without trajectory.

    Example: Half of the blocks of a trajectory.
        >>> import tempfile
        >>> place = Path(tempfile.mkdtemp(), "frames")
        >>> frames = Frames(np.zeros((2000, 1)), ("x",), ("",), np.full(2000, "a"), np.arange(2000), pd.DataFrame(index=range(2000)),
        ...                 split=np.full(2000, "train"))
        >>> _ = frames.write(place)
        >>> some = sample_of(place, {"train": 1000}, block_frames=10)
        >>> 800 < len(some) < 1200, len(some) % 10
        (True, 0)
    """
    shares = {side: number / max(Manifest.read(folder).sides[side], 1) for side, number in rows.items()}
    kept, first = [], 0
    for piece in read_pieces(folder):
        names, of = np.unique(piece.blocks(block_frames), return_inverse=True)
        drawn = np.array([crc32(name.encode()) for name in names.tolist()])[of] / 2**32
        drawn = np.where(piece.trajectory == "", np.arange(first, first + len(piece)) * GOLDEN % 1, drawn)
        assert piece.split is not None  # prepare gives every row a side
        kept.append(piece.select(drawn < np.array([shares.get(side, 0.0) for side in piece.split])))
        first += len(piece)
    return concatenate(kept)


@contextmanager
def scratch_of(folder: Path, large: bool) -> Iterator[Shelf]:
    """A shelf for rows: in files of a folder, which is removed at the end, or in memory where they are not large."""
    try:
        yield Shelf(folder if large else None)
    finally:
        if large:
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def sides_of(
    folder: Path, scratch: Path, limit: int
) -> Iterator[tuple[Frames | StoredSide, Frames | StoredSide, Frames | StoredSide, Shelf]]:
    """Training rows, test rows and all rows of a data set, and a shelf for what is made of them. Where they take more than ``limit`` bytes,
    they are in files in a folder, ``scratch``, that is removed at the end, and all rows come without labels.

    Raises BadInput as `Frames.read`, and where there are no test rows.

    Example: See `StoredSide`.
    """
    manifest = Manifest.read(folder)
    if not manifest.sides["test"]:
        raise BadInput(f"{folder}: no test rows; allowed: prepare.split.shares that leave some")
    with scratch_of(scratch, manifest.bytes > limit) as shelf:
        if shelf.folder is None:
            frames = Frames.read(folder)
            yield frames.select("train"), frames.select("test"), frames, shelf
        else:
            yield *_in_files(folder, shelf), shelf


def _in_files(folder: Path, shelf: Shelf) -> tuple[StoredSide, StoredSide, StoredSide]:
    values, labels = [shelf.file() for _ in range(3)], [shelf.file() for _ in range(3)]
    beside = [Beside(shelf) for _ in range(3)]
    about: Frames | None = None
    for piece in read_pieces(folder):
        about = about or piece.select(np.arange(0))
        for i, rows in enumerate((piece.select("train"), piece.select("test"), piece)):
            values[i].add(rows.values)
            labels[i].add(rows.labels.to_numpy(dtype=float)[:, : rows.labels.shape[1] if i < 2 else 0])
            beside[i].add(rows.trajectory, rows.frame, rows.weights)
    assert about is not None  # there are test rows
    names = tuple(map(str, about.labels.columns))

    def side(i: int) -> StoredSide:
        trajectory, frame, weights = beside[i].trajectory, beside[i].frame, beside[i].weights
        assert isinstance(trajectory, NamedRows) and isinstance(frame, FileRows) and not isinstance(weights, np.ndarray)
        return StoredSide(values[i].rows(), about.features, about.units, trajectory, frame, weights, LabelRows(labels[i].rows(), names),
                          about.label_units, about.label_periods)

    return side(0), side(1), side(2)
