"""Rows that are not in memory: in a file, or made from others where they are asked for. They stand where an array is read in slices."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

__all__ = ["FileRows", "MadeRows", "RowFile"]


@dataclass(frozen=True)
class FileRows:
    """Rows (N, ...) of a file of numbers; a slice or row numbers give an array.

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
        return np.array(np.memmap(self.path, self.dtype, "r", shape=self.shape)[rows])  # mapped no longer than it takes to copy


class RowFile:
    """A file that grows by arrays of one type and width, at least one."""

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
    """What a function makes, row by row, of rows (N, D) in float64, in a slice of them: (n, D) -> (n, width); None: these rows.

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

    def __getitem__(self, rows: slice) -> np.ndarray:
        found = np.asarray(self.rows[rows], dtype=np.float64)
        return found if self.function is None else self.function(found)
