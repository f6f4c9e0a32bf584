"""Tables: their columns checked and turned into Frames. Files: hae.data.readers."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from hae.data.dialects import Form, line_of
from hae.data.frames import Frames
from hae.data.readers import load_table
from hae.data.units import BOLTZMANN
from hae.errors import BadInput, did_you_mean, listed

__all__ = ["FILE", "complete", "feature_columns", "load_table", "numbers", "read_table", "table_frames"]

FILE = "<file>"  # as a group: every file is one trajectory
LARGEST = 1e15  # what is larger is a code for something missing, or would drown everything else


def numbers(table: pd.DataFrame, columns: Sequence[str], place: str, missing: str = "error") -> np.ndarray:
    """Columns of a table as float64 (N, D).

    missing: "error", or "mask" to let NaN (never infinity) pass.
    Raises BadInput that names place, column and first bad row, counted from 1 in the file.
    """
    values = np.empty((len(table), len(columns)))
    absent = [name for name in columns if name not in table.columns]
    if absent:
        named = ", ".join(f"'{name}'" for name in absent)
        raise BadInput(f"{place}: no column{'s' * (len(absent) > 1)} {named}; allowed: {listed(table.columns, 12)}"
                       + (did_you_mean(absent[0], table.columns) if len(absent) == 1 else ""))
    for j, name in enumerate(columns):
        column = table[name]
        if pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_complex_dtype(column):
            values[:, j] = column.to_numpy(dtype=float, na_value=np.nan)
        else:
            numeric = pd.to_numeric(column.astype(str).where(column.notna()), errors="coerce").to_numpy(dtype=float)
            text = np.flatnonzero(np.isnan(numeric) & column.notna().to_numpy())
            if len(text):
                word = str(column.iloc[text[0]])[:40]
                raise BadInput(f"{place}: column '{name}', {_row(table, text[0])}: '{word}' is not a number; allowed: numbers")
            values[:, j] = numeric
        huge = np.abs(values[:, j]) > LARGEST
        if huge.any() and np.isfinite(values[huge, j]).any():
            row = int(np.argmax(huge & np.isfinite(values[:, j])))
            raise BadInput(f"{place}: column '{name}', {_row(table, row)}: {values[row, j]:g}; allowed: numbers up to {LARGEST:g} in size")
        bad = np.isinf(values[:, j]) if missing == "mask" else ~np.isfinite(values[:, j])
        if bad.any():
            row = int(np.argmax(bad))
            what, allowed = "an infinite value", "finite numbers"
            if np.isnan(values[row, j]):
                what, allowed = "a missing value (NaN)", "finite numbers, or --missing drop or mean (prepare.missing)"
            count = f"{bad.sum()} in this column" if "first_row" not in table.attrs else "the first in this column"
            raise BadInput(f"{place}: column '{name}', {_row(table, row)}: {what}, {count}; allowed: {allowed}")
    return values


def _row(table: pd.DataFrame, row: int) -> str:
    """The row counted from 1, and of a table of text the line of the file, for people who look for it there."""
    row, form = int(row) + table.attrs.get("first_row", 0), Form(**table.attrs.get("form", {}))
    line = line_of(table.attrs["source"], form, row) if form.separator else None
    return f"row {row + 1}" + (f" (line {line})" if line else "")


def complete(frames: Frames, labels_only: bool = False) -> np.ndarray:
    """(N,): rows without a missing feature or label."""
    whole = ~np.isnan(frames.labels.to_numpy(dtype=float)).any(axis=1)
    return whole if labels_only else whole & ~np.isnan(frames.values).any(axis=1)


def feature_columns(table: pd.DataFrame, *duties: str | None) -> list[str]:
    """All columns that have no other duty."""
    return [column for column in table.columns if column not in duties]


def table_frames(
    table: pd.DataFrame,
    place: str,
    *,
    columns: Sequence[str] | None = None,
    labels: Sequence[str] = (),
    group: str | None = None,
    id: str | None = None,
    weights: str | None = None,
    bias: str | None = None,
    temperature: float | None = None,
    units: dict[str, str] | None = None,
    periods: dict[str, float | None] | None = None,
    missing: str = "error",
    name: str | None = None,
) -> Frames:
    """Frames of the rows of a table; `place` (its file) opens every error.

    columns: the features; None for all columns that have no other duty. id: a column left out of the features.
    group: column that names the trajectory of a row, whose rows follow each other in time; "<file>" where the file is
    one trajectory, called `name` or as the file; None where rows stand alone.
    weights: column of positive weights; or bias: column in kJ/mol, whose weights are exp(bias / kT) at the temperature in kelvin.
    units, periods: by column; a feature with a period becomes its sine and cosine, "sin(phi)" and "cos(phi)", so that it has no
    jump. Both start from what the file says. missing: as in `numbers`.
    """
    units = {**table.attrs.get("units", {}), **(units or {})}
    periods = {**table.attrs.get("periods", {}), **(periods or {})}
    duties = {*labels, group, id, weights, bias} - {None, FILE}
    for duty in duties:
        if duty not in table.columns:
            raise BadInput(f"{place}: no column '{duty}'; allowed: {listed(table.columns, 12)}{did_you_mean(duty, table.columns)}")
    if columns is None:
        columns = feature_columns(table, *duties)
    if not columns:
        raise BadInput(f"{place}: no column is left for the features; allowed: at least one beside labels, group, id and weights")
    values, features = _features(numbers(table, columns, place, missing), columns, periods)
    if group is None:
        trajectory, frame = np.full(len(table), ""), np.arange(len(table))
    elif group == FILE:
        trajectory, frame = np.full(len(table), name or Path(place).stem), np.arange(len(table))
    else:
        nameless = np.flatnonzero(table[group].isna())
        if len(nameless):
            raise BadInput(f"{place}: column '{group}', {_row(table, nameless[0])}: a missing value; "
                           "allowed: a trajectory's name for every row")
        trajectory = np.array(list(map(str, table[group])))  # pandas' own way to numpy's strings may cut them
        frame = table.groupby(trajectory, sort=False).cumcount().to_numpy()
    return Frames(
        values=values,
        features=features,
        units=tuple(units.get(feature, "") for feature in features),
        trajectory=trajectory,
        frame=frame.astype(np.int64),
        labels=pd.DataFrame(numbers(table, labels, place, missing), columns=list(labels)),
        label_units=tuple(units.get(label, "") for label in labels),
        label_periods=tuple(periods.get(label) for label in labels),
        weights=_weights(table, place, weights, bias, temperature),
    )


def _features(values: np.ndarray, columns: Sequence[str], periods: dict[str, float | None]) -> tuple[np.ndarray, tuple[str, ...]]:
    """Values (N, D') and their names, with the sine and cosine of each column that has a period."""
    if not any(periods.get(column) for column in columns):
        return values, tuple(columns)
    made: dict[str, np.ndarray] = {}
    for column, value in zip(columns, values.T, strict=True):
        if periods.get(column):
            angle = 2 * np.pi * value / periods[column]
            made |= {f"sin({column})": np.sin(angle), f"cos({column})": np.cos(angle)}
        else:
            made[column] = value
    return np.stack(list(made.values()), axis=1), tuple(made)


def _weights(table: pd.DataFrame, place: str, weights: str | None, bias: str | None, temperature: float | None) -> np.ndarray | None:
    """(N,) positive weights, or None."""
    if bias is not None:
        if temperature is None:
            raise BadInput(f"{place}: a bias needs a temperature; allowed: kelvin, above 0")
        exponent = numbers(table, [bias], place)[:, 0] / (BOLTZMANN * temperature)
        if np.abs(exponent).max() > 600:
            row = int(np.abs(exponent).argmax())
            raise BadInput(f"{place}: column '{bias}', {_row(table, row)}: a bias of {exponent[row]:.0f} kT; "
                           "allowed: up to 600 kT (kJ/mol)")
        return np.exp(exponent)
    if weights is None:
        return None
    weight = numbers(table, [weights], place)[:, 0]
    if not np.all(weight > 0):
        raise BadInput(
            f"{place}: column '{weights}', {_row(table, int(np.argmin(weight > 0)))}: a weight of 0 or less; allowed: positive weights"
        )
    return weight


def read_table(path: str | os.PathLike, **choices) -> Frames:
    """Frames of one file: `hae.data.readers.load_table`, then `table_frames` with its choices."""
    return table_frames(load_table(path), str(path), **choices)
