"""What the columns of a table seem to be: features or not, and what there is to doubt in those that are."""

from __future__ import annotations

import re
import textwrap
from collections import defaultdict
from collections.abc import Sequence
from itertools import groupby

import numpy as np
import pandas as pd

__all__ = ["BIAS", "all_named", "doubts", "lacking", "no_feature"]

BIAS = re.compile(r"(^|\.)(bias|rbias|rct|work)$")  # what PLUMED calls them
CLASS = re.compile(r"(.*[_. ])?(target|class|label|y|species|category|kind|type|cluster|diagnosis|outcome)", re.IGNORECASE)
IDENTIFIER = re.compile(r"(.*[_. ])?(id|index|no|nr|key|number|uuid)", re.IGNORECASE)
FEW = 10  # values that classes may have
WIDE, LINES = 120, 30  # of the list of features


def no_feature(name: str, column: pd.Series, group: pd.Series | None) -> str:
    """Why a column is no feature unless it is asked for, or "". group: names the trajectory of each row, where there are several."""
    numeric = pd.to_numeric(column, errors="coerce").to_numpy(dtype=float)
    if column.isna().all():
        return "no value in any row"
    if np.isnan(numeric).sum() - column.isna().sum() > 0.5 * column.notna().sum() and not pd.api.types.is_numeric_dtype(column):
        return "not numbers"
    if BIAS.search(name):
        return "a bias"
    if not np.isfinite(numeric).all():
        known = numeric[np.isfinite(numeric)]
        alike = len(known) == column.notna().sum() and np.ptp(known) == 0  # or rows would be left out for nothing
        return "one value where it has any" if alike else ""  # another fault will be named
    steps = np.diff(numeric)
    if group is not None:
        steps = steps[group.to_numpy()[1:] == group.to_numpy()[:-1]]
    if np.ptp(numeric) == 0:
        return "one value in all rows"
    if len(steps) > 1 and steps[0] != 0 and np.allclose(steps, steps[0], rtol=1e-6, atol=0):
        return "counts the rows"
    if name.lower() == "time" and (steps > 0).all():
        return "the time"
    return ""


def doubts(table: pd.DataFrame, columns: Sequence[str]) -> list[str]:
    """Lines on features that may be none: a class by number, an identifier, and columns that are the same."""
    numeric = table[list(columns)].apply(pd.to_numeric, errors="coerce")
    whole = [name for name in columns if np.array_equal(numeric[name].dropna() % 1, np.zeros(numeric[name].count()))]
    values = {name: numeric[name].nunique() for name in whole}
    few = [name for name in whole if 2 < values[name] <= FEW]
    rare = len(whole) <= max(len(columns) / 3, 1)  # else counts are what the table is of
    classes = [name for name in few if rare or CLASS.fullmatch(name)]
    classes += [name for name in whole if values[name] == 2 and CLASS.fullmatch(name)]
    each_once = [name for name in whole if values[name] == len(table) > FEW and (rare or IDENTIFIER.fullmatch(name))]
    said = [f"doubt: {name} has {values[name]} whole numbers as values and is taken as a feature; if it is a class: --labels {name}"
            for name in classes]
    said += [f"doubt: {name} is another whole number in every row; if it identifies the row: --id {name}" for name in each_once]
    return said + [f"doubt: {' and '.join(same)} are the same in all rows, so they count twice; --columns leaves one out"
                   for same in _alike(numeric)]


def lacking(table: pd.DataFrame, columns: Sequence[str]) -> str:
    """Which columns lack values in how many rows, in words; "" for none."""
    counts = table[list(columns)].isna().sum()
    found = [f"{name} in {count} rows" for name, count in counts.sort_values(ascending=False, kind="stable").items() if count]
    return ", ".join(found[:8]) + (f" and {len(found) - 8} further columns" if len(found) > 8 else "")


def all_named(begin: str, names: Sequence[str], end: str = "") -> list[str]:
    """Lines that name every one, those that are numbered on as "x0 to x63"; of thousands the first lines and how many more."""
    words = ", ".join(_runs(list(map(str, names))))
    lines = textwrap.wrap(f"{begin}{words}{end}", WIDE, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
    return lines if len(lines) <= LINES else [*lines[:LINES], f"  ... {len(names)} in all"]


def _runs(names: list[str]) -> list[str]:
    parts = [re.fullmatch(r"(.*?)(\d*)", name) for name in names]
    keys = [(match[1], int(match[2]) - i) if match and match[2] and str(int(match[2])) == match[2] else (name, None)
            for i, (name, match) in enumerate(zip(names, parts))]
    made: list[str] = []
    for _, run in groupby(range(len(names)), key=lambda i: keys[i]):
        places = list(run)
        first, last = names[places[0]], names[places[-1]]
        made += [f"{first} to {last}"] if len(places) > 3 else [names[i] for i in places]
    return made


def _alike(numeric: pd.DataFrame) -> list[list[str]]:
    """Names of columns with the same values."""
    found = defaultdict(list)
    for name in numeric.columns:
        found[numeric[name].to_numpy(dtype=float).tobytes()].append(name)
    return [names for names in found.values() if len(names) > 1]
