"""Readers of tables: text, Parquet, Feather, NumPy's, workbooks, HDF5 and PLUMED's COLVAR, each fault in one line that names its place."""

from __future__ import annotations

import csv
import os
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq

from hae.data.colvar import FIELDS, is_colvar, read_colvar
from hae.data.delimited import check_names, named, text_pieces
from hae.data.dialects import DAMAGED, MISSING, Form
from hae.errors import BadInput

__all__ = ["TABLES", "Form", "is_table", "load_table", "table_pieces"]

TEXTS = (".csv", ".tsv", ".tab", ".txt", ".dat")
BOOKS = (".xlsx", ".xlsm")
STORES = (".h5", ".hdf5", ".hdf")
TABLES = (*TEXTS, ".parquet", ".feather", ".npy", ".npz", *BOOKS, *STORES)  # a COLVAR has any name: its first line begins with FIELDS
PIECE_BYTES = 2**22  # of numbers read at a time
PACKED = (".gz", ".bz2", ".xz")
NAMES_OF_COLUMNS = ("columns", "features", "names")  # arrays of an NPZ file that name the columns of another
OF_PANDAS = b"pandas_type"  # stands in every HDF5 file that pandas wrote, and in no trajectory


def is_table(path: str | os.PathLike) -> bool:
    """Whether this is one of the tables that `load_table` reads, by its name or, for a COLVAR or HDF5, by what is in it."""
    path = Path(path)
    kind = _kind(path)
    return is_colvar(path) or (_of_pandas(path) if kind in STORES else kind in TABLES)


def load_table(path: str | os.PathLike, form: Form | None = None) -> pd.DataFrame:
    """The table of a file, columns as they stand. Raises BadInput for what is not a table.

    form: how it is written, as far as that is known; the rest is guessed. `attrs` of the table: "form", what was taken, as a dict;
    "source", the file; "left_out", columns without a name, in words; of a COLVAR "periods" and "units" of the columns that it
    declares periodic.

    Example: A table as a spreadsheet in German writes it.
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), "t.csv")
        >>> _ = path.write_text("x;y\\n1,5;2\\n2,5;4\\n")
        >>> table = load_table(path)
        >>> table["x"].tolist(), table.attrs["form"]["decimal"]
        ([1.5, 2.5], ',')
    """
    path = Path(path)
    if not path.is_file():
        raise BadInput(f"{path}: no such file; allowed: a table ({', '.join(TABLES)} or COLVAR)")
    if path.stat().st_size == 0:
        raise BadInput(f"{path}: empty; allowed: names of columns and rows of numbers")
    if is_colvar(path):
        table = read_colvar(path)
    elif _kind(path) in READERS:
        with _in_a_line(path):
            table = READERS[_kind(path)](path, form or Form())
    else:
        raise BadInput(f"{path}: '{_kind(path)}' is not a kind of table that can be read; allowed: {', '.join(TABLES)}, or a COLVAR file, "
                       f"whose first line begins with {FIELDS}")
    if len(table) < 2:
        raise BadInput(f"{path}: {len(table)} row{'s' * (len(table) != 1)}; allowed: 2 rows or more")
    return table


def table_pieces(
    path: str | os.PathLike, rows: int | None = None, form: Form | None = None, words: Sequence[str] = ()
) -> Iterator[pd.DataFrame]:
    """What `load_table` gives, of text and Parquet so many rows at a time (None: `PIECE_BYTES` of numbers), of others at once.

    words: columns whose text counts, such as names of trajectories: the text is that of the whole table, where one decimal number makes
    decimal numbers of a column. Where there are several pieces, `attrs["first_row"]` says where in the file each of them begins.
    """
    path = Path(path)
    in_pieces = _kind(path) in (*TEXTS, ".parquet") and path.is_file() and path.stat().st_size and not is_colvar(path)
    if not in_pieces:
        yield load_table(path, form)
        return
    together = lambda columns: rows or max(PIECE_BYTES // (8 * max(columns, 1)), 1)  # noqa: E731
    pieces = _parquet_pieces(path, together, words) if _kind(path) == ".parquet" else text_pieces(path, together, form, words)
    first, piece = 0, _next(path, pieces)
    if piece is None:
        raise BadInput(f"{path}: 0 rows; allowed: 1 row or more")
    while piece is not None:
        following = _next(path, pieces)
        if first or following is not None:
            piece.attrs["first_row"] = first
        first += len(piece)
        yield piece
        piece = following


def _next(path: Path, pieces: Iterator[pd.DataFrame]) -> pd.DataFrame | None:
    """The next piece that has rows."""
    while True:
        with _in_a_line(path):
            piece = next(pieces, None)
        if piece is None or len(piece):
            return piece


@contextmanager
def _in_a_line(path: Path) -> Iterator[None]:
    """What the readers of other packages raise, as BadInput."""
    try:
        with warnings.catch_warnings():  # a row longer than the header is only a warning to pandas
            warnings.simplefilter("error", pd.errors.ParserWarning)
            yield
    except UnicodeError as error:
        encoding = getattr(error, "encoding", "of the encoding that its beginning has")
        raise BadInput(f"{path}: not a table that can be read (its text is not {encoding}); allowed: UTF-8") from None
    except ImportError as error:
        package = {"tables": "tables", "openpyxl": "openpyxl"}.get(error.name or "", "tables" if "tables" in str(error) else "openpyxl")
        raise BadInput(f"{path}: reading {_kind(path)} needs the Python package {package}; allowed: pip install {package}, or the table as "
                       ".csv or .parquet") from None
    except (pa.ArrowException, pd.errors.ParserError, pd.errors.ParserWarning, pd.errors.EmptyDataError, csv.Error,
            ValueError, KeyError, zipfile.BadZipFile, *DAMAGED) as error:
        if isinstance(error, BadInput):
            raise
        raise BadInput(f"{path}: not a table that can be read ({(str(error).strip() or 'damaged').splitlines()[0]})") from None


def _kind(path: Path) -> str:
    """The ending that says what is in a file, packed or not."""
    endings = [ending.lower() for ending in path.suffixes[-2:]]
    if len(endings) == 2 and endings[1] in PACKED and endings[0] in TEXTS:
        return endings[0]
    return endings[-1] if endings else ""


def _of_pandas(path: Path) -> bool:
    try:
        with open(path, "rb") as file:
            before = b""
            while block := file.read(1 << 20):
                if OF_PANDAS in before + block:
                    return True
                before = block[-len(OF_PANDAS) :]
    except OSError:
        pass
    return False


def _read_text(path: Path, form: Form) -> pd.DataFrame:
    return next(text_pieces(path, None, form))


def _read_parquet(path: Path, form: Form) -> pd.DataFrame:
    return _joined(path, pd.read_parquet(path))


def _read_feather(path: Path, form: Form) -> pd.DataFrame:
    return _joined(path, feather.read_feather(path))


def _parquet_pieces(path: Path, rows: Callable[[int], int], words: Sequence[str]) -> Iterator[pd.DataFrame]:
    file = pq.ParquetFile(path, pre_buffer=False)  # else a row group is in memory as it is in the file
    whole = [field.name for field in file.schema_arrow if field.name in words and pa.types.is_integer(field.type)]
    decimal = [name for name in whole if any(batch.column(0).null_count for batch in file.iter_batches(columns=[name]))]
    for batch in file.iter_batches(batch_size=rows(len(file.schema_arrow))):
        yield _joined(path, batch.to_pandas().astype(dict.fromkeys(decimal, float)))


def _joined(path: Path, table: pd.DataFrame) -> pd.DataFrame:
    """Columns of several levels go by their names joined by a dot, numbered ones by their numbers."""
    table.columns = [".".join(map(str, name)) if isinstance(name, tuple) else str(name) for name in table.columns]
    check_names(path, table.columns.tolist(), numbered=True)
    return table


def _read_book(path: Path, form: Form) -> pd.DataFrame:
    """A sheet of a workbook, the first unless one is named; numbers written as text are numbers, and rows without anything end it."""
    with pd.ExcelFile(path) as book:
        sheets = [str(name) for name in book.sheet_names]
        sheet = form.sheet or sheets[0]
        if sheet not in sheets:
            raise BadInput(f"{path}: no sheet '{sheet}'; allowed: {', '.join(sheets)}")
        cells = pd.read_excel(book, sheet_name=sheet, header=None, na_values=list(MISSING))
    cells = cells.dropna(how="all")
    if not len(cells):
        raise BadInput(f"{path}: sheet '{sheet}' is empty; allowed: names of columns and rows of numbers")
    table = cells.iloc[1:].reset_index(drop=True).infer_objects()
    shown = Form(sheet=sheet if form.sheet or len(sheets) > 1 else None)
    return named(path, table, cells.iloc[0].tolist(), shown)


def _read_store(path: Path, form: Form) -> pd.DataFrame:
    """A frame of an HDF5 file that pandas wrote."""
    with pd.HDFStore(path, mode="r") as store:
        keys = [key.lstrip("/") for key in store]
        key = form.sheet or (keys[0] if len(keys) == 1 else None)
        if key not in keys:
            asked = f"no table '{form.sheet}'" if form.sheet else f"{len(keys)} tables"
            raise BadInput(f"{path}: {asked}; allowed as prepare.table.sheet: {', '.join(keys) or 'none is in it'}")
        table = store[key]
    table = _joined(path, table.to_frame() if isinstance(table, pd.Series) else table)
    table.attrs["form"] = asdict(Form(sheet=key if len(keys) > 1 else None))
    return table


def _read_npy(path: Path, form: Form) -> pd.DataFrame:
    return _of_array(path, np.load(path, allow_pickle=False))


def _read_npz(path: Path, form: Form) -> pd.DataFrame:
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
    check_names(path, list(arrays))
    return pd.DataFrame(arrays)


def _of_array(path: Path, array: np.ndarray, names: np.ndarray | None = None) -> pd.DataFrame:
    if array.dtype.names:
        check_names(path, array.dtype.names)
        return pd.DataFrame(array)
    if array.ndim != 2 or array.dtype.kind not in "fiub":
        raise BadInput(f"{path}: an array of shape {array.shape} and type {array.dtype}; allowed: numbers (rows, columns)")
    columns = [f"x{j}" for j in range(array.shape[1])] if names is None else [str(name).strip() for name in names.ravel()]
    if len(columns) != array.shape[1]:
        raise BadInput(f"{path}: {len(columns)} names for {array.shape[1]} columns; allowed: one name for each column")
    check_names(path, columns)
    return pd.DataFrame(array, columns=columns)


READERS: Mapping[str, Callable[[Path, Form], pd.DataFrame]] = {
    **dict.fromkeys(TEXTS, _read_text), ".parquet": _read_parquet, ".feather": _read_feather, ".npy": _read_npy, ".npz": _read_npz,
    **dict.fromkeys(BOOKS, _read_book), **dict.fromkeys(STORES, _read_store),
}
