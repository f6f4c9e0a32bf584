"""Features from tables by the names of their columns, with a line for what can't be right: what the HTTP server reads."""

import numpy as np

__all__ = ["FARTHEST", "features", "usual_size"]

FARTHEST = 4  # times the usual size of lengths: what is beyond is in other units, Angstrom for nm


def usual_size(card) -> float:
    """Root mean square of the features in nm as they usually are, 0 where none is or their ranges are not known. card: as card.json."""
    lengths = [between for unit, between in zip(card["units"], card["feature_ranges"]) if unit == "nm"]
    return float(np.sqrt(np.square(np.abs(lengths).mean(1)).mean())) if lengths else 0.0


def features(rows, names, card):
    """Values (N, D) in the order of the card, by the columns' names."""
    wanted = list(card["features"])
    some = ", ".join(wanted[:4]) + (", ..." if len(wanted) > 4 else "")
    if names is None:
        names = getattr(rows, "columns", rows if isinstance(rows, dict) else getattr(getattr(rows, "dtype", None), "names", None))
        if names is None:
            raise ValueError(f"columns: they have no names; allowed: a table with {some}, or values and the names of their columns")
        columns = [rows[name] for name in wanted if name in names]
    else:
        values = np.asarray(rows)
        if values.ndim != 2 or values.shape[1] != len(names):
            raise ValueError(f"values: shape {values.shape} and {len(names)} names; allowed: (rows, a column for each name)")
        columns = [values[:, list(names).index(name)] for name in wanted if name in names]
    for name in wanted:
        if list(names).count(name) != 1:
            raise ValueError(f"columns: '{name}' is there {list(names).count(name)} times; allowed: {some}, each once, in any order")
    columns = [np.asarray(column) for column in columns]
    for name, column in zip(wanted, columns):
        if column.dtype.kind not in "fiu" or column.ndim != 1 or len(column) != len(columns[0]) or not np.isfinite(column).all():
            raise ValueError(f"column '{name}': {column.dtype} of shape {column.shape}; allowed: finite numbers, one a row")
    s = np.stack(columns, 1).astype(float)
    _in_units(s, card)
    return s


def _in_units(s, card):
    for name, column in zip(card["features"], s.T):
        if name.startswith(("sin(", "cos(")) and np.abs(column).max(initial=0) > 1 + 1e-6:
            raise ValueError(f"column '{name}': {np.abs(column).max():.4g}; allowed: -1 to 1, the sine or cosine of an angle")
    lengths, usual = np.array([unit == "nm" for unit in card["units"]]), usual_size(card)
    if len(s) and usual:
        size = np.sqrt((s[:, lengths] ** 2).mean(1)) / usual
        if size.max() > FARTHEST or size.min() < 1 / FARTHEST:
            wrong = size.max() if size.max() > FARTHEST else size.min()
            raise ValueError(f"lengths: a row {wrong:.3g} times the usual size; allowed: nm (1 nm = 10 Angstrom), as in the training data")
