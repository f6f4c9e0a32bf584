"""Tables: CSV and Parquet files read, checked and turned into Frames."""

from __future__ import annotations

import csv
import os
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from hae.errors import BadInput
from hae.frames import Frames

__all__ = ["FILE", "load_table", "numbers", "read_table", "table_frames"]

FILE = "<file>"  # as a group: every file is one trajectory


def load_table(path: str | os.PathLike) -> pd.DataFrame:
    """The table of a .csv or .parquet file, columns as they stand. Raises BadInput for what is not a table."""
    path = Path(path)
    if not path.is_file():
        raise BadInput(f"{path}: no such file; allowed: a CSV or Parquet file")
    if path.suffix.lower() not in (".csv", ".parquet"):
        raise BadInput(f"{path}: '{path.suffix}' is not a kind of table that can be read; allowed: .csv, .parquet")
    try:
        if path.suffix.lower() == ".parquet":
            names = pq.read_schema(path).names
            _check_names(path, names)
            table = pd.read_parquet(path)
        else:
            with open(path, newline="", encoding="utf-8-sig") as lines:
                names = next(csv.reader(lines), [])
            _check_names(path, names)
            with warnings.catch_warnings():  # a row longer than the header is only a warning to pandas
                warnings.simplefilter("error", pd.errors.ParserWarning)
                table = pd.read_csv(path, encoding="utf-8-sig", index_col=False, skipinitialspace=True, low_memory=False)
            table.columns = [name.strip() for name in names]
    except (
        pa.ArrowException,
        pd.errors.ParserError,
        pd.errors.ParserWarning,
        pd.errors.EmptyDataError,
        UnicodeDecodeError,
        csv.Error,
    ) as error:
        raise BadInput(f"{path}: not a table that can be read ({str(error).strip().splitlines()[0]})") from None
    if len(table) < 2:
        raise BadInput(f"{path}: {len(table)} row{'s' * (len(table) != 1)}; allowed: 2 rows or more")
    return table


def _check_names(path: Path, names: Sequence[str]) -> None:
    names = [name.strip() for name in names]
    if not names:
        raise BadInput(f"{path}: empty; allowed: a line of column names and rows of numbers")
    for name in names:
        if names.count(name) > 1:
            raise BadInput(f"{path}: two columns are named '{name}'; allowed: each name once")
    if len(names) == 1 and any(mark in names[0] for mark in ";\t|"):
        raise BadInput(f"{path}: columns are not separated by commas in line 1 ('{names[0][:40]}'); allowed: commas")
    if all(_is_number(name) for name in names):
        raise BadInput(f"{path}: line 1 has numbers only; allowed: the names of the columns in line 1")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def numbers(table: pd.DataFrame, columns: Sequence[str], place: str, missing: str = "error") -> np.ndarray:
    """Columns of a table as float64 (N, D).

    missing: "error", or "mask" to let NaN (never infinity) pass.
    Raises BadInput that names place, column and first bad row, counted from 1.
    """
    values = np.empty((len(table), len(columns)))
    for j, name in enumerate(columns):
        if name not in table.columns:
            raise BadInput(f"{place}: no column '{name}'; allowed: {_listed(table.columns)}")
        column = table[name]
        if pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_complex_dtype(column):
            values[:, j] = column.to_numpy(dtype=float, na_value=np.nan)
        else:
            numeric = pd.to_numeric(column.astype(str).where(column.notna()), errors="coerce").to_numpy(dtype=float)
            text = np.flatnonzero(np.isnan(numeric) & column.notna().to_numpy())
            if len(text):
                raise BadInput(
                    f"{place}: column '{name}', row {text[0] + 1}: '{str(column.iloc[text[0]])[:40]}' is not a number; allowed: numbers"
                )
            values[:, j] = numeric
        bad = np.isinf(values[:, j]) if missing == "mask" else ~np.isfinite(values[:, j])
        if bad.any():
            row = int(np.argmax(bad))
            what = "a missing value (NaN)" if np.isnan(values[row, j]) else "an infinite value"
            raise BadInput(f"{place}: column '{name}', row {row + 1}: {what}, {bad.sum()} in this column; allowed: finite numbers")
    return values


def _listed(names: Sequence[str], limit: int = 12) -> str:
    names = [str(name) for name in names]
    return ", ".join(names[:limit]) + (f", ... ({len(names)} in all)" if len(names) > limit else "")


def table_frames(
    table: pd.DataFrame,
    place: str,
    *,
    columns: Sequence[str] | None = None,
    labels: Sequence[str] = (),
    group: str | None = None,
    id: str | None = None,
    weights: str | None = None,
    units: dict[str, str] | None = None,
    periods: dict[str, float] | None = None,
    missing: str = "error",
    name: str | None = None,
) -> Frames:
    """Frames of the rows of a table; `place` (its file) opens every error.

    columns: the features; None for all columns that have no other duty. id: a column left out of the features.
    group: column that names the trajectory of a row, whose rows follow each other in time; "<file>" where the file is
    one trajectory, called `name` or as the file; None where rows stand alone.
    weights: column of positive weights. units, periods: by column. missing: as in `numbers`.
    """
    units, periods = units or {}, periods or {}
    duties = {*labels, group, id, weights} - {None, FILE}
    for duty in duties:
        if duty not in table.columns:
            raise BadInput(f"{place}: no column '{duty}'; allowed: {_listed(table.columns)}")
    if columns is None:
        columns = [column for column in table.columns if column not in duties]
    if not columns:
        raise BadInput(f"{place}: no column is left for the features; allowed: at least one beside labels, group, id and weights")
    values = numbers(table, columns, place, missing)
    if group is None:
        trajectory, frame = np.full(len(table), ""), np.arange(len(table))
    elif group == FILE:
        trajectory, frame = np.full(len(table), name or Path(place).stem), np.arange(len(table))
    else:
        trajectory = table[group].astype(str).to_numpy(dtype=str)
        frame = table.groupby(trajectory, sort=False).cumcount().to_numpy()
    weight = None
    if weights is not None:
        weight = numbers(table, [weights], place)[:, 0]
        if not np.all(weight > 0):
            raise BadInput(
                f"{place}: column '{weights}', row {int(np.argmin(weight > 0)) + 1}: a weight of 0 or less; allowed: positive weights"
            )
    return Frames(
        values=values,
        features=tuple(columns),
        units=tuple(units.get(column, "") for column in columns),
        trajectory=trajectory,
        frame=frame.astype(np.int64),
        labels=pd.DataFrame(numbers(table, labels, place), columns=list(labels)),
        label_units=tuple(units.get(label, "") for label in labels),
        label_periods=tuple(periods.get(label) for label in labels),
        weights=weight,
    )


def read_table(path: str | os.PathLike, **choices) -> Frames:
    """Frames of one CSV or Parquet file: `load_table`, then `table_frames` with its choices."""
    return table_frames(load_table(path), str(path), **choices)
