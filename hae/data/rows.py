"""Rows that are not in memory: in a file, or made from others where they are asked for. They stand where an array is read in slices."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import numpy as np

__all__ = ["IN_MEMORY", "FileRows", "Growing", "LabelRows", "MadeRows", "NamedRows", "RowFile", "Rows", "Shelf", "made_rows", "pieces_of"]


@dataclass(frozen=True)
class FileRows:
    """Rows (N, ...) of a file of numbers; a slice or row numbers give an array, and nothing else of the file is read.

    Example:
        >>> import tempfile
        >>> file = RowFile(Path(tempfile.mkdtemp(), "rows"))
        >>> file.add(np.arange(6.0).reshape(3, 2))
        >>> rows = file.rows()
        >>> len(rows), rows.shape, rows[1:].tolist(), rows[np.array([0, 2])].tolist()
        (3, (3, 2), [[2.0, 3.0], [4.0, 5.0]], [[0.0, 1.0], [4.0, 5.0]])
    """

    path: Path
    dtype: np.dtype
    shape: tuple[int, ...]

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows) -> np.ndarray:
        if not self.shape[0]:
            return np.zeros(self.shape, self.dtype)[rows]
        width = int(np.prod(self.shape[1:]))
        if isinstance(rows, slice):
            first, end, step = rows.indices(len(self))
            with open(self.path, "rb") as file:
                return self._read(file, first, max(end - first, 0), width)[::step]
        numbers = np.asarray(rows)
        numbers = np.flatnonzero(numbers) if numbers.dtype == bool else numbers
        out = np.empty((len(numbers), *self.shape[1:]), self.dtype)
        starts = np.flatnonzero(np.diff(numbers, prepend=-2) != 1)  # of rows that follow each other
        with open(self.path, "rb") as file:
            for start, end in zip(starts, [*starts[1:], len(numbers)], strict=True):
                out[start:end] = self._read(file, int(numbers[start]), int(end - start), width)
        return out

    def _read(self, file, first: int, number: int, width: int) -> np.ndarray:
        file.seek(first * width * self.dtype.itemsize)
        return np.fromfile(file, self.dtype, number * width).reshape(number, *self.shape[1:])


class RowFile:
    """A file that grows by arrays of one type and width, at least one.

    Example:
        >>> import tempfile
        >>> file = RowFile(Path(tempfile.mkdtemp(), "rows"))
        >>> file.add(np.zeros((2, 3))), file.add(np.ones((1, 3)))
        (None, None)
        >>> file.rows().shape
        (3, 3)
    """

    def __init__(self, path: Path):
        self.path, self.count = path, 0
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)

    def add(self, rows: np.ndarray) -> None:
        self.dtype, self.width = rows.dtype, rows.shape[1:]
        self.count += len(rows)
        with open(self.path, "ab") as file:
            np.ascontiguousarray(rows).tofile(file)

    def rows(self) -> FileRows:
        return FileRows(self.path, self.dtype, (self.count, *self.width))


class MadeRows:
    """What a function makes, row by row, of rows (N, D) in float64, in a slice of them or by their numbers: (n, D) -> (n, width); None:
    these rows.

    Example:
        >>> twice = MadeRows(np.arange(4, dtype=np.float32)[:, None], 1, lambda rows: 2 * rows)
        >>> twice.dtype, twice.shape, twice[2:].ravel().tolist()
        (dtype('float64'), (4, 1), [4.0, 6.0])
    """

    dtype = np.dtype(np.float64)

    def __init__(self, rows: np.ndarray | FileRows | MadeRows, width: int, function: Callable[[np.ndarray], np.ndarray] | None = None):
        self.rows, self.shape, self.function = rows, (len(rows), width), function

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows) -> np.ndarray:
        found = np.asarray(self.rows[rows], dtype=np.float64)
        return found if self.function is None else self.function(found)


@dataclass(frozen=True)
class NamedRows:
    """A name for each of N rows: codes (N,) in a file, of names that are few.

    Example:
        >>> NamedRows(np.array([1, 0, 1]), ("a", "b"))[1:].tolist()
        ['a', 'b']
    """

    codes: np.ndarray | FileRows
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.codes)

    def __getitem__(self, rows) -> np.ndarray:
        return np.array(self.names)[self.codes[rows]]


@dataclass(frozen=True)
class LabelRows:
    """Labels (N, L) in a file, with their names.

    Example: psi of the second row.
        >>> import tempfile
        >>> values = Shelf(Path(tempfile.mkdtemp())).keep([np.array([[0.1, 0.2], [0.3, 0.4]])])
        >>> labels = LabelRows(values, ("phi", "psi"))
        >>> labels.rows[1:][:, labels.columns.index("psi")]
        array([0.4])
    """

    rows: FileRows
    columns: tuple[str, ...]


Rows = np.ndarray | FileRows | MadeRows


def made_rows(rows: Rows, width: int, function: Callable[[np.ndarray], np.ndarray]) -> Rows:
    """``function(rows)``, row by row (N, D) -> (N, width): at once of an array, else where they are asked for."""
    return function(rows) if isinstance(rows, np.ndarray) else MadeRows(rows, width, function)


class Shelf:
    """Where rows that are made piece by piece are kept: in files of a folder, or in memory where there is none.

    Example:
        >>> import tempfile
        >>> halves = np.arange(4.0)[:2], np.arange(4.0)[2:]
        >>> type(Shelf().keep(halves)).__name__, Shelf(Path(tempfile.mkdtemp())).keep(halves)[1:3].tolist()
        ('ndarray', [1.0, 2.0])
    """

    def __init__(self, folder: Path | None = None):
        self.folder, self._numbers = folder, count()

    def file(self) -> RowFile:
        """A new file in the folder."""
        assert self.folder is not None
        return RowFile(self.folder / f"{next(self._numbers)}.rows")

    def keep(self, pieces: Iterable[np.ndarray]) -> np.ndarray | FileRows:
        """The rows of all pieces (n, ...), at least one piece, of one type and width."""
        if self.folder is None:
            return np.concatenate(list(pieces))
        file = self.file()
        for piece in pieces:
            file.add(piece)
        return file.rows()


IN_MEMORY = Shelf()


class Growing:
    """Rows that are added piece by piece, at least one, and kept as the shelf keeps rows.

    Example:
        >>> rows = Growing(Shelf())
        >>> rows.add(np.arange(2)), rows.add(np.arange(1))
        (None, None)
        >>> rows.rows().tolist()
        [0, 1, 0]
    """

    def __init__(self, shelf: Shelf):
        self._file = None if shelf.folder is None else shelf.file()
        self._pieces: list[np.ndarray] = []

    def add(self, rows: np.ndarray) -> None:
        self._pieces.append(rows) if self._file is None else self._file.add(rows)

    def rows(self) -> np.ndarray | FileRows:
        return np.concatenate(self._pieces) if self._file is None else self._file.rows()


def pieces_of(number: int, together: int) -> Iterator[slice]:
    """Slices of so many rows each that make up all of them; one, without rows, of none."""
    return (slice(start, min(start + together, number)) for start in range(0, max(number, 1), together))
