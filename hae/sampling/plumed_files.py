"""COLVAR and HILLS files as PLUMED writes them, so that its tools and others' readers take them."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hae.errors import BadInput
from hae.files import written_whole

__all__ = ["RBIAS", "Table", "colvar", "hills", "kernels", "put", "read"]

ANGLE = "3.141592653589793"
RBIAS = ".rbias"  # how the column ends whose exp(rbias / kT) is a frame's weight


class Table:
    """A file of numbers that grows by rows. Rows wait in memory until they are kept; `size` bytes of the file stand in the checkpoint, what
    follows is cut off.

    Example: What comes after a checkpoint is cut off when the file is opened again.
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), "COLVAR")
        >>> table = Table(path, ["time", "cv1"])
        >>> table.add([0.0, 0.5])
        >>> size = table.kept()
        >>> table.add([1.0, 0.7])
        >>> _ = table.kept()
        >>> _ = Table(path, ["time", "cv1"], size=size)
        >>> read(path)["cv1"]
        array([0.5])
    """

    def __init__(self, path: Path, fields: Sequence[str], settings: Sequence[tuple[str, str]] = (), size: int | None = None):
        self.path, self._rows = path, list[str]()
        if size is None:
            path.write_text(f"#! FIELDS {' '.join(fields)}\n" + "".join(f"#! SET {name} {value}\n" for name, value in settings))
            return
        if not path.exists() or path.stat().st_size < size:
            raise BadInput(f"{path}: shorter than its checkpoint says; allowed: the round's unchanged files, or a new round")
        os.truncate(path, size)

    def add(self, row: Sequence[float]) -> None:
        self._rows.append(" " + " ".join(f"{value:.12g}" for value in row) + "\n")

    def kept(self) -> int:
        """Put all on the disk; gives the size in bytes."""
        with open(self.path, "a") as file:
            file.writelines(self._rows)
            file.flush()
            os.fsync(file.fileno())
            self._rows.clear()
            return file.tell()


def colvar(path: Path, names: Sequence[str], periodic: Sequence[bool], size: int | None = None, label: str = "metad") -> Table:
    """time (ps), the CVs, metad.bias and metad.rbias (kJ/mol): the bias, and the bias whose exp(rbias / kT) is a frame's weight."""
    return Table(path, ["time", *names, f"{label}.bias", f"{label}{RBIAS}"], _bounds(names, periodic), size)


def hills(path: Path, names: Sequence[str], periodic: Sequence[bool], size: int | None = None) -> Table:
    """time (ps), centre, widths, height (kJ/mol, times factor / (factor - 1) as PLUMED does), bias factor."""
    fields = ["time", *names, *(f"sigma_{name}" for name in names), "height", "biasf"]
    return Table(path, fields, [("multivariate", "false"), ("kerneltype", "gaussian"), *_bounds(names, periodic)], size)


def kernels(path: Path, names: Sequence[str], periodic: Sequence[bool], size: int | None = None) -> Table:
    """time (ps), centre, widths, height and the logarithm of a kernel's weight, as PLUMED's OPES_METAD writes them."""
    fields = ["time", *names, *(f"sigma_{name}" for name in names), "height", "logweight"]
    return Table(path, fields, [("action", "OPES_METAD_kernels"), *_bounds(names, periodic)], size)


def _bounds(names: Sequence[str], periodic: Sequence[bool]) -> list[tuple[str, str]]:
    angles = [name for name, angle in zip(names, periodic) if angle]
    return [(f"{end}_{name}", sign + ANGLE) for name in angles for end, sign in (("min", "-"), ("max", ""))]


def read(path: Path) -> dict[str, np.ndarray]:
    """Field -> values (rows,). Raises BadInput for a file that is missing, does not begin with #! FIELDS, or has rows of another length.

    Example: See `Table`.
    """
    try:
        with open(path) as file:
            head = file.readline().split()
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror}; allowed: a COLVAR or HILLS file") from None
    if head[:2] != ["#!", "FIELDS"]:
        raise BadInput(f"{path}: it does not begin with #! FIELDS; allowed: a COLVAR or HILLS file")
    names = head[2:]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # no rows yet
            rows = np.loadtxt(path, comments="#", ndmin=2)
        if not rows.size:
            rows = np.empty((0, len(names)))
        return dict(zip(names, rows.T, strict=True))
    except ValueError:
        raise BadInput(f"{path}: a row has not {len(names)} numbers; allowed: the fields of its first line") from None


def put(path: Path, name: str, values: np.ndarray) -> None:
    """Set one column of a file (rows,), the lines that begin with # as they are; the file is whole at any moment."""
    lines = path.read_text().splitlines(keepends=True)
    at = lines[0].split()[2:].index(name)
    rows = iter(values)
    with written_whole(path) as partial:
        partial.write_text("".join(line if line.startswith("#") else _with(line, at, next(rows)) for line in lines))


def _with(line: str, at: int, value: float) -> str:
    words = line.split()
    words[at] = f"{value:.12g}"
    return f" {' '.join(words)}\n"
