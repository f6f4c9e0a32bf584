"""CVs of features by NumPy alone: ``from cvs import cvs; cvs(table)`` or ``cvs(values, names)``. It reads card.json and weights.npz
beside it."""

import json
import math
from pathlib import Path

import numpy as np

ACTIVATIONS = {
    "tanh": np.tanh,
    "silu": lambda x: x / (1 + np.exp(-x)),
    "gelu": lambda x: x * (1 + np.vectorize(math.erf)(x / np.sqrt(2))) / 2,
    "relu": lambda x: np.maximum(x, 0),
    "identity": lambda x: x,
}
FARTHEST = 4  # times the usual size of lengths: what is beyond is in other units, Angstrom for nm


def cvs(rows, names=None):
    """CVs (N, n) of a table with named columns, or of values (N, D) and the names of their columns. ValueError says what is wrong."""
    card = json.loads(Path(__file__).with_name("card.json").read_text(encoding="utf-8"))
    with np.load(Path(__file__).with_name("weights.npz")) as numbers:
        return encoded(features(rows, names, card), numbers, card["kinds"], ACTIVATIONS[card["activation"]])


def encoded(s, numbers, kinds, activation):
    x = (s - numbers["mean"]) / numbers["scale"]
    y, depth, i, found = x, int(numbers["depth"]), 0, []
    for layer in range(depth):
        y = y @ numbers[f"w{layer}"] + numbers[f"b{layer}"]
        y = activation(y) if layer < depth - 1 else y
    y = y + x @ numbers["path"]
    for kind in kinds:
        at = slice(i, i := i + (2 if kind == "circular" else 1))
        size = np.maximum(np.linalg.norm(y[:, at], axis=1), 1e-12)[:, None]
        y[:, at] = y[:, at] / size if kind == "circular" else np.tanh(y[:, at]) if kind == "tanh" else y[:, at]
        c = y[:, :i] @ numbers["T"][at, :i].T + numbers["t"][at]
        found.append(np.arctan2(c[:, 1], c[:, 0]) if kind == "circular" else c[:, 0])
    return np.stack(found, 1)


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
    lengths = np.array([unit == "nm" for unit in card["units"]])
    if len(s) and lengths.any() and len(card["feature_ranges"]):
        usual = np.abs(np.array(card["feature_ranges"])[lengths]).mean(1)
        size = np.sqrt((s[:, lengths] ** 2).mean(1) / (usual**2).mean())
        if size.max() > FARTHEST or size.min() < 1 / FARTHEST:
            wrong = size.max() if size.max() > FARTHEST else size.min()
            raise ValueError(f"lengths: a row {wrong:.3g} times the usual size; allowed: nm (1 nm = 10 Angstrom), as in the training data")
