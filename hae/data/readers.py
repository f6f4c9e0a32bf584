"""Readers of tables: CSV, Parquet, NumPy's NPY and NPZ, and PLUMED's COLVAR, each fault in one line that names its place."""

from __future__ import annotations

import csv
import gzip
import os
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from hae.errors import BadInput
from hae.files import is_number

__all__ = ["TABLES", "is_table", "load_table", "table_pieces"]

TABLES = (".csv", ".parquet", ".npy", ".npz")  # a COLVAR has any name: its first line begins with FIELDS
FIELDS = "#! FIELDS"
NAMES_OF_COLUMNS = ("columns", "features", "names")  # arrays of an NPZ file that name the columns of another


def is_table(path: str | os.PathLike) -> bool:
    """Whether this is one of the tables that `load_table` reads, by its name or, for a COLVAR, by its first line."""
    return Path(path).suffix.lower() in TABLES or _is_colvar(Path(path))


def load_table(path: str | os.PathLike) -> pd.DataFrame:
    """The table of a file, columns as they stand. Raises BadInput for what is not a table.

    Of a COLVAR, `attrs` says "periods" and "units" of the columns that the file declares periodic.
    """
    path = Path(path)
    if not path.is_file():
        raise BadInput(f"{path}: no such file; allowed: a table ({', '.join(TABLES)} or COLVAR)")
    if path.stat().st_size == 0:
        raise BadInput(f"{path}: empty; allowed: names of columns and rows of numbers")
    kind = path.suffix.lower()
    readers = {".csv": _read_csv, ".parquet": _read_parquet, ".npy": _read_npy, ".npz": _read_npz}
    if _is_colvar(path):
        table = _read_colvar(path)
    elif kind in readers:
        with _in_a_line(path):
            table = readers[kind](path)
    else:
        raise BadInput(f"{path}: '{path.suffix}' is not a kind of table that can be read; allowed: {', '.join(TABLES)}, or a COLVAR file, "
                       f"whose first line begins with {FIELDS}")
    if len(table) < 2:
        raise BadInput(f"{path}: {len(table)} row{'s' * (len(table) != 1)}; allowed: 2 rows or more")
    return table


def table_pieces(path: str | os.PathLike, rows: int = 65536) -> Iterator[pd.DataFrame]:
    """What `load_table` gives, of CSV and Parquet so many rows at a time; `attrs["first_row"]` says where in the file a piece begins."""
    path = Path(path)
    readers = {".csv": _csv_pieces, ".parquet": _parquet_pieces}
    kind = path.suffix.lower()
    if kind not in readers or _is_colvar(path) or not path.is_file() or path.stat().st_size == 0:
        yield load_table(path)
        return
    pieces, first = readers[kind](path, rows), 0
    while True:
        with _in_a_line(path):
            piece = next(pieces, None)
        if piece is None:
            break
        if len(piece):
            piece.attrs["first_row"] = first
            first += len(piece)
            yield piece
    if first == 0:
        raise BadInput(f"{path}: 0 rows; allowed: 1 row or more")


@contextmanager
def _in_a_line(path: Path) -> Iterator[None]:
    """What the readers of other packages raise, as BadInput."""
    try:
        with warnings.catch_warnings():  # a row longer than the header is only a warning to pandas
            warnings.simplefilter("error", pd.errors.ParserWarning)
            yield
    except UnicodeDecodeError:
        raise BadInput(f"{path}: not a table that can be read (its text is not UTF-8); allowed: UTF-8") from None
    except (pa.ArrowException, pd.errors.ParserError, pd.errors.ParserWarning, pd.errors.EmptyDataError, csv.Error,
            ValueError, EOFError, zipfile.BadZipFile) as error:
        if isinstance(error, BadInput):
            raise
        raise BadInput(f"{path}: not a table that can be read ({(str(error).strip() or 'damaged').splitlines()[0]})") from None


def _csv_pieces(path: Path, rows: int | None) -> Iterator[pd.DataFrame]:
    """So many rows at a time, or all at once."""
    with open(path, newline="", encoding="utf-8-sig") as lines:
        names = next(csv.reader(lines, skipinitialspace=True), [])
    if len(names) == 1 and any(mark in names[0] for mark in ";\t|"):
        raise BadInput(f"{path}: columns are not separated by commas in line 1 ('{names[0][:40]}'); allowed: commas")
    _check_names(path, names)
    read = pd.read_csv(path, encoding="utf-8-sig", index_col=False, skipinitialspace=True, low_memory=False, chunksize=rows)
    for piece in [read] if rows is None else read:
        piece.columns = [name.strip() for name in names]
        yield piece


def _parquet_pieces(path: Path, rows: int) -> Iterator[pd.DataFrame]:
    for batch in pq.ParquetFile(path).iter_batches(batch_size=rows):
        yield _named(path, batch.to_pandas())


def _read_csv(path: Path) -> pd.DataFrame:
    return next(_csv_pieces(path, None))


def _read_parquet(path: Path) -> pd.DataFrame:
    return _named(path, pd.read_parquet(path))


def _named(path: Path, table: pd.DataFrame) -> pd.DataFrame:
    """Columns of several levels go by their names joined by a dot, numbered ones by their numbers."""
    table.columns = [".".join(map(str, name)) if isinstance(name, tuple) else str(name) for name in table.columns]
    _check_names(path, table.columns.tolist(), numbered=True)
    return table


def _read_npy(path: Path) -> pd.DataFrame:
    return _of_array(path, np.load(path, allow_pickle=False))


def _read_npz(path: Path) -> pd.DataFrame:
    """One array of two dimensions, with an array of names if there is one; or arrays of one dimension, which are the columns."""
    with np.load(path, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    names = next((arrays.pop(name) for name in NAMES_OF_COLUMNS if name in arrays and arrays[name].dtype.kind in "US"), None)
    wide = [name for name, array in arrays.items() if array.ndim == 2]
    if len(wide) == 1 and len(arrays) == 1:
        return _of_array(path, arrays[wide[0]], names)
    shapes = ", ".join(f"{name} {array.shape}" for name, array in list(arrays.items())[:5]) or "nothing"
    if wide or not arrays or any(array.ndim != 1 for array in arrays.values()) or len({len(array) for array in arrays.values()}) != 1:
        raise BadInput(f"{path}: holds {shapes}; allowed: one array (rows, columns), with names of the columns in an array 'columns', "
                       "or a column each, all of one length")
    _check_names(path, list(arrays))
    return pd.DataFrame(arrays)


def _of_array(path: Path, array: np.ndarray, names: np.ndarray | None = None) -> pd.DataFrame:
    if array.dtype.names:
        _check_names(path, array.dtype.names)
        return pd.DataFrame(array)
    if array.ndim != 2 or array.dtype.kind not in "fiub":
        raise BadInput(f"{path}: an array of shape {array.shape} and type {array.dtype}; allowed: numbers (rows, columns)")
    columns = [f"x{j}" for j in range(array.shape[1])] if names is None else [str(name).strip() for name in names.ravel()]
    if len(columns) != array.shape[1]:
        raise BadInput(f"{path}: {len(columns)} names for {array.shape[1]} columns; allowed: one name for each column")
    _check_names(path, columns)
    return pd.DataFrame(array, columns=columns)


def _read_colvar(path: Path) -> pd.DataFrame:
    """PLUMED's lines of numbers under `#! FIELDS time phi ...`; `#! SET min_phi -pi` and max_phi say that phi is periodic."""
    names, rows, numbers, settings = _colvar_lines(path)
    _check_names(path, names)
    try:
        values = np.array(rows, dtype=float).reshape(len(rows), len(names))
    except ValueError:
        number, word = next((n, word) for n, row in zip(numbers, rows, strict=True) for word in row if not is_number(word))
        raise BadInput(f"{path}: line {number}: '{word[:40]}' is not a number; allowed: numbers") from None
    if "time" in names and (back := np.flatnonzero(np.diff(values[:, names.index("time")]) <= 0)).size:
        i = int(back[0])
        times = values[i : i + 2, names.index("time")]
        raise BadInput(f"{path}: line {numbers[i + 1]}: time goes from {times[0]:g} to {times[1]:g}, as after a restart; "
                       "allowed: time that grows, so that no frame counts twice")
    table = pd.DataFrame(values, columns=names)
    ends = {name: [_pi(settings.get(f"{end}_{name}", "")) for end in ("min", "max")] for name in names}
    periods = {name: high - low for name, (low, high) in ends.items() if low is not None and high is not None and high > low}
    table.attrs.update(periods=periods, units={name: "rad" for name, period in periods.items() if np.isclose(period, 2 * np.pi)})
    return table


def _colvar_lines(path: Path) -> tuple[list[str], list[list[str]], list[int], dict[str, str]]:
    """Names of the fields, the words of each line of numbers, the numbers of these lines, and what is SET."""
    names: list[str] = []
    rows: list[list[str]] = []
    numbers: list[int] = []
    settings: dict[str, str] = {}
    with _opened(path) as file:
        for number, line in enumerate(file, 1):
            words = line.decode("utf-8", "replace").split()
            if words[:2] == ["#!", "FIELDS"]:
                if names and words[2:] != names:
                    raise BadInput(f"{path}: line {number}: other fields than in line 1; allowed: the same columns in the whole file")
                names = words[2:]
            elif words[:2] == ["#!", "SET"] and len(words) == 4:
                settings[words[2]] = words[3]
            elif words and not words[0].startswith("#"):
                if len(words) != len(names):
                    raise BadInput(f"{path}: line {number}: {len(words)} numbers for {len(names)} fields; allowed: whole lines")
                rows.append(words)
                numbers.append(number)
    return names, rows, numbers, settings


def _opened(path: Path) -> IO[bytes]:
    """The bytes of a file, unpacked where it is gzipped."""
    with open(path, "rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    return cast(IO[bytes], gzip.open(path, "rb") if packed else open(path, "rb"))


def _pi(text: str) -> float | None:
    try:
        return {"pi": np.pi, "+pi": np.pi, "-pi": -np.pi}.get(text) or float(text)
    except ValueError:
        return None


def _is_colvar(path: Path) -> bool:
    try:
        with _opened(path) as file:
            return file.read(len(FIELDS)).decode("ascii", "replace") == FIELDS
    except (OSError, EOFError):
        return False


def _check_names(path: Path, names: Sequence[str], numbered: bool = False) -> None:
    names = [str(name).strip() for name in names]
    if not names:
        raise BadInput(f"{path}: empty; allowed: a line of column names and rows of numbers")
    if not numbered and all(is_number(name) for name in names):
        raise BadInput(f"{path}: line 1 has numbers only; allowed: the names of the columns in line 1")
    for place, name in enumerate(names, 1):
        if not name:
            raise BadInput(f"{path}: column {place} has no name (a row number?); allowed: a name for every column, or the column left out")
        if names.count(name) > 1:
            raise BadInput(f"{path}: two columns are named '{name}'; allowed: each name once")
